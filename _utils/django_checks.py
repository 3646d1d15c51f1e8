"""Checks between the keys of a pillar that is valid key by key.

Each check takes data and yields sentences, ``path: …``; none raises, changes anything or quotes a
secret. Checks of the first part look at the pillar as it was validated, those of the second at the
projects as they were worked out.
"""

import re

import django_cron
import django_namespace
import django_references
import django_schema

SYSTEM_USERS = frozenset(
    "root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc gnats"
    " nobody _apt systemd-network systemd-resolve systemd-timesync messagebus sshd postgres redis"
    " nginx syslog ntp salt supervisor django-formula".split()
)
RESERVED_PROJECTS = frozenset({"all", "default", "web"})
RESERVED_DATABASES = frozenset({"postgres", "template0", "template1"})
RESERVED_VARIABLES = frozenset({"DJANGO_RELEASE"})
FORBIDDEN_FILES = (
    "/srv/django",
    "/run",
    "/etc/django-formula",
    "/opt/django-formula",
    "/usr/local/lib/django-formula",
    "/usr/local/bin/django-manage",
    "/proc",
    "/sys",
    "/dev",
)
QUEUE = re.compile(r"celery|rqworker|rqscheduler|rq", re.IGNORECASE)
SECRET_NAME = re.compile(
    r"(^|_)(SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIALS|PRIVATE_KEY|API_KEY)(_|$)|_KEY$"
)


def root(name):
    """The path of a project in messages."""
    return f"django:projects:{name}"


# ---- the pillar ----


def names(projects):
    """Names that the system, the formula or another project has already."""
    for name, project in projects.items():
        if name in RESERVED_PROJECTS:
            yield f"{root(name)}: expected another name, this one is reserved"
        elif (project["user"] or name) in SYSTEM_USERS:
            key = f"{root(name)}:user" if project["user"] else root(name)
            yield f"{key}: expected a user of the project's own, got the system's {project['user'] or name}"
        if "web" in project["processes"]:
            yield f"{root(name)}:processes:web: expected another name, app describes the web processes"
        for other in projects:
            rest = other[len(name) + 1 :] if other.startswith(f"{name}-") else None
            if rest and (rest.split("-")[0] in {"web", *project["processes"]}):
                yield (
                    f"{root(other)}: expected another name, it reads like the process"
                    f" {rest.split('-')[0]} of the project {name}"
                )
        seen = set()
        for index, task in enumerate(project["tasks"]):
            if task["name"] in seen:
                yield f"{root(name)}:tasks:{index}:name: expected every name once, got {task['name']} again"
            seen.add(task["name"])


def sources(projects):
    """Where the code comes from, and what belongs to it."""
    for name, project in projects.items():
        source, path = project["source"], f"{root(name)}:source"
        kinds = {
            "rev": "git",
            "deploy_key": "git",
            "known_hosts": "git",
            "submodules": "git",
            "hash": "archive",
        }
        for key, kind in kinds.items():
            if source[key] and not source[kind]:
                yield f"{path}:{key}: expected only beside {kind}"
        if source["archive"] and "://" in source["archive"] and not source["hash"]:
            yield f"{path}:hash: expected the archive's sha256 or sha512 digest, got nothing"
        for key in ("git", "archive"):
            if source[key] and re.search(r"://[^/@]*:[^/@]*@", source[key]):
                yield f"{path}:{key}: expected an URL without a password (use deploy_key)"
        manage = project["manage"]
        if source["pypi"] and manage["file"] == "manage.py":
            yield (
                f"{root(name)}:manage: expected a script or a module, since a package from PyPI has"
                " no manage.py (django-admin serves where there is none of its own)"
            )
        if manage["script"] == "django-admin" and not project["settings"]:
            yield f"{root(name)}:settings: expected a settings module, which django-admin needs"


def processes(projects, hosts):
    """Commands, brokers, timers, and the hosts to run them on."""
    for name, project in projects.items():
        path = root(name)
        app = project["app"]
        if app["server"] == "command" and not app["command"]:
            yield f"{path}:app:command: expected a command, since server is command"
        if app["server"] != "command" and app["command"]:
            yield f"{path}:app:command: expected server: command beside it"
        for key, timer in project["timers"].items():
            if timer["every"] and not django_cron.every(timer["every"]):
                yield (
                    f"{path}:timers:{key}:every: expected an interval that divides an hour or a day"
                    f" evenly such as 15m or 6h, got {timer['every']} seconds"
                )
        if (project["processes"] or project["timers"]) and not _with_role(hosts, "worker"):
            key = "processes" if project["processes"] else "timers"
            yield f"{path}:{key}: expected a host with the role worker to run them, got none"
        if project["cache"]["engine"] == "redis" or _names_broker(project):
            continue
        for key, process in project["processes"].items():
            words = process["command"] or process["manage"]
            if any(QUEUE.fullmatch(word.rsplit("/")[-1]) for word in words):
                yield (
                    f"{path}:processes:{key}: expected a broker: cache with engine redis, or a"
                    " variable whose name has BROKER or REDIS in env or secrets"
                )


def environments(projects):
    """Variables and secrets: none given twice."""
    for name, project in projects.items():
        path = root(name)
        for key in project["secrets"]:
            if key in project["env"]:
                yield f"{path}:env:{key}: expected in secrets or in env, not in both"
        if "SECRET_KEY" in project["env"] and "SECRET_KEY" not in project["secrets"]:
            value = project["env"]["SECRET_KEY"]
            if value is not None and not (isinstance(value, str) and "@{" in value):
                yield f"{path}:env:SECRET_KEY: expected in secrets, since env is not secret"
        for key in RESERVED_VARIABLES.intersection(project["env"]):
            yield f"{path}:env:{key}: expected another name, the formula sets this one"


def files(projects):
    """Rendered files: where they may be, and that their content fits their format."""
    owners = {}
    for name, project in projects.items():
        for file, entry in project["files"].items():
            path = f"{root(name)}:files:{file}"
            if file.startswith("/"):
                inside = next((top for top in FORBIDDEN_FILES if _within(file, top)), None)
                if inside:
                    yield f"{path}: expected a path outside {inside}, which the formula looks after"
                elif _within(file, "/etc/django") and not _within(file, f"/etc/django/{name}"):
                    yield f"{path}: expected a path below /etc/django/{name}, or outside /etc/django"
                if file in owners:
                    yield f"{path}: expected a path of its own, the project {owners[file]} has this one"
                owners.setdefault(file, name)
            is_map = isinstance(entry["content"], dict)
            needs_map = entry["format"] in ("env", "ini", "toml", "python")
            if entry["format"] == "text" and not isinstance(entry["content"], str):
                yield f"{path}:content: expected text, since format is text"
            elif needs_map and not is_map and not isinstance(entry["content"], str):
                yield f"{path}:content: expected a map or text, since format is {entry['format']}"


def databases(projects, app_hosts, fleet_hosts):
    """Databases: credentials of external ones, and none that two projects share by accident."""
    owned = {}
    for name, project in projects.items():
        entries = [(f"{root(name)}:database", "default", project["database"])]
        for alias, entry in project["databases"].items():
            entries.append((f"{root(name)}:databases:{alias}", alias, entry))
            if alias == "default":
                yield f"{root(name)}:databases:default: expected in database, not here"
        for path, alias, entry in entries:
            if entry["engine"] == "sqlite":
                if len(app_hosts) > 1:
                    yield (
                        f"{path}:engine: expected postgresql, since {len(app_hosts)} hosts run the"
                        " project and a file is on one only"
                    )
                for key in ("host", "port", "user", "password"):
                    if entry[key]:
                        yield f"{path}:{key}: expected only with engine postgresql"
                continue
            if entry["file"]:
                yield f"{path}:file: expected only with engine sqlite"
            if entry["engine"] == "none":
                continue
            if entry["host"]:
                for key in ("name", "user", "password"):
                    if not entry[key]:
                        yield f"{path}:{key}: expected a value, since host names an external database"
                if entry["extensions"]:
                    yield f"{path}:extensions: expected only for a database without host"
                if entry["host"] in fleet_hosts:
                    yield f"{path}:host: expected no host of the fleet (its role database says it)"
                continue
            base = name.replace("-", "_")
            wanted = entry["name"] or (base if alias == "default" else f"{base}_{alias}")
            if wanted in RESERVED_DATABASES:
                yield f"{path}:name: expected another name, PostgreSQL has {wanted} itself"
            user = entry["user"] or base
            if user in ("postgres", "public") or user.startswith("pg_"):
                yield f"{path}:user: expected another name, PostgreSQL has {user} itself"
            for kind, value in (("name", wanted), ("user", user)):
                owner, where = owned.setdefault((kind, value), (name, path))
                if owner != name or (kind == "name" and where != path):
                    yield f"{path}:{kind}: expected one of its own, {where} has {value}"
        known = {"default", *project["databases"]}
        for index, alias in enumerate(project["migrate"]["databases"]):
            if alias not in known:
                hint = django_schema.suggest(alias, known)
                yield f"{root(name)}:migrate:databases:{index}: expected an alias, got {alias!r}{hint}"


def domains(projects):
    """No domain twice, and one project at most that answers to every name."""
    owner, catch_all = {}, None
    for name, project in projects.items():
        for index, domain in enumerate(project["domains"]):
            if domain in owner:
                yield (
                    f"{root(name)}:domains:{index}: expected a domain of its own,"
                    f" {domain} is that of the project {owner[domain]}"
                )
            owner.setdefault(domain, name)
        if not project["domains"]:
            if catch_all:
                yield (
                    f"{root(name)}:domains: expected a list of domain names, since the project"
                    f" {catch_all} has none either and answers to every name"
                )
            catch_all = catch_all or name


def users(projects):
    """No two projects with one system user."""
    owner = {}
    for name, project in projects.items():
        user = project["user"] or name
        if user in owner:
            yield f"{root(name)}:user: expected a user of its own, {user} is that of {owner[user]}"
        owner.setdefault(user, name)


def webs(projects, nginx):
    """Locations and certificates."""
    if nginx["port"] == nginx["tls_port"]:
        yield f"django:nginx:tls_port: expected another port than HTTP has, got {nginx['tls_port']}"
    for name, project in projects.items():
        path = root(name)
        taken = {}
        for kind in ("static", "media"):
            url = project[kind]["url"]
            if not url.endswith("/"):
                yield f"{path}:{kind}:url: expected a slash at the end, got {url!r}"
            if url == "/" and project[kind]["enabled"]:
                yield f"{path}:{kind}:url: expected more than / , which is the application's"
            if url in taken and project["media"]["enabled"]:
                yield f"{path}:{kind}:url: expected another URL than that of {taken[url]}, got {url!r}"
            taken[url] = kind
        for location, entry in project["web"]["locations"].items():
            if location in taken and project[taken[location]]["enabled"]:
                yield f"{path}:web:locations:{location}: expected another path, {taken[location]} is there"
            if entry["application"] is False:
                yield f"{path}:web:locations:{location}:application: expected true, or no such key"


def managers(fleet, host):
    """systemd is there where a project asks for it."""
    if host["init"] == "systemd":
        return
    if fleet["process_manager"] == "systemd":
        yield "django:process_manager: expected supervisord, since this host does not run systemd"
    for name, project in fleet["projects"].items():
        if project["process_manager"] == "systemd":
            yield f"{root(name)}:process_manager: expected supervisord, since this host does not run systemd"


def ports(projects):
    """No two Redis servers on one port."""
    owner = {}
    for name, port in projects:
        if port in owner:
            yield (
                f"{root(name)}:cache:port: expected a port of its own, {port} is that of the project"
                f" {owner[port]} (set one of the two)"
            )
        owner.setdefault(port, name)


# ---- projects worked out ----


def references(project, given, host):
    """References that name something, and no secret on a command line.

    project: the resolved project. given: its validated pillar.
    """
    known = django_namespace.known(project, host)
    path = root(project["name"])
    for below, value, is_command in _places(given):
        for problem in django_references.problems(value, known):
            yield f"{path}:{below}: {problem}"
        if is_command:
            for name in django_references.find(value):
                if name in known and django_namespace.is_secret(name):
                    yield (
                        f"{path}:{below}: expected no secret on a command line, where every user can"
                        f" read it, got @{{{name}}} (give it in env)"
                    )


def shared_secrets(project, hosts_of):
    """Secrets that several hosts need cannot be generated on one of them.

    hosts_of: function from a secret's name to the sorted names of the hosts that need it.
    """
    for name, spec in project["secret_specs"].items():
        users_of = hosts_of(name)
        if "generate" in spec and len(users_of) > 1:
            yield (
                f"{root(project['name'])}:{secret_key(name)}: expected a value, since the hosts"
                f" {' and '.join(users_of[:3])} need the same one"
            )


def secret_key(name):
    """The pillar key of a secret, by its name in ``secret_specs``."""
    if name.startswith("database."):
        alias = name.split(".")[1]
        return "database:password" if alias == "default" else f"databases:{alias}:password"
    if name in ("cache.password", "superuser.password", "source.deploy_key"):
        return name.replace(".", ":")
    return f"secrets:{name}"


def warnings(projects):
    """What is allowed but likely a mistake."""
    for name, project in projects.items():
        path = root(name)
        for key, value in project["env"].items():
            if SECRET_NAME.search(key) and isinstance(value, str) and value and "@{" not in value:
                yield f"{path}:env:{key}: looks like a secret; in secrets it would be kept secret"
        for key, process in project["processes"].items():
            words = process["command"] or process["manage"]
            is_beat = "beat" in words or "rqscheduler" in words
            if is_beat and not process["single"]:
                yield f"{path}:processes:{key}: looks like a scheduler; with single: true only one runs"
            if is_beat and process["count"] > 1:
                yield f"{path}:processes:{key}:count: looks like a scheduler, of which one is enough"
        if project["static"]["url"].startswith("/") and not project["static"]["serve"]:
            continue
        if project["web"]["tls"] is None and project["web"]["https"] and not (
            project["web"]["trusted_proxies"]
        ):
            yield (
                f"{path}:web:trusted_proxies: without it the proxy in front that ends HTTPS is not"
                " believed"
            )


def _places(given):
    """Everything in a project's pillar that may have references: (key, value, is a command)."""
    yield "env", given["env"], False
    yield "app:env", given["app"]["env"], False
    yield "app:command", given["app"]["command"] or [], True
    yield "app:options", given["app"]["options"], True
    yield "python:environment", given["python"]["environment"], False
    yield "static:root", given["static"]["root"] or "", False
    yield "pythonpath", given["pythonpath"], False
    for file, entry in given["files"].items():
        yield f"files:{file}:content", entry["content"], False
    for index, step in enumerate(given["build"]):
        yield f"build:{index}:run", step["run"], True
        yield f"build:{index}:env", step["env"], False
    for index, task in enumerate(given["tasks"]):
        for key in ("command", "manage", "unless"):
            yield f"tasks:{index}:{key}", task[key] or [], True
    for kind in ("processes", "timers"):
        for name, entry in given[kind].items():
            for key in ("command", "manage"):
                yield f"{kind}:{name}:{key}", entry[key] or [], True
            yield f"{kind}:{name}:env", entry["env"], False
    for location, entry in given["web"]["locations"].items():
        yield f"web:locations:{location}:alias", entry["alias"] or "", True


def _names_broker(project):
    names = [*project["env"], *project["secrets"]]
    for process in project["processes"].values():
        names += process["env"]
    for entry in project["files"].values():
        names.append(str(entry["content"]))
    return any(re.search("broker|redis|rq_", name, re.IGNORECASE) for name in names)


def _with_role(hosts, role):
    return [name for name, host in hosts.items() if role in host["roles"]]


def _within(path, top):
    return path == top or path.startswith(top + "/")
