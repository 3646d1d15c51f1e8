"""Databases of a project: engine, name, role and where they are."""

SECTIONS = {"postgresql": "postgresql", "mysql": "mariadb"}  # of the pillar, by engine
PORTS = {"postgresql": 5432, "mysql": 3306}


def resolve(name, alias, given, fleet, host, paths):
    """A database (dict): ``local`` is on this host, ``managed`` is created by the formula."""
    engine = given["engine"]
    database = {"engine": engine, "alias": alias, "local": False, "managed": False}
    database["options"] = dict(sorted(given["options"].items()))
    if engine == "sqlite":
        file = given["file"] or f"{alias}.sqlite3"
        file = file if file.startswith("/") else f"{paths['shared']}/data/{file}"
        return {**database, "name": file, "local": True}
    if engine == "none":
        return database
    base = name.replace("-", "_")
    own = base if alias == "default" else f"{base}_{alias}"[:63]
    server = fleet["database_host"]
    managed = not given["host"]
    local = managed and (server is None or server["name"] == host["name"])
    is_loopback = local and not (engine == "mysql" and has_remote_clients(fleet))
    address = given["host"] or ("127.0.0.1" if is_loopback else server["address"])
    own_port = fleet[SECTIONS[engine]]["port"] if managed else PORTS[engine]
    database.update(
        name=given["name"] or own,
        user=given["user"] or own,
        host=address,
        port=given["port"] or own_port,
        local=local,
        managed=managed,
    )
    if engine == "mysql":
        database["options"] = {"charset": "utf8mb4", **database["options"]}
        return database
    database.update(
        extensions=list(given["extensions"]),
        encoding=given["encoding"],
        locale=given["locale"],
        template=given["template"],
    )
    return database


def has_remote_clients(fleet):
    """Whether another host than the one with the role database comes to it."""
    server = fleet["database_host"]
    return server is not None and any(
        name != server["name"] and {"app", "worker", "backup"} & set(item["roles"])
        for name, item in fleet["hosts"].items()
    )


def servers(projects):
    """How many kinds of database servers the formula looks after for these projects (int)."""
    return len(
        {
            database["engine"]
            for project in projects.values()
            for database in project["databases"].values()
            if database["managed"]
        }
    )


def entries(project):
    """(key, alias, entry) of every database of a project's pillar."""
    yield "database", "default", project["database"]
    for alias, entry in project["databases"].items():
        yield f"databases:{alias}", alias, entry


def names(name, alias, entry):
    """Name and role of a database, as the pillar gives them or as they are worked out."""
    base = name.replace("-", "_")
    own = base if alias == "default" else f"{base}_{alias}"[:63]
    return entry["name"] or own, entry["user"] or own
