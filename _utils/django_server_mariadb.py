"""The MariaDB server of a host: settings, databases of the projects, and where users come from."""

import django_mariadb
import django_project_database
import django_server_postgresql
import django_tuning

SQL_MODE = (
    "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE"
    ",NO_ENGINE_SUBSTITUTION"
)


def configuration(fleet, host, hosts, projects, system, held):
    """
    What MariaDB's file says and which databases it has (dict); empty without a database.

    held
        Connections (int) that may be held at once.
    """
    given = fleet["mariadb"]
    is_remote = django_project_database.has_remote_clients(fleet)
    databases = [
        {
            "project": name,
            "alias": alias,
            "name": database["name"],
            "user": database["user"],
            "hosts": _clients(project, hosts) if is_remote else ["127.0.0.1"],
        }
        for name, project in projects.items()
        for alias, database in project["databases"].items()
        if database["managed"] and database["engine"] == "mysql"
    ]
    if not databases:
        return {}
    connections = given["max_connections"] or django_server_postgresql.connections(held)
    shared = set(host["roles"]) != {"database"}
    share = django_tuning.memory_share(
        given["memory_share"], shared, 50, 90, django_project_database.servers(projects)
    )
    settings = {
        "bind_address": host["address"] if is_remote else "127.0.0.1",
        "port": given["port"],
        "max_connections": connections,
        "skip_name_resolve": True,
        "local_infile": False,
        "character_set_server": django_mariadb.CHARSET,
        "collation_server": django_mariadb.COLLATION,
        "sql_mode": SQL_MODE,
    }
    settings.update(django_tuning.mariadb(host["cores"], host["memory"] * share // 100))
    settings.update(given["settings"])
    return {
        "packages": list(system["packages"]["mariadb"]),
        "service": system["mariadb"]["service"],
        "port": given["port"],
        "config": system["mariadb"]["config"],
        "settings": {name: _value(value) for name, value in sorted(settings.items())},
        "databases": databases,
    }


def _clients(project, hosts):
    """Addresses (sorted list of str) of the hosts that come to a project's databases."""
    roles = {"app", "worker"} | ({"backup"} if project["backup"]["database"] else set())
    return sorted(item["address"] for item in hosts.values() if roles & set(item["roles"]))


def _value(value):
    """A setting as the file has it."""
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    return value
