"""One project of the pillar, with everything worked out: paths, domains, credentials, processes."""

import pathlib
import re

import django_address
import django_mod_wsgi
import django_project_broker
import django_project_cache
import django_project_database
import django_project_environment
import django_project_files
import django_project_processes
import django_queue
import django_references
import django_server_apache
import django_server_nfs
import django_static

PATHS = {
    "tools": "/opt/django-formula",
    "lib": "/usr/local/lib/django-formula",
    "srv": "/srv/django",
    "config": "/etc/django",
    "log": "/var/log/django",
    "run": "/run/django",
    "cache": "/var/cache/django",
    "media": django_server_nfs.ROOT,
    "secrets": "/etc/django-formula/secrets",
}
PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
FORMATS = {
    "py": "python",
    "env": "env",
    "ini": "ini",
    "cfg": "ini",
    "conf": "ini",
    "json": "json",
    "toml": "toml",
    "yaml": "yaml",
    "yml": "yaml",
}
SECRET_KEY = {"generate": 64, "format": "letters", "export": False}
LONG = 3600  # seconds that a request or a silent websocket may take, where nothing says less
PASSWORD = {"generate": 32, "format": "letters", "export": False}


def resolve(name, given, fleet, host, count):
    """The configuration of one project, and its secrets apart.

    name: the project's. given: its validated pillar. fleet: the whole of ``django`` in the pillar,
    validated, with ``database_host``, ``cache_host`` and ``media_host`` ({name, address} or None).
    host: the configuration's host. count: projects on this host.
    """
    paths = project_paths(name)
    media = {**given["media"], "mount": django_server_nfs.mount(name, given, fleet)}
    if media["mount"]:
        paths.update({key: f"{paths['share']}/{key}" for key in ("media", "private")})
    source = _source(given["source"])
    user = given["user"] or name
    if django_mod_wsgi.embeds(given["app"]):
        user = django_mod_wsgi.EMBEDDED_USER
    front = fleet[django_server_apache.front(given)]
    site = _site(given, fleet["haproxy"] if fleet["balancers"] else front, host)
    static_site = _static_site(given, fleet)
    databases = {}
    for alias, entry in [("default", given["database"]), *sorted(given["databases"].items())]:
        databases[alias] = django_project_database.resolve(name, alias, entry, fleet, host, paths)
    project = {
        "name": name,
        "user": user,
        "group": user,
        "uid": given["uid"],
        "process_manager": given["process_manager"] or fleet["process_manager"],
        "paths": paths,
        "source": source,
        "python": _python(given, fleet),
        "system_packages": given["system_packages"],
        "settings": given["settings"],
        "manage": _manage(given["manage"]),
        "pythonpath": given["pythonpath"],
        **site,
        "databases": databases,
        "cache": django_project_cache.resolve(name, given["cache"], fleet, host),
        "broker": django_project_broker.resolve(name, given, fleet, host),
        "app": django_project_processes.app(given, host, count),
        "processes": {},
        "timers": {},
        "build": [
            {
                "command": step["run"],
                "directory": step["directory"],
                "environment": django_project_environment.variables(step["env"]),
                "timeout": step["timeout"],
            }
            for step in given["build"]
        ],
        "tasks": [django_project_processes.task(entry) for entry in given["tasks"]],
        "static": django_project_files.static(given["static"], static_site.get("url", "")),
        "static_site": static_site,
        "static_only": False,
        "cdn": django_project_files.cdn(given["static"]),
        "media": django_project_files.media(media, paths),
        "migrate": given["migrate"],
        "release": given["release"],
        "superuser": _superuser(given, site),
        "fixtures": given["fixtures"],
        "logs": given["logs"],
        "backup": given["backup"],
        "files": _files(given["files"]),
    }
    if django_mod_wsgi.embeds(given["app"]):
        project["app"].update(django_server_apache.sizes(fleet["apache"], host, True))
    folders = _writable(given, paths, databases)
    project["writable"], project["above_writable"], project["links"] = folders
    project["aws"] = bool(project["media"]["s3"] or project["cdn"].get("distribution"))
    project["health"] = _health(given, site)
    project["web"] = _web(given, front, fleet, project["app"])
    project["secret_specs"] = _secrets(given, project, fleet["python"])
    project["secrets"] = sorted({*given["secrets"], "SECRET_KEY"})
    project["processes"] = {
        key: django_project_processes.process(entry, host)
        for key, entry in sorted(given["processes"].items())
    }
    project["timers"] = {
        key: django_project_processes.timer(f"{name}:{key}", entry)
        for key, entry in sorted(given["timers"].items())
    }
    project["environment"] = django_project_environment.derived(given, project)
    return project


def project_paths(name):
    """The absolute paths of a project on a host, by purpose."""
    root = f"{PATHS['srv']}/{name}"
    return {
        "root": root,
        "releases": f"{root}/releases",
        "venvs": f"{root}/venvs",
        "instances": f"{root}/instances",
        "shared": f"{root}/shared",
        "static": f"{root}/static",
        "media": f"{root}/shared/media",
        "private": f"{root}/shared/private",
        "share": f"{root}/share",
        "current": f"{root}/current",
        "socket": f"{root}/web.sock",
        "uwsgi_socket": f"{root}/web.uwsgi",
        "slot": f"{root}/web.slot",
        "embedded": f"{root}/web.embedded",
        "slots": f"{root}/slots",
        "run": f"{PATHS['run']}/{name}",
        "log": f"{PATHS['log']}/{name}",
        "config": f"{PATHS['config']}/{name}",
        "cache": f"{PATHS['cache']}/{name}",
    }


def file_format(path, given):
    """How a rendered file is written: as the pillar says, else by its suffix."""
    if given["format"] or isinstance(given["content"], str):
        return given["format"] or "text"
    return FORMATS.get(path.rsplit("/", 1)[-1].rsplit(".", 1)[-1], "text")


def _source(given):
    kind = next(kind for kind in ("path", "git", "archive", "pypi") if given[kind])
    source = {
        "kind": kind,
        "location": given[kind],
        "rev": given["rev"],
        "hash": given["hash"],
        "package": None,
        "extras": [],
        "version": None,
        "subdirectory": given["subdirectory"],
        "exclude": given["exclude"] if kind == "path" else [],
        "submodules": given["submodules"],
        "known_hosts": given["known_hosts"],
        "deploy_key": bool(given["deploy_key"]),
    }
    if kind == "pypi":
        left, source["version"] = given["pypi"].split("==")
        source["package"] = left.split("[")[0]
        if "[" in left:
            extras = left.split("[")[1].rstrip("]").split(",")
            source["extras"] = sorted(extra.strip() for extra in extras if extra.strip())
    return source


def _python(given, fleet):
    python = dict(given["python"])
    python["environment"] = django_project_environment.variables(python["environment"])
    python["index_url"] = bool(fleet["python"]["index_url"])
    python["extra_index_urls"] = bool(fleet["python"]["extra_index_urls"])
    packages = list(python["packages"])
    named = {re.sub(r"[-_.]+", "-", PACKAGE.match(item).group()).lower() for item in packages}
    app = given["app"]
    if app["server"] == "gunicorn":
        wanted = [("gunicorn", app["version"])]
        if app["asgi"] and not app["worker_class"]:
            wanted += [("uvicorn", app["uvicorn_version"]), ("uvicorn-worker", None)]
            if given["web"]["websocket"]:
                wanted.append(("websockets", None))  # without one, Uvicorn refuses them
        for package, version in wanted:
            if package not in named and (version or package != "gunicorn"):
                packages.append(f"{package}=={version}" if version else package)
    if app["server"] == "uwsgi" and app["uwsgi_version"] and not named & {"uwsgi", "pyuwsgi"}:
        packages.append(f"pyuwsgi=={app['uwsgi_version']}")
    flowers = [entry["flower"] for entry in given["processes"].values() if entry["flower"]]
    if flowers and "flower" not in named:
        packages.append(f"flower=={flowers[0]['version']}")
    python["packages"] = packages
    return python


def _manage(given):
    kind = next(kind for kind in ("file", "script", "module") if given[kind])
    return {"kind": kind, "value": given[kind]}


def _static_site(given, fleet):
    """
    The site of static files alone (dict), empty without domains for it: ``domains``, ``url`` (its
    beginning), ``https``, ``port``, ``tls_port``, ``tls`` of the servers with the role static, and
    ``path``, at which they say that they have what was published.
    """
    domains = given["static"]["domains"]
    if not domains:
        return {}
    front = fleet["nginx"]
    tls = given["static"]["tls"] or given["web"]["tls"]
    seen = fleet["haproxy"] if fleet["balancers"] else front
    https = None if given["static"]["tls"] else given["web"]["https"]
    scheme, port = _scheme(tls, https, seen)
    return {
        "domains": domains,
        "url": f"{scheme}://{domains[0]}{port}",
        "https": scheme == "https",
        "port": front["port"],
        "tls_port": front["tls_port"],
        "tls": {} if fleet["balancers"] else tls or {},
        "path": f"/{django_static.PROBE}",
    }


def _scheme(tls, https, front):
    """The scheme of the URL that visitors have, and the port in it, empty where it is usual."""
    https = bool(tls) if https is None else https
    own_port = front["tls_port"] if tls else front["port"]
    standard = 443 if tls else 80
    return "https" if https else "http", "" if own_port == standard else f":{own_port}"


def _site(given, front, host):
    domains = given["domains"]
    tls = given["web"]["tls"]
    https = given["web"]["https"]
    https = bool(tls) if https is None else https
    scheme, port = _scheme(tls, https, front)
    if domains:
        names = [domain.lstrip("*") for domain in domains]
        first = domains[0].lstrip("*.")
    else:
        names = [host["hostname"], host["fqdn"], *host["addresses"]]
        names += ["localhost", "127.0.0.1", "::1"]
        first = host["address"]
    allowed = _unique(django_address.bracketed(name) for name in names if name)
    schemes = ["https"] if https and (not tls or tls["redirect"]) else ["http"]
    if https and tls and not tls["redirect"]:
        schemes = ["https", "http"]
    origins = []
    for name in allowed:
        for each in schemes:
            ending = port if each == scheme else ""
            origins.append(f"{each}://{name.lstrip('.')}{ending}")
            if name.startswith("."):
                origins.append(f"{each}://*{name}{ending}")
    return {
        "domains": domains,
        "allowed_hosts": allowed,
        "csrf_trusted_origins": _unique(origins),
        "url": f"{scheme}://{django_address.bracketed(first)}{port}",
        "catch_all": not domains,
    }


def _superuser(given, site):
    superuser = given["superuser"]
    if not superuser:
        return {}
    domain = site["domains"][0].lstrip("*.") if site["domains"] else "localhost"
    username = superuser["username"]
    email = superuser["email"] or f"{username.split('@')[0]}@{domain}"
    return {"username": username, "email": email, "fields": superuser["fields"]}


def _files(given):
    result = []
    for path in sorted(given):
        entry = given[path]
        result.append(
            {
                "path": path,
                "where": "host" if path.startswith("/") else "release",
                "format": file_format(path, entry),
                "mode": entry["mode"],
                "variable": entry["variable"],
                "content": entry["content"],
            }
        )
    return result


def _writable(given, paths, databases):
    """
    Folders that the project may write to, those above them, which are root's so that it cannot put
    a link in the place of one, and links to them in its tree.
    """
    names = {item["path"] for item in given["writable"]} - {"media"}
    if given["media"]["private"]:
        names.discard("private")
    asks = django_references.find([given["env"], list(given["files"].values())])
    if any(item["engine"] == "sqlite" for item in databases.values()) or "path.data" in asks:
        names.add("data")
    if any(entry["celery_beat"] for entry in given["processes"].values()):
        names.add(django_queue.FOLDER)
    links = [
        {"link": item["link"], "target": f"{paths['shared']}/{item['path']}"}
        for item in given["writable"]
        if item["link"]
    ]
    above = {str(parent) for name in names for parent in pathlib.PurePosixPath(name).parents}
    above -= {*names, ".", "media", "private"}
    return (
        [f"{paths['shared']}/{name}" for name in sorted(names)],
        [f"{paths['shared']}/{name}" for name in sorted(above)],
        links,
    )


def _health(given, site):
    health = dict(given["health"])
    first = site["domains"][0].lstrip("*.") if site["domains"] else "localhost"
    health["host"] = health["host"] or first
    health["scheme"] = health["scheme"] or site["url"].split(":")[0]
    return health


def _web(given, front, fleet, app):
    web = dict(given["web"])
    web["server"] = django_server_apache.front(given)
    https = web["https"]
    web["https"] = bool(web["tls"]) if https is None else https
    # A balancer has the certificates, and the hosts behind it speak HTTP to it.
    web["tls"] = {} if fleet["balancers"] else web["tls"] or {}
    web["cache"] = web["cache"] or {}
    longest = LONG if web["websocket"] or not app["timeout"] else app["timeout"]
    web["read_timeout"] = web["read_timeout"] or longest + 5
    web["port"], web["tls_port"] = front["port"], front["tls_port"]
    # What serves until a change of the front door may be in Apache still.
    web["probe_port"] = fleet["apache"]["probe_port"]
    web["trusted_proxies"] = _unique([*web["trusted_proxies"], *fleet["balancers"]])
    web["locations"] = {
        path: {key: value for key, value in entry.items() if value is not None}
        for path, entry in sorted(web["locations"].items())
    }
    return web


def _secrets(given, project, python):
    specs = {"SECRET_KEY": dict(SECRET_KEY, export=True)}
    for name, entry in given["secrets"].items():
        export = name.isupper() if entry["export"] is None else entry["export"]
        if entry["value"] is not None:
            specs[name] = {"value": entry["value"], "export": export}
        else:
            specs[name] = {
                "generate": entry["generate"],
                "format": entry["format"],
                "export": export,
            }
    for alias, database in project["databases"].items():
        if database["engine"] in django_project_database.PORTS:
            entry = given["database"] if alias == "default" else given["databases"][alias]
            specs[f"database.{alias}.password"] = _password(entry["password"])
    for purpose in ("cache", "broker"):
        own_redis = project[purpose]["engine"] == "redis" and project[purpose]["managed"]
        if own_redis or given[purpose]["password"]:
            specs[f"{purpose}.password"] = _password(given[purpose]["password"])
    if project["superuser"]:
        specs["superuser.password"] = _password(given["superuser"]["password"])
    for purpose, keys in (("media", given["media"]["s3"]), ("cdn", given["static"]["cdn"])):
        if keys and keys["secret_key"]:
            specs[f"{purpose}.secret_key"] = _password(keys["secret_key"])
    if any(entry["flower"] for entry in given["processes"].values()):
        specs["flower.password"] = dict(PASSWORD)
    if given["source"]["deploy_key"]:
        specs["source.deploy_key"] = _password(given["source"]["deploy_key"])
    if python["index_url"]:
        specs["python.index_url"] = _password(python["index_url"])
    if python["extra_index_urls"]:
        specs["python.extra_index_urls"] = _password(" ".join(python["extra_index_urls"]))
    return dict(sorted(specs.items()))


def _password(value):
    return {"value": value, "export": False} if value else dict(PASSWORD)


def _unique(items):
    return list(dict.fromkeys(items))
