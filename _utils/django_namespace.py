"""What references can name: one list for checking the pillar and for expanding on the host."""

import urllib.parse

import django_address
import django_project_files

# names that exist for a release only; before there is one they have no value
RELEASE_NAMES = (
    "release",
    "instance",
    "socket",
    "path.release",
    "path.source",
    "path.project",
    "path.static",
    "path.venv",
)
REDIS_DATABASES = 16


def namespace(project, host, secrets, release=None, venv=None, instance=None, socket=None):
    """Reference name -> value for one project, flat.

    project: the project's entry of the configuration. host: the configuration's ``host``.
    secrets: secret name -> value, named as in ``secret_specs``; absent ones are the empty string.
    release: the release's id; venv: absolute path of its virtualenv; instance: the instance's id;
    socket: absolute path to listen on. Names whose value is not given here are left out.
    """
    paths = project["paths"]
    names = {
        "at": "@",
        "project": project["name"],
        "user": project["user"],
        "group": project["group"],
        "settings": project["settings"] or "",
        "domain": project["domains"][0] if project["domains"] else host["address"],
        "domains": list(project["domains"]),
        "url": project["url"],
        "allowed_hosts": list(project["allowed_hosts"]),
        "csrf_trusted_origins": list(project["csrf_trusted_origins"]),
        "static.url": project["static"]["url"],
        "media.url": project["media"]["url"],
        "media.storage": django_project_files.storage(project["media"]),
        "path.root": paths["root"],
        "path.shared": paths["shared"],
        "path.media": paths["media"],
        "path.data": f"{paths['shared']}/data",
        "path.log": paths["log"],
        "path.run": paths["run"],
        "path.config": paths["config"],
        "path.cache": paths["cache"],
        "path.home": paths["cache"],
        "path.current": paths["current"],
    }
    s3 = project["media"]["s3"]
    if s3:
        for key in ("bucket", "region", "endpoint", "prefix", "access_key"):
            names[f"media.{key}"] = s3[key] or ""
        names["media.secret_key"] = secrets.get("media.secret_key", "")
    if project["media"]["private"]:
        names["media.private_url"] = project["media"]["private"]["url"]
        names["path.private"] = paths["private"]
    for key in ("name", "address", "cores", "memory"):
        names[f"host.{key}"] = host[key]
    for path in project["writable"]:
        short = path[len(paths["shared"]) + 1 :]
        names[f"path.writable.{short.replace('/', '-')}"] = path
    for name in project["secrets"]:
        names[f"secrets.{name}"] = secrets.get(name, "")
    for alias, database in project["databases"].items():
        for key, value in _database(database, secrets, alias).items():
            names[f"databases.{alias}.{key}"] = value
            if alias == "default":
                names[f"database.{key}"] = value
    names.update(_cache(project["cache"], secrets))
    names.update(_broker(project["broker"], secrets))
    if project["superuser"]:
        names["superuser.username"] = project["superuser"]["username"]
        names["superuser.email"] = project["superuser"]["email"]
        names["superuser.password"] = secrets.get("superuser.password", "")
    if "flower.password" in project["secret_specs"]:
        names["flower.password"] = secrets.get("flower.password", "")
    for name, value in (("path.venv", venv), ("instance", instance), ("socket", socket)):
        if value is not None:
            names[name] = value
    if release is not None:
        names.update(_release(project, release, names))
    return names


def known(project, host):
    """The names that a project's references may use, sorted."""
    return sorted(namespace(project, host, {}, "release", "/venv", "instance", "/socket"))


def is_secret(name):
    """Whether a reference's value is a secret or has one in it."""
    return (
        name.startswith("secrets.")
        or name == "media.secret_key"
        or name.split(".")[-1].startswith(("password", "url"))
        and name.startswith(
            ("database.", "databases.", "cache.", "broker.", "redis.", "superuser.", "flower.")
        )
    )


def secret_of(name):
    """The secret (str), as ``secret_specs`` has it, that a reference's value is or has in it."""
    first, *rest = name.split(".")
    if first == "secrets":
        return ".".join(rest)
    if name == "media.secret_key":
        return name
    if not is_secret(name):
        return None
    if first in ("database", "databases"):
        alias = rest[0] if first == "databases" else "default"
        return f"database.{alias}.password"
    return f"{'cache' if first == 'redis' else first}.password"


def _release(project, release, names):
    paths = project["paths"]
    directory = f"{paths['releases']}/{release}"
    source = f"{directory}/source"
    subdirectory = project["source"]["subdirectory"]
    result = {
        "release": release,
        "path.release": directory,
        "path.source": source,
        "path.project": f"{source}/{subdirectory}" if subdirectory else source,
    }
    root = project["static"]["root"]
    for name, value in list(result.items()) + list(names.items()):
        if isinstance(value, str):
            root = root.replace(f"@{{{name}}}", value)
    result["path.static"] = root if root.startswith("/") else f"{result['path.project']}/{root}"
    return result


def _database(database, secrets, alias):
    engine = database["engine"]
    if engine == "none":
        return {}
    if engine == "sqlite":
        return {"engine": engine, "name": database["name"], "url": f"sqlite:///{database['name']}"}
    password = secrets.get(f"database.{alias}.password", "")
    result = {key: database[key] for key in ("engine", "name", "user", "host", "port")}
    result["password"] = password
    result["url"] = (
        f"{engine}://{_quote(database['user'])}:{_quote(password)}"
        f"@{django_address.bracketed(database['host'])}:{database['port']}/{_quote(database['name'])}"
    )
    if database["options"]:
        result["url"] += "?" + urllib.parse.urlencode(sorted(database["options"].items()))
    return result


def _cache(cache, secrets):
    if cache["engine"] == "locmem":
        return {"cache.url": "locmem://", "cache.engine": "locmem"}
    if cache["engine"] == "memcached":
        return _memcached(cache)
    if cache["engine"] != "redis":
        return {}
    password = secrets.get("cache.password", "")
    names = {}
    for prefix in ("cache", "redis"):
        names[f"{prefix}.host"] = cache["host"]
        names[f"{prefix}.port"] = cache["port"]
        names[f"{prefix}.password"] = password
    server = _redis_url(cache, password)
    for number in range(REDIS_DATABASES):
        names[f"redis.url{number}"] = f"{server}/{number}"
    names["cache.url"] = names["redis.url"] = f"{server}/0"
    names["cache.engine"] = "redis"
    return names


def _memcached(cache):
    """A Memcached's names; ``cache.location`` is what LOCATION in Django's settings has to be."""
    names = {"cache.engine": "memcached"}
    if cache["socket"]:
        names["cache.location"] = f"unix:{cache['socket']}"
        names["cache.url"] = f"pymemcache://{cache['socket']}"
        return names
    names.update({f"cache.{key}": cache[key] for key in ("host", "port")})
    names["cache.location"] = f"{django_address.bracketed(cache['host'])}:{cache['port']}"
    names["cache.url"] = f"pymemcache://{names['cache.location']}"
    return names


def _broker(broker, secrets):
    if broker["engine"] != "redis":
        return {}
    password = secrets.get("broker.password", "")
    return {
        "broker.engine": "redis",
        "broker.host": broker["host"],
        "broker.port": broker["port"],
        "broker.password": password,
        "broker.url": f"{_redis_url(broker, password)}/0",
    }


def _redis_url(server, password):
    """URL of a Redis without the number of a database."""
    login = f":{_quote(password)}@" if password else ""
    return f"redis://{login}{django_address.bracketed(server['host'])}:{server['port']}"


def _quote(text):
    return urllib.parse.quote(str(text), safe="")
