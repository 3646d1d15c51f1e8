"""
Backups: what the pillar says of them, which host makes them of what, and what that tells the
command ``django-backup``, which is in ``salt/django/backup/files``.
"""

import json
import re

import django_cron
import django_project_database
import django_queue
import django_server_nfs

ROLE = "backup"
PROGRAM = "/usr/local/bin/django-backup"
FOLDER = "/etc/django-formula/backup"
SETTINGS, KEY, KNOWN_HOSTS = f"{FOLDER}/settings.json", f"{FOLDER}/key", f"{FOLDER}/known_hosts"
FILES = (SETTINGS, KEY, KNOWN_HOSTS)  # with secrets in them
CRON = "/etc/cron.d/django-backup"
METRICS = "/var/lib/prometheus/node-exporter/django-backup.prom"
LOG = "/var/log/django-formula/backup.log"
STORE = "backup.repository"  # of the generated password; no project has a name with a dot
LENGTH = 64  # characters of it
HOUR, DAY = 3600, 86400
# How long after the last good backup the next one is missed, by the word for its time.
PATIENCE = {
    "hourly": 3 * HOUR,
    "daily": 30 * HOUR,
    "weekly": 8 * DAY,
    "monthly": 33 * DAY,
    "yearly": 370 * DAY,
}
SFTP = re.compile(
    r"sftp:(?://(?P<host>[^/:]+)(?::(?P<port>\d+))?/|(?P<short>[^:/]+):)(?P<path>.+)", re.DOTALL
)
SSH = (
    "-oBatchMode=yes",
    "-oConnectTimeout=20",
    "-oServerAliveInterval=15",
    "-oServerAliveCountMax=4",
)
SERVERS = {"postgresql": "postgresql", "mysql": "mariadb"}  # sections of a system's data, by engine


def kind(repository):
    """Where a repository is: ``path``, ``sftp`` or ``s3``."""
    return "path" if repository.startswith("/") else repository.partition(":")[0]


def problems(fleet, hosts, host):
    """
    What is wrong between the keys about backups, as messages.

    fleet
        The validated pillar.
    hosts, host
        All hosts by name, and this one.
    """
    makers = [name for name, item in hosts.items() if ROLE in item["roles"]]
    given = fleet["backup"]
    if given is None:
        if fleet["hosts"] and ROLE in host["roles"]:
            yield (
                "django:backup: expected a map with the key repository,"
                f" since {host['name']} has the role backup"
            )
        return
    where = kind(given["repository"])
    if given["s3"] and where != "s3":
        yield "django:backup:s3: expected only beside a repository such as s3:https://…"
    if given["ssh"] and where != "sftp":
        yield "django:backup:ssh: expected only beside a repository such as sftp:user@host:/path"
    if not any(given["keep"].values()):
        yield "django:backup:keep: expected a number above 0 for one of its keys, or all would go"
    for maker in makers[:1]:
        roles = set(hosts[maker]["roles"])
        for name, project in fleet["projects"].items():
            for key, lacking in _unreachable(name, project, fleet, roles):
                text = f"expected {lacking} beside backup as role of {maker}, or false"
                yield f"django:projects:{name}:backup:{key}: {text}"


def _unreachable(name, project, fleet, roles):
    """What of a project a host with these roles has not: ``(key, role that has it)``."""
    runs = {"app", "worker"} & roles
    wanted, media = project["backup"], project["media"]
    if wanted["database"] and not runs:
        engines = [each["engine"] for _, _, each in django_project_database.entries(project)]
        if "sqlite" in engines:
            yield "database", "app, where the SQLite file is,"
    if wanted["media"] and not media["s3"]:
        if django_server_nfs.is_used(project, fleet):
            if "media" not in roles:
                yield "media", "media, where the uploads are,"
        elif not runs:
            yield "media", "app, where the uploads are,"


def doubts(fleet, host, projects):
    """What operators should know of what is not saved, as messages (list of str)."""
    if not fleet["backup"] or ROLE not in host["roles"]:
        return []
    runs = {"app", "worker"} & set(host["roles"])
    return [
        f"django:projects:{name}:writable: not in the backup, since {host['name']} does not run the"
        " project"
        for name, project in projects.items()
        if fleet["projects"][name]["writable"] and project["backup"]["media"] and not runs
    ]


def is_needed(fleet):
    """Whether the host with the role backup comes to any database."""
    return any(project["backup"]["database"] for project in fleet["projects"].values())


def configuration(fleet, host, projects, system):
    """
    What this host's configuration says of backups (dict), empty where it makes none:
    ``repository``, ``kind``, ``password`` (None for a generated one), ``s3`` and ``ssh`` (dict or
    None), ``schedule``, ``patience`` in seconds, ``keep``, ``on_failure`` (list of words or None),
    ``log``, ``packages``, and ``projects`` by name: ``user``, ``databases`` by alias, ``folders``
    by name, ``excludes``.
    """
    given = fleet["backup"]
    if not given or ROLE not in host["roles"]:
        return {}
    saved = {name: _project(fleet, host, project) for name, project in projects.items()}
    return {
        "repository": given["repository"],
        "kind": kind(given["repository"]),
        "password": given["password"],
        "s3": given["s3"],
        "ssh": given["ssh"],
        "schedule": django_cron.expand(given["at"], "backup"),
        "patience": given["overdue_after"] or _patience(given["at"]),
        "keep": dict(given["keep"]),
        "on_failure": given["on_failure"],
        "log": LOG,
        "packages": _packages(fleet, saved, system, kind(given["repository"])),
        "projects": saved,
    }


def _patience(at):
    """How long (int, seconds) after a good backup the next one is missed, by when they are made."""
    if at in PATIENCE:
        return PATIENCE[at]
    days = django_cron.longest_gap(at) or 1
    return PATIENCE["daily"] if days == 1 else (days + 1) * DAY


def _project(fleet, host, project):
    """What is saved of a project (dict)."""
    wanted = project["backup"]
    databases = {
        alias: {
            key: database[key]
            for key in ("engine", "name", "host", "port", "user", "options")
            if key in database
        }
        for alias, database in project["databases"].items()
        if wanted["database"] and database["engine"] != "none"
    }
    folders = _folders(fleet, host, project) if wanted["media"] else {}
    excludes = [
        f"{folder}/{pattern}" for folder in folders.values() for pattern in wanted["exclude"]
    ]
    for database in databases.values():
        if database["engine"] == "sqlite":  # a copy of its pages would be of several moments
            excludes += [database["name"] + ending for ending in ("", "-wal", "-shm", "-journal")]
    return {
        "user": project["user"],
        "databases": databases,
        "folders": folders,
        "excludes": excludes,
    }


def _folders(fleet, host, project):
    """Folders by name (dict) that hold what users gave the project."""
    paths, media = project["paths"], project["media"]
    names = [] if media["s3"] else ["media"] + (["private"] if media["private"] else [])
    if not {"app", "worker"} & set(host["roles"]):
        root = f"{django_server_nfs.ROOT}/{project['name']}"
        is_here = django_server_nfs.is_used(fleet["projects"][project["name"]], fleet)
        return {name: f"{root}/{name}" for name in names} if is_here else {}
    found = {name: paths[name] for name in names}
    for path in project["writable"]:
        if path == f"{paths['shared']}/{django_queue.FOLDER}":
            continue  # a scheduler's own notes, which it makes anew
        if not any(path.startswith(f"{other}/") for other in project["writable"]):
            found[path.removeprefix(f"{paths['shared']}/")] = path
    return found


def _packages(fleet, saved, system, where):
    names = system["packages"]
    found = {*names["backup"], *names["timers"], *(names["ssh"] if where == "sftp" else [])}
    engines = {
        database["engine"] for each in saved.values() for database in each["databases"].values()
    }
    if "postgresql" in engines:
        version = fleet["postgresql"]["version"] or system["postgresql"]["version"]
        found.add(system["clients"]["postgresql"].format(version=version))
    if "mysql" in engines:
        found.add(system["clients"]["mariadb"])
    return sorted(found)


def settings(config, password, secrets, store):
    """
    The text of the file that tells ``django-backup`` what to do, with all passwords that it needs.

    config
        As :func:`configuration` returns it.
    password
        Of the repository.
    secrets
        Values of secrets by project and name.
    store
        Function from a project's name to the path of its generated secrets.
    """
    environment = {}
    if config["s3"]:
        keys = {"AWS_ACCESS_KEY_ID": "access_key", "AWS_SECRET_ACCESS_KEY": "secret_key"}
        keys["AWS_DEFAULT_REGION"] = "region"
        environment = {name: config["s3"][key] for name, key in keys.items() if config["s3"][key]}
    projects = {}
    for name, project in config["projects"].items():
        databases = {
            alias: {**database, "password": secrets[name].get(f"database.{alias}.password", "")}
            for alias, database in project["databases"].items()
        }
        projects[name] = {**project, "databases": databases, "secrets": str(store(name))}
    told = {
        "repository": config["repository"],
        "password": password,
        "environment": environment,
        "options": _options(config),
        "keep": config["keep"],
        "on_failure": config["on_failure"],
        "patience": config["patience"],
        "projects": projects,
    }
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def _options(config):
    """Words (list of str) for restic: how it comes to a host over SSH."""
    if config["kind"] != "sftp":
        return []
    ssh = config["ssh"] or {"private_key": None, "known_hosts": []}
    found = SFTP.fullmatch(config["repository"])
    words = ["ssh", *SSH]
    if ssh["known_hosts"]:
        words += [f"-oUserKnownHostsFile={KNOWN_HOSTS}", "-oStrictHostKeyChecking=yes"]
    else:
        words.append("-oStrictHostKeyChecking=accept-new")  # the key seen first must stay the same
    if ssh["private_key"]:
        words += ["-i", KEY, "-oIdentitiesOnly=yes"]
    if found["port"]:
        words += ["-p", found["port"]]
    words += [found["host"] or found["short"], "-s", "sftp"]
    return ["-o", f"sftp.command={' '.join(words)}"]
