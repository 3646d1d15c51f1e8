"""Checks between the projects of a pillar, and between projects and hosts."""

import django_mod_wsgi
import django_project_database
import django_replica
import django_server_apache

SSH = {"ssh": {"ports": [22]}}  # where the pillar says nothing of it
FRONTS = {"nginx": "Nginx", "apache": "Apache"}


def users(projects):
    """No two projects with one system user."""
    owner = {}
    for name, project in projects.items():
        user = project["user"] or name
        if user in owner:
            yield name, "user", f"expected a user of its own, {user} is that of {owner[user]}"
        owner.setdefault(user, name)


def fronts(projects):
    """One front door for all projects, since it has the ports of a host."""
    first = None
    for name, project in projects.items():
        server = django_server_apache.front(project)
        first = first or (name, server)
        if server != first[1]:
            text = f"expected {first[1]}, which {first[0]} has: one server has the ports of a host"
            yield name, "web:server", text


def numbers(projects):
    """No two projects with one number of their system user."""
    owner = {}
    for name, project in projects.items():
        uid = project["uid"]
        if uid and uid in owner:
            yield name, "uid", f"expected a number of its own, {uid} is that of {owner[uid]}"
        owner.setdefault(uid, name)


def programs(projects):
    """No project whose name reads like a process of another one."""
    for name, project in projects.items():
        for other in projects:
            process = other[len(name) + 1 :].split("-")[0]
            if other.startswith(f"{name}-") and process in {"web", *project["processes"]}:
                text = f"expected another name, it reads like the process {process} of {name}"
                yield other, "", text


def databases(projects):
    """No database and no role that two projects, or two databases of one, share by accident."""
    owner = {}
    for name, project in projects.items():
        for key, alias, entry in django_project_database.entries(project):
            if entry["engine"] not in django_project_database.PORTS or entry["host"]:
                continue
            for field, value in zip(
                ("name", "user"), django_project_database.names(name, alias, entry)
            ):
                other, where, password = owner.setdefault(
                    (entry["engine"], field, value), (name, key, entry["password"])
                )
                if (other, where) == (name, key):
                    continue
                # One role has one password; two databases of a project may say so on purpose.
                is_meant = other == name and password and password == entry["password"]
                if field == "name" or not is_meant:
                    text = f"expected one of its own, {value} is that of {other}:{where}"
                    yield name, f"{key}:{field}", text


def domains(projects):
    """No domain twice, and one project at most that answers to every name."""
    owner, catch_all = {}, None
    for name, project in projects.items():
        for key, found in (
            ("domains", project["domains"]),
            ("static:domains", project["static"]["domains"]),
        ):
            for index, domain in enumerate(found):
                if domain in owner:
                    text = f"expected a domain of its own, {domain} is that of {owner[domain]}"
                    yield name, f"{key}:{index}", text
                owner.setdefault(domain, name if key == "domains" else f"{name}:{key}")
        if not project["domains"]:
            if catch_all:
                text = "expected a list of domain names, got none, and only one project can do"
                yield name, "domains", f"{text} without (here {catch_all} does)"
            catch_all = catch_all or name


def redis_ports(projects, fleet):
    """No two Redis servers on one port, and none on that of another server. projects: resolved."""
    owner = {
        fleet["postgresql"]["port"]: "PostgreSQL",
        fleet["mariadb"]["port"]: "MariaDB",
    }
    for project in projects.values():
        web = project["web"]
        ports = [web["port"], web["tls_port"]]
        if web["server"] == "apache":
            ports.append(web["probe_port"])
        owner.update(dict.fromkeys(ports, FRONTS[web["server"]]))
    for name, project in projects.items():
        for purpose in ("cache", "broker"):
            redis = project[purpose]
            if redis["engine"] != "redis" or not redis["managed"]:
                continue
            port = redis["port"]
            if port in owner:
                text = f"{port} is that of {owner[port]} (set one of them)"
                yield name, f"{purpose}:port", f"expected a port of its own, {text}"
            owner.setdefault(port, name if purpose == "cache" else f"{name}:{purpose}")


def balancer_ports(projects, fleet):
    """
    No port of the balancer that another server on its host has, as ``(key, sentence)``. projects:
    resolved.
    """
    roles = {
        role
        for host in fleet["hosts"].values()
        if "balancer" in host["roles"]
        for role in host["roles"]
    }
    owner = dict.fromkeys((fleet["firewall"] or SSH)["ssh"]["ports"], "SSH")
    if "database" in roles:
        owner[fleet["postgresql"]["port"]] = "PostgreSQL"
        owner[fleet["mariadb"]["port"]] = "MariaDB"
    if "cache" in roles:
        for name, project in projects.items():
            for purpose in ("cache", "broker"):
                if project[purpose]["engine"] == "redis" and project[purpose]["managed"]:
                    owner[project[purpose]["port"]] = f"the {purpose} of {name}"
    for key, port in _ports_of_balancer(fleet) if roles else ():
        if port in owner:
            yield key, f"expected another port than {port}, which is that of {owner[port]}"
        owner.setdefault(port, f"django:haproxy:{key}")


def _ports_of_balancer(fleet):
    haproxy = fleet["haproxy"]
    yield "port", haproxy["port"]
    if any(
        project[part]["tls"] for project in fleet["projects"].values() for part in ("web", "static")
    ):
        yield "tls_port", haproxy["tls_port"]
    if haproxy["statistics"]:
        yield "statistics:port", haproxy["statistics"]["port"]


def placement(projects, hosts, is_fleet):
    """Every project has the hosts it needs."""
    runs = [name for name, host in hosts.items() if {"app", "worker"} & set(host["roles"])]
    has_worker = any("worker" in host["roles"] for host in hosts.values())
    members = {*hosts, *(host["address"] for host in hosts.values())} if is_fleet else ()
    servers = [name for name, host in hosts.items() if "media" in host["roles"]]
    for name, project in projects.items():
        text = "expected a number such as 900, since"
        media, has_number = (
            project["media"],
            project["uid"] or django_mod_wsgi.embeds(project["app"]),
        )
        if media["mount"] and len(runs) > 1 and not has_number:
            yield name, "uid", f"{text} {len(runs)} hosts share its uploads"
        elif servers and not (media["mount"] or media["s3"] or has_number):
            yield name, "uid", f"{text} its uploads are on {servers[0]}, which has the role media"
        for key in ("processes", "timers"):
            if project[key] and not has_worker:
                yield name, key, "expected a host with the role worker to run them, got none"
        for key, _, entry in django_project_database.entries(project):
            if entry["engine"] == "sqlite" and len(runs) > 1:
                text = f"expected postgresql or mysql, since {len(runs)} hosts run the project"
                yield name, f"{key}:engine", text
            if entry["host"] in members:
                text = "expected only for an external database (the role database says which host)"
                yield name, f"{key}:host", text
        apart = [host for host in runs if "web" not in hosts[host]["roles"]]
        if project["app"]["server"] == "mod_wsgi" and apart:
            text = (
                f"expected another server: mod_wsgi is a part of Apache, which {apart[0]} has not"
            )
            yield name, "app:server", f"{text} without the role web, and it runs this one too"
        cache = project["cache"]
        others = [host for host in runs if "cache" not in hosts[host]["roles"]]
        if cache["engine"] == "memcached" and not cache["host"] and others:
            text = (
                "expected redis, or a host of your own: Memcached knows no password, so that only"
            )
            where = "projects on the host with the role cache may use it"
            yield name, "cache:engine", f"{text} {where}, and {others[0]} runs this one too"


def balanced(projects, hosts, server):
    """
    Every project has what a balancer in the map needs to tell it from the others, and asks for
    nothing that its ``server`` has not.
    """
    if not any("balancer" in host["roles"] for host in hosts.values()):
        return
    for name, project in projects.items():
        if not project["domains"]:
            text = "expected a list of domain names, by which the balancer knows the project"
            yield name, "domains", text
        if project["web"]["sticky"] and server != "haproxy":
            yield name, "web:sticky", f"expected haproxy as django:balancer:server, got {server}"
        for part in ("web", "static"):
            if project[part]["tls"] and server == "varnish":
                text = "expected haproxy or nginx as django:balancer:server: Varnish has no TLS"
                yield name, f"{part}:tls", text


def static_hosts(projects, hosts, is_fleet):
    """Domains for static files have hosts that serve them, by a server that has its ports."""
    having = [name for name, item in hosts.items() if "static" in item["roles"]]
    both = [name for name in having if "web" in hosts[name]["roles"]]
    for name, project in projects.items():
        if not project["static"]["domains"]:
            continue
        if not having:
            text = "expected a host with the role static in django:hosts to serve them, got none"
            yield name, "static:domains", text
        if both and django_server_apache.front(project) != "nginx":
            key, other = "web:server", "nginx"
            if not project["web"]["server"]:
                key, other = "app:server", "another than mod_wsgi, which is a part of Apache"
            told = f"{both[0]} has the role web, too" if is_fleet else "this server is alone"
            yield name, key, f"expected {other}: Nginx serves static:domains, and {told}"


def static_domains(projects, hosts, is_fleet):
    """Hosts for static files have something to serve; messages, with their paths."""
    if not is_fleet or any(project["static"]["domains"] for project in projects.values()):
        return
    for name, item in hosts.items():
        if "static" in item["roles"]:
            text = "expected static:domains in a project, of which it serves the static files"
            yield f"django:hosts:{name}:roles: {text}, got none"


def replication(fleet, hosts, host, are_all):
    """What replicas of the database need, and are in the way of; messages, with their paths."""
    replicas = [name for name, item in hosts.items() if "replica" in item["roles"]]
    if not replicas:
        return
    servers = {}
    for name, item in hosts.items():
        roles = set(item["roles"]) & set(django_replica.SERVERS)
        if len(roles) > 1:
            text = "expected replica on another host than database, to be there without it"
            yield f"django:hosts:{name}:roles: {text}"
        if not roles:
            continue
        other = servers.setdefault(django_replica.slot(name), name)
        if other != name:
            text = f"expected a name that differs from {other} in letters or digits"
            yield f"django:hosts:{name}: {text}"
    where = f"django:hosts:{replicas[0]}:roles"
    if not fleet["database_host"]:
        yield f"{where}: expected a host with the role database beside one with replica, got none"
    entries = [
        (name, key, entry)
        for name, project in fleet["projects"].items()
        for key, _, entry in django_project_database.entries(project)
        if entry["engine"] == "postgresql" and not entry["host"]
    ]
    if are_all and not entries:
        yield f"{where}: expected a database of engine postgresql for a replica to follow, got none"
    if not fleet["postgresql"]["replication"]["password"]:
        told = f"expected a password, since {' and '.join(replicas[:3])} come in with it"
        yield f"django:postgresql:replication:password: {told}"
    for name, key, entry in entries:
        if entry["user"] == django_replica.USER:
            text = f"expected another name, {django_replica.USER} is that of the replicas"
            yield f"django:projects:{name}:{key}:user: {text}"
    if host["init"] != "systemd" and set(host["roles"]) & set(django_replica.SERVERS):
        text = "expected a host with systemd, which keeps a primary down that was replaced"
        yield f"django:hosts:{host['name']}: {text}"


BETWEEN_PROJECTS = (users, numbers, databases, domains, fronts, programs)
