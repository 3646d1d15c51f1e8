"""
What a host needs around its projects: databases, services, files with secrets, tools.

Every function that changes something looks first, changes only what differs and returns what it
changed; ``test=True`` only says what would be done.
"""

import hashlib
import pathlib

import django_access
import django_clusters
import django_departed
import django_layout
import django_mariadb
import django_postgresql
import django_psql
import django_pull
import django_replica
import django_service
import django_standby
import django_step_build
import django_supervisor_manager
import django_systemd
import django_tools
import jinja2
from django_deployment import StepError
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


# The database server


def ensure_database(project, alias="default", test=False):
    """
    Create or mend a project's role, database and privileges in this host's PostgreSQL (its
    extensions, too) or MariaDB.

    The server is asked for all of it in a query or two; passwords reach it as verifiers or hashes.

    alias
        Key of the database in the project's ``databases``.

    CLI Example:

    .. code-block:: bash

        salt-call django.ensure_database shop
    """
    config = _access().valid()
    kind, wanted = next(
        (
            (kind, entry)
            for kind in _SERVERS
            for entry in config[kind].get("databases", [])
            if (entry["project"], entry["alias"]) == (project, alias)
        ),
        (None, None),
    )
    if wanted is None:
        raise CommandExecutionError(f"This host keeps no database {alias!r} of {project!r}")
    password = _access().secrets(project).get(f"database.{alias}.password", "")
    server, (title, look, mend) = config[kind], _SERVERS[kind]
    try:
        steps, warnings = look(server, wanted, password, test)
        changes = {wanted["name"]: [step[0] for step in steps]} if steps else {}
        if test or not steps:
            words = "would be made as wanted" if steps else "is as wanted"
            comment = f"Database {wanted['name']} {words}."
            return {"changes": changes, "comment": comment, "warnings": warnings}
        mend(server, wanted, steps)
        left, warnings = look(server, wanted, password)
    except CommandError as error:
        text = str(error).replace(password, "**********") if password else str(error)
        raise CommandExecutionError(f"{title}: {text}") from None
    if left:
        words = "; ".join(step[0] for step in left)
        raise CommandExecutionError(f"After the change {title} still lacks: {words}")
    comment = f"Database {wanted['name']} is as wanted now."
    return {"changes": changes, "comment": comment, "warnings": warnings}


def keep_database_version(test=False):
    """
    Refuse to set up a major version of PostgreSQL beside the one that this host's data is in.

    CLI Example:

    .. code-block:: bash

        salt-call django.keep_database_version
    """
    server = _access().valid()["postgresql"]
    if not server:
        raise CommandExecutionError("This host keeps no PostgreSQL database")
    clusters = django_clusters.find()
    problem = django_clusters.problem(server["version"], server["version_given"], clusters)
    problem = problem or django_standby.misplaced(server, clusters)
    if problem:
        raise CommandExecutionError(problem)
    return {"changes": {}, "comment": f"PostgreSQL {server['version']} has the data or may."}


def _look_in_postgresql(server, wanted, password, test=False):
    try:
        found = django_postgresql.parse(
            django_psql.run_here(server, "postgres", django_postgresql.look(wanted))
        )
    except CommandError:
        if not test:
            raise
        if pathlib.Path(server["config_dir"], "postgresql.conf").exists():
            return [], []  # the server does not run; a run starts it before it asks
        found = {}  # there is no server yet; a run installs it before it asks
    inside = {}
    if found.get("database"):
        query = django_postgresql.inside(wanted)
        inside = django_postgresql.parse(django_psql.run_here(server, wanted["name"], query))
    steps = django_postgresql.differences(wanted, password, found, inside)
    if wanted != server["databases"][0]:
        return steps, []  # the first one tells of the server itself
    if not server["replication"]:
        steps = [
            *((f"{path} of a replica that left removed", path, "host") for path in _left(server)),
            *steps,
            *((*django_replica.drop(name), "server") for name in found.get("slots") or []),
        ]
    return steps, django_postgresql.overridden(server["settings"], found)


def _left(server):
    """Paths (list of str) of files for a replica that are there, of a server that has none."""
    return [path for path in django_replica.files(server) if pathlib.Path(path).exists()]


def _mend_in_postgresql(server, wanted, steps):
    paths = [path for _, path, place in steps if place == "host"]
    if paths:  # first of all, or what follows would wait for a replica, too
        synchronous = django_replica.files(server)[0]
        if synchronous in paths:
            django_layout.write_atomic(synchronous, django_replica.awaiting([]))
        renew_service(f"postgresql@{server['version']}-main", reload=True)
        end_service(f"{django_replica.WATCH}.timer", enable=False)
    for path in paths:
        pathlib.Path(path).unlink(missing_ok=True)
    for where, database in (("server", "postgres"), ("database", wanted["name"])):
        for _, statement, place in steps:
            if place == where:
                django_psql.run_here(server, database, statement + ";")


def _look_in_mariadb(server, wanted, password, test=False):
    try:
        answer = _mariadb(django_mariadb.look(wanted))
    except CommandError:
        if not test:
            raise
        if pathlib.Path("/usr/sbin/mariadbd").exists():
            return [], []  # the server does not run; a run starts it before it asks
        answer = ""  # there is no server yet; a run installs it before it asks
    return django_mariadb.differences(wanted, password, django_mariadb.parse(answer)), []


def _mend_in_mariadb(server, wanted, steps):
    statements = "".join(f"{statement};\n" for _, statement in steps)
    _mariadb(django_mariadb.PLAIN + statements)


def _mariadb(script):
    options = ["--batch", "--raw", "--skip-column-names", "--connect-timeout=10"]
    login = ["--user=root", "--protocol=socket", "--socket=/run/mysqld/mysqld.sock"]
    argv = ["/usr/bin/mariadb", "--no-defaults", *options, *login]
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    return run(argv, env=environment, stdin=script, timeout=120).stdout


_SERVERS = {
    "postgresql": ("PostgreSQL", _look_in_postgresql, _mend_in_postgresql),
    "mariadb": ("MariaDB", _look_in_mariadb, _mend_in_mariadb),
}


# Users


def settle_number(user, number, test=False):
    """
    See to it that a system user and the group of its name, where they are there, have a number.

    user
        Name of the user.
    number
        Its number and that of the group (int).

    Returns ``{"changes": {}, "comment": str}``. Raises CommandExecutionError where one has another
    number: files would stay with the old one, and the project could not read them.

    CLI Example:

    .. code-block:: bash

        salt-call django.settle_number shop 900
    """
    found = dict(zip(("user", "group"), django_layout.owner(user, user)))
    wrong = {kind: has for kind, has in found.items() if has not in (None, number)}
    if not wrong:
        return {"changes": {}, "comment": f"Nothing of {user} has another number than {number}."}
    told = " and ".join(f"the {kind} {user} has the number {has}" for kind, has in wrong.items())
    raise CommandExecutionError(
        f"On this host {told}, and not {number}. It is not changed, since files would stay with the"
        f" old number: end what {user} runs, change it (usermod --uid, groupmod --gid, chown of its"
        " files), and apply again."
    )


# Projects that left


def stop_departed(test=False):
    """
    End programs and timers of projects that this host had and the pillar does not name for it any
    more. Their data stays: releases, uploads, secrets, database and cache. What has no data, a
    Memcached or a Varnish that no project asks for, ends too, as does a firewall that left, and the
    timer of a host that is not to fetch its pillar, or to make backups, any more.

    CLI Example:

    .. code-block:: bash

        salt-call django.stop_departed test=True
    """
    access = _access()
    config = access.valid()
    names = django_departed.find(config["paths"]["srv"], config["released"])
    changes, busy = {}, []
    for name in names:
        managers = (
            django_systemd.Manager(name),
            django_supervisor_manager.Manager(name, __salt__),
        )
        for manager in managers:
            manager.test = True  # one that is not there is no error
        if not test:
            access.lock(name)
        try:
            changed, left = django_departed.stop(name, managers, test)
        except (StepError, CommandError, OSError) as error:
            raise CommandExecutionError(f"{name}: {django_access.as_step_error(error)}") from None
        busy += left
        if changed:
            changes[name] = changed
    for service in django_departed.services(config):
        changes[service] = _steer(service, {"running": False, "enabled": False}, test)["changes"]
    if not (config["pull"] and django_pull.is_own(__opts__)):
        try:
            ended = django_departed.end_pulls(test)
        except (django_service.ServiceError, CommandError, OSError) as error:
            raise CommandExecutionError(f"django-pull: {error}") from None
        changes.update({"django-pull": {"removed": ended}} if ended else {})
    if not config["backup"]:
        try:
            ended = django_departed.end_backups(test)
        except OSError as error:
            raise CommandExecutionError(f"django-backup: {error}") from None
        changes.update({"django-backup": {"removed": ended}} if ended else {})
    if not names:
        comment = "Every project of this host is in its pillar."
        if "django-pull" in changes:
            comment += f" It {'would fetch' if test else 'fetches'} no pillar from git any more."
        return {"changes": changes, "comment": comment}
    comment = f"Not in the pillar of this host, so only their data is kept: {', '.join(names)}."
    if busy:
        comment += f" Still finishing their work: {', '.join(busy)}."
    return {"changes": changes, "comment": comment, "warnings": [comment]}


# Services


def run_service(name, enable=None, follows=(), reload=False, test=False):
    """
    Let a service of this host run, start with the host or not, and have read its files.

    name
        Its name, without ``.service``.
    enable
        Whether it starts with the host; None leaves that as it is.
    follows
        Paths (list of str) of files and folders. One that has changed since the service read it
        makes it restart.
    reload
        Let it only read its configuration again instead.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_service nginx enable=True follows=[/etc/nginx/nginx.conf] reload=True
    """
    steered = _steer(name, {"running": True, "enabled": enable}, test)
    if "running" in steered["changes"]:
        return steered
    renewed = renew_service(name, reload=reload, follows=follows, test=test)
    if not renewed["changes"]:
        return steered
    changes = {**steered["changes"], **renewed["changes"]}
    return {"changes": changes, "comment": renewed["comment"]}


def end_service(name, enable=None, configured=None, test=False):
    """
    Let a service of this host stop, and start with the host or not.

    configured
        A file: only if this formula wrote it; another service of that name is left alone.

    CLI Example:

    .. code-block:: bash

        salt-call django.end_service redis-server enable=False
    """
    if configured and not django_service.is_configured_by_us(configured):
        return {"changes": {}, "comment": f"There is no {name} of this formula."}
    return _steer(name, {"running": False, "enabled": enable}, test)


def renew_service(name, reload=False, follows=None, restarts_for=(), test=False):
    """
    Restart a service, or only let it read its configuration again.

    follows
        Paths (list of str) of files and folders: only if one has changed since the service read it.
    restarts_for
        Further paths: if one of these has changed nothing is done, since it will restart anyway.

    CLI Example:

    .. code-block:: bash

        salt-call django.renew_service nginx reload=True
    """
    verb = "reload" if reload else "restart"
    changes = {name: f"{verb}ed"}
    try:
        if follows is not None:
            unread = set(django_service.unread(name, [*follows, *restarts_for]))
            if not unread or unread & set(restarts_for):
                return {"changes": {}, "comment": f"{name} is as wanted."}
        if test:
            return {"changes": changes, "comment": f"{name} would be {verb}ed."}
        if not django_service.look(name)["running"]:
            verb = "start"
        django_service.act(name, verb)
    except (django_service.ServiceError, CommandError) as error:
        raise CommandExecutionError(str(error)) from None
    return {"changes": {name: f"{verb}ed"}, "comment": f"{name} was {verb}ed."}


def _steer(name, wanted, test):
    try:
        found = django_service.look(name)
        if not found["there"] and not test:
            raise CommandExecutionError(f"This host has no service {name!r}")
        differing = _differing(found, wanted)
        if differing and wanted["running"] and django_service.is_masked(name):
            text = f"{name} is masked, so nothing may start it: systemctl unmask {name}"
            raise CommandExecutionError(text)
        if not test:
            verbs = {"running": ("stop", "start"), "enabled": ("disable", "enable")}
            for aspect in differing:
                django_service.act(name, verbs[aspect][wanted[aspect]])
            left = _differing(django_service.look(name), wanted) if differing else {}
            if left:
                raise CommandExecutionError(f"{name} was steered and yet: {left}")
    except (django_service.ServiceError, CommandError) as error:
        raise CommandExecutionError(str(error)) from None
    if not differing:
        return {"changes": {}, "comment": f"{name} is as wanted."}
    words = "would be" if test else "is"
    done = [
        ("started" if wanted[aspect] else "stopped")
        if aspect == "running"
        else ("enabled" if wanted[aspect] else "disabled")
        for aspect in differing
    ]
    return {"changes": differing, "comment": f"{name} {words} {' and '.join(done)}."}


def _differing(found, wanted):
    return {
        aspect: {"old": found[aspect], "new": value}
        for aspect, value in wanted.items()
        if value is not None and found[aspect] != value
    }


# Files and tools


def write_secret_file(
    name, source, project, context=None, user="root", group="root", mode="0640", test=False
):
    """
    Render a Jinja template with a project's secrets to a file; its content is never shown.

    name
        Absolute path.
    source
        Template, as ``salt://`` URL. It sees ``secrets`` (by name), ``sha256`` and ``context``.
    project
        Name of the project whose secrets it may use.
    context
        Other values for the template (dict).
    user, group, mode
        Owner, group and mode of the file.

    CLI Example:

    .. code-block:: bash

        salt-call django.write_secret_file /etc/app.acl salt://app.acl.j2 shop
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["sha256"] = lambda text: hashlib.sha256(text.encode()).hexdigest()
    template = environment.from_string(_access().read_file(source))
    text = template.render(secrets=_access().secrets(project), **(context or {}))
    uid, gid = django_layout.owner(user, group)
    differing = django_layout.file_differences(name, text, int(str(mode), 8), uid, gid)
    if not differing:
        return {"changes": {}, "comment": f"{name} is as wanted."}
    if not test:
        if None in (uid, gid):
            raise CommandExecutionError(f"{name}: there is no user {user!r} or group {group!r}")
        django_layout.write_atomic(name, text, int(str(mode), 8), uid, gid)
    return {
        "changes": {name: differing},
        "comment": f"{name} {'would be ' if test else ''}written.",
    }


def install_tool(name, requirements, test=False):
    """
    Bring a virtual environment for a tool of this formula to exactly the pins of a lock file.

    name
        Absolute path of the virtual environment.
    requirements
        Lock file with hashes, as ``salt://`` URL.

    CLI Example:

    .. code-block:: bash

        salt-call django.install_tool /opt/django-formula/uv salt://django/host/files/uv.lock
    """
    lock = _access().read_file(requirements)
    changes = django_tools.differences(name, lock)
    if changes and not test:
        try:
            django_tools.install(name, lock, django_step_build.UV)
        except (django_tools.ToolError, OSError) as error:
            raise CommandExecutionError(str(error)) from None
        left = django_tools.differences(name, lock)
        if left:
            raise CommandExecutionError(f"After the installation {name} still lacks {left}")
    words = "is complete" if not changes else "would be installed" if test else "installed"
    return {"changes": changes, "comment": f"{name} {words}."}
