"""What would stand in the way of the services: ports that other programs listen on."""

import contextlib
import os
import pathlib

LISTENING = "0A"
FRONTS = {"nginx": "Nginx", "apache": "Apache", "haproxy": "HAProxy"}
SERVERS = {  # the program of each, and the file that says whether this formula looks after it
    "nginx": ("nginx", "/etc/nginx/nginx.conf"),
    "apache": ("apache2", "/etc/apache2/apache2.conf"),
    "haproxy": ("haproxy", "/etc/haproxy/haproxy.cfg"),
}
MARK = "# Written by django-formula;"


def wanted(config):
    """Ports that the services of this host will listen on: ``[(port, purpose, programs)]``."""
    ports = []
    for key, name in FRONTS.items():
        if config[key]:
            front, programs = config[key], holders(key)
            ports.append((front["port"], f"the front door ({name})", programs))
            if _speaks_tls(key, config):
                ports.append((front["tls_port"], f"the front door ({name} with TLS)", programs))
            if front.get("statistics"):
                ports.append((front["statistics"]["port"], f"{name}'s statistics", programs))
    if config["postgresql"]:
        ports.append((config["postgresql"]["port"], "PostgreSQL", ("postgres", "postmaster")))
    for instance in config["redis"].get("instances", ()):
        purpose = f"the {instance['label']} of {instance['project']}"
        ports.append((instance["port"], purpose, ("redis-server", "redis-check-aof")))
    return ports


def _speaks_tls(front, config):
    if front == "haproxy":
        return any(project["tls"] for project in config[front]["projects"])
    return any(project["web"]["tls"] for project in config["projects"].values())


def holders(front, servers=SERVERS):
    """
    Programs that may have the ports of a front door (tuple of str): its own, and another one that
    this formula looks after, since a run takes the ports from it.
    """
    found = [servers[front][0]]
    for key, (program, path) in servers.items():
        if key != front:
            with contextlib.suppress(OSError):
                text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
                found += [program] if MARK in text else []
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
