"""What would stand in the way of the services: ports that other programs listen on."""

import contextlib
import os
import pathlib

LISTENING = "0A"
FRONTS = {"nginx": "Nginx", "apache": "Apache"}
BALANCERS = {"haproxy": "HAProxy", "nginx": "Nginx", "varnish": "Varnish"}
SERVERS = {  # the programs of each, and the file that says whether this formula looks after it
    "nginx": (("nginx",), "/etc/nginx/nginx.conf"),
    "apache": (("apache2",), "/etc/apache2/apache2.conf"),
    "haproxy": (("haproxy",), "/etc/haproxy/haproxy.cfg"),
    "varnish": (("varnishd", "cache-main"), "/etc/varnish/balancer.vcl"),
}
MARK = "# Written by django-formula;"


def wanted(config):
    """Ports that the services of this host will listen on: ``[(port, purpose, programs)]``."""
    ports = []
    balancer, projects = config["balancer"], config["projects"].values()
    secure = [project["tls"] for project in balancer["projects"]] if balancer else []
    secure += [] if balancer else [project["web"]["tls"] for project in projects]
    title = "the balancer" if balancer else "the front door"
    for key, name in (BALANCERS if balancer else FRONTS).items():
        if config[key]:
            server, programs = balancer or config[key], holders(key)
            ports.append((server["port"], f"{title} ({name})", programs))
            if any(secure):
                ports.append((server["tls_port"], f"{title} ({name} with TLS)", programs))
            if key == "haproxy" and server["statistics"]:
                ports.append((server["statistics"]["port"], f"{name}'s statistics", programs))
    if config["postgresql"]:
        ports.append((config["postgresql"]["port"], "PostgreSQL", ("postgres", "postmaster")))
    for instance in config["redis"].get("instances", ()):
        purpose = f"the {instance['label']} of {instance['project']}"
        ports.append((instance["port"], purpose, ("redis-server", "redis-check-aof")))
    return ports


def holders(server, servers=SERVERS):
    """
    Programs that may have the ports of a front door or balancer (tuple of str): its own, and those
    of another one that this formula looks after, since a run takes the ports from it.
    """
    found = [*servers[server][0]]
    for key, (programs, path) in servers.items():
        if key != server:
            with contextlib.suppress(OSError):
                text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
                found += programs if MARK in text else []
    return tuple(found)


def sockets(table):
    """Listening sockets in a text like /proc/net/tcp: ``{port: {inode}}``."""
    found = {}
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 9 and columns[3] == LISTENING:
            port = int(columns[1].rpartition(":")[2], 16)
            found.setdefault(port, set()).add(columns[9])
    return found


def listening(proc="/proc"):
    """All ports of this host that are listened on: ``{port: {inode}}``."""
    ports = {}
    for name in ("tcp", "tcp6"):
        try:
            text = pathlib.Path(proc, "net", name).read_text(encoding="ascii")
        except OSError:
            continue
        for port, inodes in sockets(text).items():
            ports.setdefault(port, set()).update(inodes)
    return ports


def owners(inodes, proc="/proc"):
    """The processes that hold these sockets: ``[(pid, name)]``."""
    links = {f"socket:[{inode}]" for inode in inodes}
    found = []
    for entry in sorted(filter(str.isdigit, os.listdir(proc)), key=int):
        try:
            handles = os.listdir(f"{proc}/{entry}/fd")
            if any(_target(f"{proc}/{entry}/fd/{handle}") in links for handle in handles):
                name = pathlib.Path(proc, entry, "comm").read_text(encoding="utf-8")
                found.append((int(entry), name.strip()))
        except OSError:
            continue  # it ended meanwhile
    return found


def _target(link):
    try:
        return os.readlink(link)
    except OSError:
        return None


def taken(wanted, listening, owners):
    """
    Sentences about wanted ports that another program listens on.

    wanted, listening
        As :func:`wanted` and :func:`listening` return them.
    owners
        Function like :func:`owners`.
    """
    problems = []
    for port, purpose, programs in wanted:
        if port not in listening:
            continue
        holders = owners(listening[port])
        others = [(pid, name) for pid, name in holders if name not in programs]
        if holders and not others:
            continue
        who = "another program"
        if others:
            pid, name = others[0]
            who = f"{name} (process {pid})"
        problems.append(
            f"port {port} is taken by {who}; {purpose} must have it: stop that program for good"
            " (and uninstall or disable it), or give it another port"
        )
    return problems
