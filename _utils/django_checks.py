"""Checks between the keys of a pillar that is valid key by key.

Checks of one project take ``(name, project)`` and yield ``(key, sentence)``, the key below the
project; checks of all projects together yield ``(name, key, sentence)``. None raises, changes
anything or quotes a secret. :func:`pillar` and :func:`resolved` make messages of them.
"""

import posixpath
import re

import django_checks_apache
import django_checks_files
import django_checks_fleet
import django_cron
import django_namespace
import django_project_broker
import django_project_database
import django_queue
import django_references
import django_schema
import django_server_apache

# base-passwd and the packages of this formula; a group of that name is as bad as a user
SYSTEM_USERS = frozenset(
    (
        "_apt adm audio backup bin cdrom crontab daemon dialout dip disk django-formula fax floppy"
        " games gnats input irc kmem kvm list lp mail man memcache messagebus mysql netdev news"
        " nginx nobody nogroup ntp operator plugdev postgres proxy redis render root salt sasl sgx"
        " shadow src sshd ssl-cert staff sudo supervisor sync sys syslog systemd-network"
        " systemd-resolve systemd-timesync tape tty users utmp uucp varnish varnishlog vcache video"
        " voice www-data"
    ).split()
)
RESERVED_PROJECTS = frozenset({"all", "default"})
RESERVED_DATABASES = {
    "postgresql": frozenset({"postgres", "template0", "template1"}),
    "mysql": frozenset({"information_schema", "mysql", "performance_schema", "sys"}),
}
RESERVED_ROLES = {
    "postgresql": frozenset({"none", "postgres", "public"}),
    "mysql": frozenset({"PUBLIC", "debian-sys-maint", "mysql", "public", "root"}),
}
SERVERS = {"postgresql": "PostgreSQL", "mysql": "MariaDB"}
# What only PostgreSQL can be told of a database, with the schema's defaults.
OF_POSTGRESQL = {"extensions": [], "encoding": "UTF8", "locale": "C.UTF-8", "template": "template0"}
# What only Redis can be told of a cache, with the schema's defaults.
OF_REDIS = {"password": None, "policy": "volatile-lru", "persistence": "snapshot"}
RESERVED_VARIABLES = frozenset({"DJANGO_RELEASE"})
SHORTEST_KEY = 32  # characters of a SECRET_KEY, as the check of a release has it
LOGIN = re.compile(r"https?://[^/]*@|[a-z]+://[^/@]*:[^/@]*@")  # alone, it may be a token
BROKER = re.compile(r"broker|redis|rq_", re.IGNORECASE)
CACHE_URL = frozenset({"cache.url", "cache.location"})
OWN_OPTION = re.compile(r"(-b|--bind|-D|--daemon|-p|--pid|-u|--user|-g|--group)(=|$)")
UWSGI_OPTION = re.compile(
    r"--?(s|socket|uwsgi-socket|http|http-socket|fastcgi-socket|scgi-socket|protocol|d|daemonize2?"
    r"|pidfile2?|safe-pidfile2?|vacuum|uid|gid|M|master|chdir2?|chmod-socket|chown-socket"
    r"|hook-master-start|die-on-term|exit-on-reload|w|wsgi|module|ini|yaml|yml|xml|json)(=|\s|$)"
)
SECRET_NAME = re.compile(
    r"(^|_)(SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIALS|PRIVATE_KEY|API_KEY)(_|$)|_KEY$"
)


def root(name):
    """The path of a project in messages."""
    return f"django:projects:{name}"


def pillar(fleet, host):
    """
    All that is wrong between the keys of a validated pillar whatever its map of hosts says, as
    messages.

    fleet: the validated pillar. host: this host.
    """
    projects = fleet["projects"]
    messages = []
    for check in (
        names,
        source,
        environment,
        app,
        cache,
        queues,
        timers,
        database,
        web,
        secrets,
    ):
        for name, project in projects.items():
            messages += [_message(name, key, text) for key, text in check(name, project)]
    between = (django_checks_files.files, django_checks_apache.alone)
    for check in (*between, *django_checks_fleet.BETWEEN_PROJECTS):
        messages += [_message(*found) for found in check(projects)]
    server = fleet["balancer"]["server"]
    if fleet["haproxy"]["statistics"] and server != "haproxy":
        text = f"expected haproxy as django:balancer:server, got {server}"
        messages.append(f"django:haproxy:statistics: {text}")
    for front in django_checks_fleet.FRONTS:
        if fleet[front]["port"] == fleet[front]["tls_port"]:
            messages.append(f"django:{front}:tls_port: expected another port than that of HTTP")
    apache = fleet["apache"]
    if apache["probe_port"] in (apache["port"], apache["tls_port"]):
        messages.append("django:apache:probe_port: expected another port than those of sites")
    if host["init"] != "systemd":
        text = "process_manager: expected supervisord, since this host does not run systemd"
        if fleet["process_manager"] == "systemd":
            messages.append(f"django:{text}")
        for name, project in projects.items():
            if project["process_manager"] == "systemd":
                messages.append(f"{root(name)}:{text}")
    return messages


def placed(fleet, hosts, host, lacking):
    """
    All that is wrong between the map of hosts and the rest of a validated pillar, as messages.

    fleet: the validated pillar. hosts: name -> {roles, address}. host: this host. lacking: keys
    (set of str) of which something was left out.
    """
    projects, is_fleet = fleet["projects"], bool(fleet["hosts"])
    found = [
        *django_checks_fleet.placement(projects, hosts, is_fleet),
        *django_checks_fleet.static_hosts(projects, hosts, is_fleet),
        *django_checks_fleet.balanced(projects, hosts, fleet["balancer"]["server"]),
    ]
    messages = [_message(*each) for each in found]
    if "projects" not in lacking:
        messages += django_checks_fleet.static_domains(projects, hosts, is_fleet)
    if "postgresql" not in lacking:
        are_all = "projects" not in lacking
        messages += django_checks_fleet.replication(fleet, hosts, host, are_all)
    return messages


def system(projects, parameters):
    """What this system cannot do, as messages. parameters: its data."""
    version = parameters["python"]["version"]
    return [_message(*found) for found in django_checks_apache.interpreters(projects, version)]


def resolved(projects, fleet, host, hosts_of):
    """All that is wrong with projects that were worked out, as messages.

    projects: name -> resolved project. fleet: the validated pillar. hosts_of: function from a
    resolved project and a secret's name to the names of the hosts that need the secret.
    """
    given = fleet["projects"]
    messages = [_message(*found) for found in django_checks_fleet.redis_ports(projects, fleet)]
    messages += [
        f"django:haproxy:{key}: {text}"
        for key, text in django_checks_fleet.balancer_ports(projects, fleet)
    ]
    for name, project in projects.items():
        below = [*references(project, given[name], host), *shared_secrets(project, host, hosts_of)]
        messages += [_message(name, key, text) for key, text in below]
    return messages


# ---- one project ----


def names(name, project):
    """Names that the system or the formula has already."""
    if name in RESERVED_PROJECTS:
        yield "", "expected another name for the project, this one is reserved"
    user = project["user"] or name
    if user in SYSTEM_USERS:
        yield "user", f"expected a user of the project's own, {user} is one of the system's"
    if "web" in project["processes"]:
        yield "processes:web", "expected another name, the web processes have this one (see app)"
    seen = set()
    for index, task in enumerate(project["tasks"]):
        if task["name"] in seen:
            yield f"tasks:{index}:name", f"expected every name once, got {task['name']} again"
        seen.add(task["name"])


def source(name, project):
    """Where the code comes from, and what belongs to it."""
    given = project["source"]
    for key, kind in (("rev", "git"), ("deploy_key", "git"), ("known_hosts", "git")):
        if given[key] and not given[kind]:
            yield f"source:{key}", f"expected only beside {kind}"
    if given["hash"] and not given["archive"]:
        yield "source:hash", "expected only beside archive"
    if given["archive"] and "://" in given["archive"] and not given["hash"]:
        yield "source:hash", "expected the archive's sha256 digest, got nothing"
    for key in ("git", "archive"):
        if given[key] and LOGIN.match(given[key]):
            yield f"source:{key}", "expected an URL without a password or a token"
    for key, path in _climbing(project):
        if posixpath.normpath(f"{given['subdirectory'] or '.'}/{path}").split("/")[0] == "..":
            yield key, f"expected a path inside the source, got {path!r}"
    manage = project["manage"]
    if given["pypi"] and manage["file"] == "manage.py":
        yield (
            "manage",
            "expected a script or a module, since a package has no manage.py (django-admin serves"
            " where it has none of its own)",
        )
    if manage["script"] == "django-admin" and not project["settings"]:
        yield "settings", "expected a settings module, since django-admin names none"


def environment(name, project):
    """Variables and secrets: none twice, none that the formula needs."""
    for key in project["secrets"]:
        if key in project["env"]:
            yield f"env:{key}", "expected in secrets or in env, not in both"
    value = project["env"].get("SECRET_KEY")
    if isinstance(value, str) and "@{" not in value and "SECRET_KEY" not in project["secrets"]:
        yield "env:SECRET_KEY", "expected in secrets, since env is not kept secret"
    for key in sorted(RESERVED_VARIABLES.intersection(project["env"])):
        yield f"env:{key}", "expected another name, the formula sets this one"


def app(name, project):
    """The web processes."""
    given = project["app"]
    if given["server"] == "command" and not given["command"]:
        yield "app:command", "expected a command, since server is command"
    if given["server"] != "command" and given["command"]:
        yield "app:command", "expected server: command beside it"
    is_found = given["module"] or project["settings"] or not given["asgi"]
    if given["server"] == "gunicorn" and not is_found:
        yield "app:module", "expected the ASGI entry point such as shop.asgi, got nothing"
    if given["server"] == "uwsgi":
        yield from _uwsgi(project)
    if given["server"] == "mod_wsgi":
        yield from django_checks_apache.mod_wsgi(project)
    elif given["mode"] == "embedded":
        yield "app:mode", "expected daemon; only server: mod_wsgi has another"
    own = {"uwsgi": UWSGI_OPTION, "mod_wsgi": django_checks_apache.OWN_OPTION}.get(
        given["server"], OWN_OPTION
    )
    for index, option in enumerate(given["options"]):
        if own.match(option):
            yield f"app:options:{index}", f"expected no {option.split('=')[0]}, the formula sets it"


def _uwsgi(project):
    """What uWSGI cannot do behind its own protocol, or knows by no such name."""
    if project["app"]["asgi"]:
        yield "app:asgi", "expected false beside server: uwsgi, which runs WSGI; Gunicorn runs ASGI"
    if project["app"]["worker_class"]:
        yield "app:worker_class", "expected only beside server: gunicorn"
    if project["web"]["websocket"]:
        yield "web:websocket", "expected false beside server: uwsgi"


def cache(name, project):
    """What only a cache with engine redis can be told, and a Memcached behind a socket."""
    given = project["cache"]
    if given["engine"] != "memcached":
        return
    for key, default in OF_REDIS.items():
        if given[key] != default:
            yield f"cache:{key}", "expected only with engine redis"
    if given["port"] and not given["host"]:
        text = "expected only beside host, since only the project reaches this one, by a socket"
        yield "cache:port", text
    places = {"env": project["env"], "app:env": project["app"]["env"]}
    places.update({f"processes:{key}:env": it["env"] for key, it in project["processes"].items()})
    for place, variables in places.items():
        for key, value in variables.items():
            if BROKER.search(key) and CACHE_URL.intersection(django_references.find(value)):
                text = "expected the URL of a Redis such as @{broker.url}; Memcached keeps no queue"
                yield f"{place}:{key}", text


def queues(name, project):
    """Workers and schedulers of queues, and what they need: a broker."""
    yield from django_queue.checks(project["processes"])
    if django_project_broker.engine(project) == "redis":
        return
    for key in ("host", "port", "password", "maxmemory"):
        if project["broker"][key]:
            yield f"broker:{key}", "expected only with engine redis"
    if project["cache"]["engine"] == "redis" or _has_broker(project):
        return
    for key, process in project["processes"].items():
        if django_queue.needs_broker(process):
            yield (
                f"processes:{key}",
                "expected a broker: one with engine redis, a cache with engine redis, or a variable"
                " in env or secrets whose name has BROKER or REDIS in it",
            )


def timers(name, project):
    """Intervals that cron can say."""
    for key, timer in project["timers"].items():
        if timer["every"] and not django_cron.every(timer["every"]):
            yield (
                f"timers:{key}:every",
                "expected an interval that divides an hour or a day evenly such as 15m or 6h,"
                f" got {timer['every']} seconds",
            )


def database(name, project):
    """Databases: what belongs to their engine, and the credentials of external ones."""
    if "default" in project["databases"]:
        yield "databases:default", "expected in database, not here"
    for key, alias, entry in django_project_database.entries(project):
        if entry["engine"] == "sqlite":
            for field in ("host", "port", "user", "password", "name", "extensions"):
                if entry[field]:
                    yield f"{key}:{field}", "expected only with engine postgresql or mysql"
            continue
        if entry["file"]:
            yield f"{key}:file", "expected only with engine sqlite"
        if entry["engine"] == "none":
            continue
        if entry["engine"] == "mysql":
            for field, default in OF_POSTGRESQL.items():
                if entry[field] != default:
                    yield f"{key}:{field}", "expected only with engine postgresql"
        if entry["host"]:
            for field in ("name", "user", "password"):
                if not entry[field]:
                    yield f"{key}:{field}", "expected a value, since the database is external"
            if entry["extensions"] and entry["engine"] == "postgresql":
                yield f"{key}:extensions", "expected only for a database without host"
            continue
        database_name, user = django_project_database.names(name, alias, entry)
        engine = entry["engine"]
        server, is_system = SERVERS[engine], engine == "postgresql" and user.startswith("pg_")
        if database_name in RESERVED_DATABASES[engine]:
            yield f"{key}:name", f"expected another name, {server} has {database_name} itself"
        if user in RESERVED_ROLES[engine] or is_system:
            yield f"{key}:user", f"expected another name, {server} has {user} itself"
    known = {"default", *project["databases"]}
    for index, alias in enumerate(project["migrate"]["databases"]):
        if alias not in known:
            hint = django_schema.suggest(alias, known)
            key = f"migrate:databases:{index}"
            yield key, f"expected the alias of a database, got {alias!r}{hint}"


def web(name, project):
    """URLs of static files and media, and locations beside them."""
    taken = {}
    for kind in ("static", "media"):
        url = project[kind]["url"]
        if not url.endswith("/"):
            yield f"{kind}:url", f"expected a slash at the end, got {url!r}"
        if not project[kind]["enabled"]:
            continue
        if url == "/":
            yield f"{kind}:url", "expected more than /, where the application answers"
        if url in taken:
            yield f"{kind}:url", f"expected another URL than that of {taken[url]}, got {url!r}"
        taken[url] = kind
    cdn = project["static"]["cdn"]
    if cdn and "://" in project["static"]["url"]:
        yield "static:url", "expected a path such as /static/ beside cdn, which has the rest of it"
    if cdn and not (project["static"]["enabled"] and project["static"]["serve"]):
        yield (
            "static:cdn",
            "expected static files that this server serves, since the CDN takes them here",
        )
    yield from _static_site(project["static"])
    for key, keys in (("static:cdn", cdn), ("media:s3", project["media"]["s3"])):
        if keys and bool(keys["access_key"]) != bool(keys["secret_key"]):
            missing = "secret_key" if keys["access_key"] else "access_key"
            yield f"{key}:{missing}", "expected beside the other key, got nothing"
    private = project["media"]["private"]
    if private:
        url, key = private["url"], "media:private:url"
        if url == "/" or not url.endswith("/"):
            yield key, f"expected a path such as /private-media/, got {url!r}"
        inside = next((name for name in taken if url.startswith(name)), None)
        if inside:
            yield key, f"expected a path outside {inside}, where {taken[inside]} is for everyone"
        if django_server_apache.front(project) == "apache":
            yield "media:private", "expected nothing with web:server apache; Nginx can do that"
        taken[url] = "media:private"
    for process, entry in project["processes"].items():
        if not entry["flower"]:
            continue
        key, path = f"processes:{process}:flower:path", entry["flower"]["path"]
        if not path.endswith("/") or path == "/":
            yield key, f"expected a path below / with a slash at the end, got {path!r}"
        if path in taken or path in project["web"]["locations"]:
            yield key, f"expected another path, {taken.get(path, 'a location')} is there"
    if project["web"]["cache"]:
        if project["app"]["server"] == "uwsgi":
            text = "expected another app:server than uwsgi, since Varnish speaks HTTP only"
            yield "web:cache", text
        if django_server_apache.front(project) != "nginx":
            yield "web:cache", "expected only with web:server nginx"
    for location, entry in project["web"]["locations"].items():
        key = f"web:locations:{location}"
        if location in taken:
            yield key, f"expected another path, {taken[location]} is there"
        if entry["application"] is False:
            yield f"{key}:application", "expected true, or the key left out"
        if django_server_apache.front(project) == "apache":
            if entry["internal"]:
                yield f"{key}:internal", "expected false with web:server apache; Nginx can do that"
            if entry["status"] and entry["status"] < 400:
                yield f"{key}:status", "expected 400 or more with web:server apache"


def _static_site(static):
    """Domains for static files alone, and what contradicts them."""
    for index, domain in enumerate(static["domains"]):
        if domain[0] in "*.":
            yield f"static:domains:{index}", f"expected a whole domain name, got {domain}"
    if static["tls"] and not static["domains"]:
        yield "static:tls", "expected static:domains beside it, for which it is"
    if not static["domains"]:
        return
    if "://" in static["url"]:
        text = "expected a path such as /static/ beside domains, which have the rest of it"
        yield "static:url", text
    for key in ("enabled", "serve"):
        if not static[key]:
            yield f"static:{key}", "expected true beside domains, where the files are served"


def secrets(name, project):
    """No secret is the mask that Salt shows in a secret's place, no SECRET_KEY too short."""
    own = project["secrets"].get("SECRET_KEY") or {}
    for key, length in (("value", len(own.get("value") or "")), ("generate", own.get("generate"))):
        if own.get(key) and length < SHORTEST_KEY:
            text = f"expected at least {SHORTEST_KEY} characters, as a release with less is refused"
            yield f"secrets:SECRET_KEY:{key}", text
    given = {f"secrets:{key}": entry["value"] for key, entry in project["secrets"].items()}
    given["source:deploy_key"] = project["source"]["deploy_key"]
    given["cache:password"] = project["cache"]["password"]
    given["broker:password"] = project["broker"]["password"]
    for key, keys in (("static:cdn", "static"), ("media:s3", "media")):
        section = project[keys][key.split(":")[1]] or {}
        given[f"{key}:secret_key"] = section.get("secret_key")
    given["superuser:password"] = (project["superuser"] or {}).get("password")
    given.update(
        {
            f"{key}:password": item["password"]
            for key, _, item in django_project_database.entries(project)
        }
    )
    for key, value in given.items():
        if value == django_schema.MASK:
            yield key, "expected the secret itself, got the mask that hides one"


# ---- all projects ----


# ---- worked out ----


def references(project, given, host):
    """
    References that name something, and no secret on a command line. Only a host that runs the
    project has to know all secrets, so only there it is seen which of them there are.
    """
    runs = {"app", "worker", "static"} if project["static_site"] else {"app", "worker"}
    if not runs & set(host["roles"]):
        return
    known = set(django_namespace.known(project, host))
    for key, value, is_command in _places(given):
        for problem in django_references.problems(value, known):
            yield key, problem
        if is_command:
            for name in django_references.find(value):
                if name in known and django_namespace.is_secret(name):
                    yield (
                        key,
                        "expected no secret on a command line, where every user can read it,"
                        f" got @{{{name}}} (put it into env)",
                    )


def shared_secrets(project, host, hosts_of):
    """Secrets that this host and others need cannot be generated on one of them."""
    for name, spec in project["secret_specs"].items():
        hosts = hosts_of(project, name)
        if "generate" in spec and len(hosts) > 1 and host["name"] in hosts:
            text = f"expected a value, since {' and '.join(hosts[:3])} need the same one"
            yield secret_key(name), text


def secret_key(name):
    """The pillar key of a secret, by its name in ``secret_specs``."""
    if name.startswith("database."):
        alias = name.split(".")[1]
        return "database:password" if alias == "default" else f"databases:{alias}:password"
    if name == "media.secret_key":
        return "media:s3:secret_key"
    if name == "cdn.secret_key":
        return "static:cdn:secret_key"
    if name in ("cache.password", "broker.password", "superuser.password", "source.deploy_key"):
        return name.replace(".", ":")
    return f"secrets:{name}"


def warnings(projects):
    """What is allowed but likely a mistake, as messages."""
    messages = []
    for name, project in projects.items():
        messages += [_message(name, key, text) for key, text in _doubts(project)]
    return messages


def _message(name, key, text):
    return f"{root(name)}:{key}: {text}" if key else f"{root(name)}: {text}"


def _doubts(project):
    for key, value in project["env"].items():
        if SECRET_NAME.search(key) and isinstance(value, str) and value and "@{" not in value:
            yield f"env:{key}", "looks like a secret; below secrets it would be kept as one"
    for key, process in project["processes"].items():
        words = process["command"] or process["manage"] or []
        if {"beat", "rqscheduler"}.intersection(words):
            if not process["single"]:
                yield f"processes:{key}", "looks like a scheduler; single: true runs only one"
            if process["count"] > 1:
                yield f"processes:{key}:count", "looks like a scheduler, of which one is enough"
    given = project["web"]
    if given["https"] and not given["tls"] and not given["trusted_proxies"]:
        text = "without the addresses of the proxies in front, what they say of clients is ignored"
        yield "web:trusted_proxies", text


def _climbing(project):
    """(key, path) of the paths below the project's directory that may lead above it."""
    for index, path in enumerate(project["python"]["requirements"]):
        yield f"python:requirements:{index}", path
    for index, step in enumerate(project["build"]):
        yield f"build:{index}:directory", step["directory"] or "."
    for name, process in project["processes"].items():
        yield f"processes:{name}:directory", process["directory"] or "."


def _variables(key, environment):
    """The places of :func:`_places` in environment variables."""
    for name, value in environment.items():
        yield f"{key}:{name}", value, False


def _places(given):
    """Everything in a project's pillar that may have references: (key, value, is a command)."""
    yield from _variables("env", given["env"])
    yield from _variables("app:env", given["app"]["env"])
    yield "app:command", given["app"]["command"] or [], True
    yield "app:options", given["app"]["options"], True
    yield from _variables("python:environment", given["python"]["environment"])
    yield "static:root", given["static"]["root"] or "", False
    yield "pythonpath", given["pythonpath"], False
    for file, entry in given["files"].items():
        yield f"files:{file}:content", entry["content"], False
    for index, step in enumerate(given["build"]):
        yield f"build:{index}:run", step["run"], True
        yield from _variables(f"build:{index}:env", step["env"])
    for index, task in enumerate(given["tasks"]):
        for key in ("command", "manage", "unless"):
            yield f"tasks:{index}:{key}", task[key] or [], True
        yield from _variables(f"tasks:{index}:env", task["env"])
    for kind in ("processes", "timers"):
        for name, entry in given[kind].items():
            for key in ("command", "manage"):
                yield f"{kind}:{name}:{key}", entry[key] or [], True
            yield from _variables(f"{kind}:{name}:env", entry["env"])
    for name, entry in given["processes"].items():
        queue = django_queue.kind(entry)
        if queue:
            yield f"processes:{name}:{queue}:options", entry[queue]["options"], True
    for location, entry in given["web"]["locations"].items():
        yield f"web:locations:{location}:alias", entry["alias"] or "", True


def _has_broker(project):
    words = [*project["env"], *project["secrets"], *project["app"]["env"]]
    for process in project["processes"].values():
        words += process["env"]
    words += [str(entry["content"]) for entry in project["files"].values()]
    return any(BROKER.search(word) for word in words)
