"""The PostgreSQL server of a host: settings, who is let in, databases of the projects."""

import re

import django_project_database
import django_queue
import django_replica
import django_tuning

ASGI_REQUESTS = 10  # for which a worker is reckoned to hold a connection each
LEAST_CONNECTIONS, SPARE_CONNECTIONS = 100, 20
BACKEND_MIB = 5  # of memory that is a connection's own


def configuration(fleet, host, hosts, projects, system, held):
    """
    What PostgreSQL's files say and which databases it has (dict); empty without a database.

    held
        Connections (int) that may be held at once, as :func:`most_held` returns them.
    """
    given = fleet["postgresql"]
    databases, hba = [], [_hba_line(line) for line in given["hba"]]
    version = given["version"] or system["postgresql"]["version"]
    config_dir = system["postgresql"]["config_dir"].format(version=version)
    replication = django_replica.configuration(fleet, host, hosts, version, config_dir)
    hba += [
        _let_in(database, replication["user"], _single(address))
        for database, address in django_replica.hba(replication)
    ]
    clients = sorted(
        (item["address"], bool({"app", "worker"} & set(item["roles"])))
        for name, item in hosts.items()
        if name != host["name"] and {"app", "worker", "backup"} & set(item["roles"])
    )
    for name, project in projects.items():
        let_in = [each for each, runs in clients if runs or project["backup"]["database"]]
        addresses = ["127.0.0.1/32", "::1/128"] + [_single(address) for address in let_in]
        for alias, database in project["databases"].items():
            if not database["managed"] or database["engine"] != "postgresql":
                continue
            databases.append(
                {
                    "project": name,
                    "alias": alias,
                    "name": database["name"],
                    "owner": database["user"],
                    "encoding": database["encoding"],
                    "locale": database["locale"],
                    "template": database["template"],
                    "extensions": list(database["extensions"]),
                }
            )
            for address in addresses:
                hba.append(_let_in(database["name"], database["user"], address))
    if not databases:
        return {}
    is_reached = bool(clients or replication)
    limit = given["max_connections"] or connections(held)
    settings = {
        "listen_addresses": ",".join(["localhost", *([host["address"]] if is_reached else [])]),
        "port": given["port"],
        "max_connections": limit,
        "password_encryption": "scram-sha-256",
    }
    memory = _memory(fleet, host, projects)
    settings.update(django_tuning.postgresql(host["cores"], memory, limit))
    settings.update(django_replica.settings(replication, given["port"]))
    settings.update(given["settings"])
    return {
        "version": version,
        "version_given": bool(given["version"]),
        "packages": [item.format(version=version) for item in system["packages"]["postgresql"]],
        "service": system["postgresql"]["service"],
        "port": given["port"],
        "config_dir": config_dir,
        "settings": dict(sorted(settings.items())),
        "hba": hba,
        "databases": [] if replication.get("role") == "standby" else databases,
        "replication": replication,
    }


def _memory(fleet, host, projects):
    """Memory (MiB) of this machine that PostgreSQL may reckon with."""
    share = django_tuning.memory_share(
        fleet["postgresql"]["memory_share"],
        set(host["roles"]) not in ({"database"}, {"replica"}),
        50,
        90,
        django_project_database.servers(projects),
    )
    return host["memory"] * share // 100


def doubts(fleet, host, projects, held):
    """What is to be known of so many connections on a machine with so much memory, as messages."""
    memory = _memory(fleet, host, projects)
    room = memory * 3 // 4 // BACKEND_MIB
    if held <= room:
        return []
    return [
        "django:postgresql:max_connections: the processes of all hosts may hold"
        f" {held} connections, and PostgreSQL's share of this machine's memory, {memory} MiB, has"
        f" room for about {room}; put a pooler such as PgBouncer in between, let them have fewer"
        " app:workers and app:threads, or give this machine more memory"
    ]


def connections(held):
    """How many to allow (int) where ``held`` may be held at once: some more, and at least 100."""
    return max(LEAST_CONNECTIONS, -(-(held + SPARE_CONNECTIONS) // 10) * 10)


def most_held(projects, hosts):
    """
    Connections (int) that the projects' processes on all hosts can hold at once.

    projects
        Resolved ones, with all their processes, whatever this host runs of them.
    hosts
        All hosts by name: ``{roles, address}``.
    """
    roles = [role for item in hosts.values() for role in item["roles"]]
    need = 0
    for project in projects.values():
        app = project["app"]
        is_threaded = app["server"] in ("uwsgi", "mod_wsgi") or app["worker_class"] == "gthread"
        at_once = ASGI_REQUESTS if app["asgi"] else app["threads"] if is_threaded else 1
        need += roles.count("app") * app["workers"] * at_once
        for process in project["processes"].values():
            runs = roles.count("worker")
            runs = min(runs, 1) if process["single"] else runs
            need += runs * process["count"] * django_queue.jobs(process)
    return need


def _hba_line(line):
    words = line.split()
    rest = words[3:]
    address = ""
    if words[0] != "local":
        address = rest.pop(0) if rest else ""
        if rest and re.fullmatch(r"[0-9.]+", rest[0]):
            address = f"{address} {rest.pop(0)}"
    return {
        "type": words[0],
        "database": words[1] if len(words) > 1 else "",
        "user": words[2] if len(words) > 2 else "",
        "address": address,
        "method": rest[0] if rest else "",
        "options": " ".join(rest[1:]),
    }


def _let_in(database, user, address):
    """A line of pg_hba.conf (dict) by which a role comes in with its password."""
    return {
        "type": "host",
        "database": database,
        "user": user,
        "address": address,
        "method": "scram-sha-256",
        "options": "",
    }


def _single(address):
    return f"{address}/{128 if ':' in address else 32}"
