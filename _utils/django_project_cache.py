"""Cache of a project: engine, server and limits."""

import hashlib

REDIS_PORTS = (6380, 1000)
MEMCACHED_PORT = 11211


def redis_port(name):
    """The Redis port of a project: a fixed function of its name, between 6380 and 7379."""
    first, count = REDIS_PORTS
    return first + int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % count


def resolve(name, given, fleet, host):
    """The cache (dict): ``local`` is on this host, ``managed`` is run by the formula."""
    if given["engine"] == "redis":
        return redis(given, redis_port(name), fleet["cache_host"], host)
    if given["engine"] == "memcached":
        return memcached(name, given, fleet["cache_host"], host)
    return {"engine": given["engine"], "local": False, "managed": False}


def redis(given, own_port, server, host):
    """A Redis of a project (dict), see :func:`resolve`.

    own_port: that of one that is run by the formula, where the pillar says none. server: the host
    with the role cache ({name, address}), None for this one.
    """
    managed = not given["host"]
    local = managed and (server is None or server["name"] == host["name"])
    address = given["host"] or ("127.0.0.1" if local else server["address"])
    return {
        "engine": "redis",
        "local": local,
        "managed": managed,
        "host": address,
        "port": given["port"] or (own_port if managed else 6379),
        "maxmemory": given["maxmemory"],
        "policy": given["policy"],
        "persistence": given["persistence"],
    }


def memcached(name, given, server, host):
    """The Memcached of a project (dict), see :func:`resolve`.

    It knows no password. So one that is run by the formula has no port, and only the project's
    group reaches its socket; a check sees to it that no other host needs it. server: the host with
    the role cache, None for this one.
    """
    managed = not given["host"]
    return {
        "engine": "memcached",
        "local": managed and (server is None or server["name"] == host["name"]),
        "managed": managed,
        "host": given["host"],
        "port": None if managed else given["port"] or MEMCACHED_PORT,
        "socket": f"/run/memcached-{name}/memcached.sock" if managed else None,
        "maxmemory": given["maxmemory"],
    }
