"""Checks between the keys of a pillar that is valid key by key.

Checks of one project take ``(name, project)`` and yield ``(key, sentence)``, the key below the
project; checks of all projects together yield ``(name, key, sentence)``. None raises, changes
anything or quotes a secret. :func:`pillar` and :func:`resolved` make messages of them.
"""

import posixpath
import re

import django_cron
import django_namespace
import django_project
import django_references
import django_schema

# base-passwd and the packages of this formula; a group of that name is as bad as a user
SYSTEM_USERS = frozenset(
    (
        "_apt adm audio backup bin cdrom crontab daemon dialout dip disk django-formula fax floppy"
        " games gnats input irc kmem kvm list lp mail man messagebus netdev news nginx nobody"
        " nogroup ntp operator plugdev postgres proxy redis render root salt sasl sgx shadow src"
        " sshd ssl-cert staff sudo supervisor sync sys syslog systemd-network systemd-resolve"
        " systemd-timesync tape tty users utmp uucp video voice www-data"
    ).split()
)
RESERVED_PROJECTS = frozenset({"all", "default"})
RESERVED_DATABASES = frozenset({"postgres", "template0", "template1"})
RESERVED_VARIABLES = frozenset({"DJANGO_RELEASE"})
# Files on the host: where projects' own may be, and what is there of the formula and of the system.
FILE_PLACES = ("/etc", "/home", "/opt", "/srv", "/usr/local/etc", "/usr/local/share", "/var")
OWN_FILES = ("/srv/django", "/etc/django-formula", "/opt/django-formula")
SYSTEM_FILES = frozenset(
    "/etc/" + name
    for name in (
        "adduser.conf adjtime alternatives anacrontab apparmor apparmor.d apt at.allow at.deny"
        " bash.bashrc binfmt.d ca-certificates ca-certificates.conf cloud"
        " cron.allow cron.d cron.daily cron.deny cron.hourly cron.monthly cron.weekly cron.yearly"
        " crontab dbus-1 debconf.conf debian_version default deluser.conf dhcp dpkg environment"
        " environment.d fstab gai.conf group group- grub.d gshadow gshadow- host.conf hostname"
        " hosts hosts.allow hosts.deny inetd.conf init init.d initramfs-tools inittab inputrc"
        " iproute2 issue issue.net kernel ld.so.cache ld.so.conf ld.so.conf.d ld.so.preload"
        " locale.alias locale.conf locale.gen localtime login.defs logrotate.conf logrotate.d"
        " machine-id mke2fs.conf modprobe.d modules modules-load.d motd mtab netplan network"
        " networkd-dispatcher networks nftables.conf nginx nologin nsswitch.conf"
        " os-release pam.conf pam.d passwd passwd- pip.conf polkit-1 postgresql postgresql-common"
        " profile profile.d protocols python3 rc.local rc0.d rc1.d rc2.d rc3.d rc4.d rc5.d rc6.d"
        " rcS.d redis resolv.conf rpc rsyslog.conf rsyslog.d salt securetty security selinux"
        " services shadow shadow- shells skel ssh ssl/certs ssl/openssl.cnf subgid subgid- subuid"
        " subuid- sudo.conf sudo_logsrvd.conf sudoers sudoers.d supervisor supervisord.conf"
        " sysctl.conf sysctl.d systemd sysusers.d terminfo timezone tmpfiles.d ucf.conf udev ufw"
        " update-motd.d uv vim X11 xattr.conf xdg"
    ).split()
) | frozenset(
    "/var/" + name
    for name in (
        "backups cache/apt cache/debconf cache/django cache/ldconfig cache/salt lib/apt lib/dbus"
        " lib/dpkg lib/nginx lib/pam lib/polkit-1 lib/postgresql lib/private lib/python lib/redis"
        " lib/sudo lib/systemd lib/ucf local lock log mail run spool tmp"
    ).split()
)
QUEUE = re.compile(r"celery|rqworker|rqscheduler|rq", re.IGNORECASE)
BROKER = re.compile(r"broker|redis|rq_", re.IGNORECASE)
OWN_OPTION = re.compile(r"(-b|--bind|-D|--daemon|-p|--pid|-u|--user|-g|--group)(=|$)")
SECRET_NAME = re.compile(
    r"(^|_)(SECRET|PASSWORD|PASSWD|PASSPHRASE|TOKEN|CREDENTIALS|PRIVATE_KEY|API_KEY)(_|$)|_KEY$"
)


def root(name):
    """The path of a project in messages."""
    return f"django:projects:{name}"


def pillar(fleet, hosts, host):
    """All that is wrong between the keys of a validated pillar, as messages.

    fleet: the validated pillar. hosts: name -> {roles, address}. host: this host.
    """
    projects = fleet["projects"]
    messages = []
    for check in (names, source, environment, app, queues, timers, database, web, secrets):
        for name, project in projects.items():
            messages += [_message(name, key, text) for key, text in check(name, project)]
    for check in (users, files, databases, domains, programs):
        messages += [_message(*found) for found in check(projects)]
    messages += [_message(*found) for found in placement(projects, hosts, bool(fleet["hosts"]))]
    if fleet["nginx"]["port"] == fleet["nginx"]["tls_port"]:
        messages.append("django:nginx:tls_port: expected another port than that of HTTP")
    if host["init"] != "systemd":
        text = "process_manager: expected supervisord, since this host does not run systemd"
        if fleet["process_manager"] == "systemd":
            messages.append(f"django:{text}")
        for name, project in projects.items():
            if project["process_manager"] == "systemd":
                messages.append(f"{root(name)}:{text}")
    return messages


def resolved(projects, fleet, host, hosts_of):
    """All that is wrong with projects that were worked out, as messages.

    projects: name -> resolved project. fleet: the validated pillar. hosts_of: function from a
    resolved project and a secret's name to the names of the hosts that need the secret.
    """
    given = fleet["projects"]
    messages = [_message(*found) for found in redis_ports(projects, fleet)]
    for name, project in projects.items():
        below = [*references(project, given[name], host), *shared_secrets(project, hosts_of)]
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
        if given[key] and re.search(r"://[^/@]*:[^/@]*@", given[key]):
            yield f"source:{key}", "expected an URL without a password"
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
    for index, option in enumerate(given["options"]):
        if OWN_OPTION.match(option):
            yield f"app:options:{index}", f"expected no {option.split('=')[0]}, the formula sets it"


def queues(name, project):
    """Queue workers have a broker."""
    if project["cache"]["engine"] == "redis" or _has_broker(project):
        return
    for key, process in project["processes"].items():
        words = process["command"] or process["manage"]
        if any(QUEUE.fullmatch(word.rsplit("/")[-1]) for word in words):
            yield (
                f"processes:{key}",
                "expected a broker: a cache with engine redis, or a variable in env or secrets"
                " whose name has BROKER or REDIS in it",
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
    for key, alias, entry in _databases(project):
        if entry["engine"] == "sqlite":
            for field in ("host", "port", "user", "password", "name", "extensions"):
                if entry[field]:
                    yield f"{key}:{field}", "expected only with engine postgresql"
            continue
        if entry["file"]:
            yield f"{key}:file", "expected only with engine sqlite"
        if entry["engine"] == "none":
            continue
        if entry["host"]:
            for field in ("name", "user", "password"):
                if not entry[field]:
                    yield f"{key}:{field}", "expected a value, since the database is external"
            if entry["extensions"]:
                yield f"{key}:extensions", "expected only for a database without host"
            continue
        database_name, user = _names(name, alias, entry)
        if database_name in RESERVED_DATABASES:
            yield f"{key}:name", f"expected another name, PostgreSQL has {database_name} itself"
        if user in ("postgres", "public", "none") or user.startswith("pg_"):
            yield f"{key}:user", f"expected another name, PostgreSQL has {user} itself"
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
    for location, entry in project["web"]["locations"].items():
        key = f"web:locations:{location}"
        if location in taken:
            yield key, f"expected another path, {taken[location]} is there"
        if entry["application"] is False:
            yield f"{key}:application", "expected true, or the key left out"


def secrets(name, project):
    """No secret is the mask that Salt shows in a secret's place."""
    given = {f"secrets:{key}": entry["value"] for key, entry in project["secrets"].items()}
    given["source:deploy_key"] = project["source"]["deploy_key"]
    given["cache:password"] = project["cache"]["password"]
    given["superuser:password"] = (project["superuser"] or {}).get("password")
    given.update({f"{key}:password": item["password"] for key, _, item in _databases(project)})
    for key, value in given.items():
        if value == django_schema.MASK:
            yield key, "expected the secret itself, got the mask that hides one"


# ---- all projects ----


def users(projects):
    """No two projects with one system user."""
    owner = {}
    for name, project in projects.items():
        user = project["user"] or name
        if user in owner:
            yield name, "user", f"expected a user of its own, {user} is that of {owner[user]}"
        owner.setdefault(user, name)


def programs(projects):
    """No project whose name reads like a process of another one."""
    for name, project in projects.items():
        for other in projects:
            process = other[len(name) + 1 :].split("-")[0]
            if other.startswith(f"{name}-") and process in {"web", *project["processes"]}:
                text = f"expected another name, it reads like the process {process} of {name}"
                yield other, "", text


def files(projects):
    """Rendered files: where they may be, and that their content fits their format."""
    owner = {}
    for name, project in projects.items():
        for file, entry in project["files"].items():
            key = f"files:{file}"
            problem = _place_problem(file) if file.startswith("/") else None
            if problem:
                yield name, key, problem
            elif _within(file, "/etc/django") and not _within(file, f"/etc/django/{name}"):
                yield name, key, f"expected a path below /etc/django/{name}"
            if file.startswith("/") and file in owner:
                yield name, key, f"expected a path of its own, this one is that of {owner[file]}"
            owner.setdefault(file, name)
            problem = _content_problem(entry["content"], django_project.file_format(file, entry))
            if problem:
                yield name, f"{key}:content", problem


def _place_problem(file):
    """Why a project's file must not be at an absolute path, or None."""
    inside = next((top for top in OWN_FILES if _within(file, top)), None)
    if inside:
        return f"expected a path outside {inside}, which the formula looks after"
    place = next((top for top in FILE_PLACES if file.startswith(top + "/")), None)
    if place is None or ".ssh" in file.split("/"):
        return f"expected a path below {', '.join(FILE_PLACES)}, the rest is the system's"
    inside = next((top for top in SYSTEM_FILES if _within(file, top)), None)
    if inside:
        return f"expected a path of the project's own, {inside} is the system's"
    if place == "/var" and file.count("/") < 4:
        return "expected a path in a folder of its own such as /var/lib/shop/shop.ini"
    return None


def _content_problem(content, kind):
    """Why a content cannot be written in a format, or None. Never quotes the content."""
    if isinstance(content, str) or kind in ("json", "yaml"):
        return None
    if kind == "text":
        return "expected text (or a format that can say a map or a list)"
    if not isinstance(content, dict):
        return f"expected a map or text, since the format is {kind}"
    if kind == "ini" and not all(isinstance(section, dict) for section in content.values()):
        return "expected a map of sections, each a map, since the format is ini"
    if kind in ("python", "env") and not all(map(str.isidentifier, content)):
        return f"expected names of letters, digits and underscores, since the format is {kind}"
    if kind == "toml" and _has_null(content):
        return "expected no null, since the format is toml"
    return None


def _has_null(value):
    if isinstance(value, dict):
        value = list(value.values())
    return value is None or isinstance(value, list) and any(map(_has_null, value))


def databases(projects):
    """No database and no role that two projects, or two databases of one, share by accident."""
    owner = {}
    for name, project in projects.items():
        for key, alias, entry in _databases(project):
            if entry["engine"] != "postgresql" or entry["host"]:
                continue
            for field, value in zip(("name", "user"), _names(name, alias, entry)):
                other, where, password = owner.setdefault(
                    (field, value), (name, key, entry["password"])
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
        for index, domain in enumerate(project["domains"]):
            if domain in owner:
                text = f"expected a domain of its own, {domain} is that of {owner[domain]}"
                yield name, f"domains:{index}", text
            owner.setdefault(domain, name)
        if not project["domains"]:
            if catch_all:
                text = "expected a list of domain names, got none, and only one project can do"
                yield name, "domains", f"{text} without (here {catch_all} does)"
            catch_all = catch_all or name


def redis_ports(projects, fleet):
    """No two Redis servers on one port, and none on that of another server. projects: resolved."""
    owner = {
        fleet["postgresql"]["port"]: "PostgreSQL",
        fleet["nginx"]["port"]: "Nginx",
        fleet["nginx"]["tls_port"]: "Nginx",
    }
    for name, project in projects.items():
        cache = project["cache"]
        if cache["engine"] != "redis" or not cache["managed"]:
            continue
        port = cache["port"]
        if port in owner:
            text = f"expected a port of its own, {port} is that of {owner[port]} (set one of them)"
            yield name, "cache:port", text
        owner.setdefault(port, name)


def placement(projects, hosts, is_fleet):
    """Every project has the hosts it needs."""
    runs = [name for name, host in hosts.items() if {"app", "worker"} & set(host["roles"])]
    has_worker = any("worker" in host["roles"] for host in hosts.values())
    members = {*hosts, *(host["address"] for host in hosts.values())} if is_fleet else ()
    for name, project in projects.items():
        for key in ("processes", "timers"):
            if project[key] and not has_worker:
                yield name, key, "expected a host with the role worker to run them, got none"
        for key, _, entry in _databases(project):
            if entry["engine"] == "sqlite" and len(runs) > 1:
                text = f"expected postgresql, since {len(runs)} hosts run the project"
                yield name, f"{key}:engine", text
            if entry["host"] in members:
                text = "expected only for an external database (the role database says which host)"
                yield name, f"{key}:host", text


# ---- worked out ----


def references(project, given, host):
    """References that name something, and no secret on a command line."""
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


def shared_secrets(project, hosts_of):
    """Secrets that several hosts need cannot be generated on one of them."""
    for name, spec in project["secret_specs"].items():
        hosts = hosts_of(project, name)
        if "generate" in spec and len(hosts) > 1:
            text = f"expected a value, since {' and '.join(hosts[:3])} need the same one"
            yield secret_key(name), text


def secret_key(name):
    """The pillar key of a secret, by its name in ``secret_specs``."""
    if name.startswith("database."):
        alias = name.split(".")[1]
        return "database:password" if alias == "default" else f"databases:{alias}:password"
    if name in ("cache.password", "superuser.password", "source.deploy_key"):
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
        words = process["command"] or process["manage"]
        if {"beat", "rqscheduler"}.intersection(words):
            if not process["single"]:
                yield f"processes:{key}", "looks like a scheduler; single: true runs only one"
            if process["count"] > 1:
                yield f"processes:{key}:count", "looks like a scheduler, of which one is enough"
    given = project["web"]
    if given["https"] and not given["tls"] and not given["trusted_proxies"]:
        text = "without the addresses of the proxies in front, what they say of clients is ignored"
        yield "web:trusted_proxies", text


def _databases(project):
    """(key, alias, entry) of every database of a project's pillar."""
    yield "database", "default", project["database"]
    for alias, entry in project["databases"].items():
        yield f"databases:{alias}", alias, entry


def _climbing(project):
    """(key, path) of the paths below the project's directory that may lead above it."""
    for index, path in enumerate(project["python"]["requirements"]):
        yield f"python:requirements:{index}", path
    for index, step in enumerate(project["build"]):
        yield f"build:{index}:directory", step["directory"] or "."
    for name, process in project["processes"].items():
        yield f"processes:{name}:directory", process["directory"] or "."


def _names(name, alias, entry):
    """Name and role of a database, as the pillar gives them or as they are worked out."""
    base = name.replace("-", "_")
    own = base if alias == "default" else f"{base}_{alias}"[:63]
    return entry["name"] or own, entry["user"] or own


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
        yield f"tasks:{index}:env", task["env"], False
    for kind in ("processes", "timers"):
        for name, entry in given[kind].items():
            for key in ("command", "manage"):
                yield f"{kind}:{name}:{key}", entry[key] or [], True
            yield f"{kind}:{name}:env", entry["env"], False
    for location, entry in given["web"]["locations"].items():
        yield f"web:locations:{location}:alias", entry["alias"] or "", True


def _has_broker(project):
    words = [*project["env"], *project["secrets"], *project["app"]["env"]]
    for process in project["processes"].values():
        words += process["env"]
    words += [str(entry["content"]) for entry in project["files"].values()]
    return any(BROKER.search(word) for word in words)


def _within(path, top):
    return path == top or path.startswith(top + "/")
