"""
Put Django projects into production and run their tasks.

Projects are named as in the pillar below ``django:projects``. Every function that changes something
looks first, changes only what differs and returns what it changed; ``test=True`` only says what
would be done. Failures raise; secrets are never part of an argument, an answer or a log.
"""

import contextlib
import copy
import grp
import hashlib
import pathlib
import pwd

import django_activation
import django_config
import django_deployment
import django_health
import django_layout
import django_live
import django_lock
import django_postgresql
import django_process
import django_secrets
import django_service
import django_systemd
import django_tools
import jinja2
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"

PARAMETERS = "salt://django/parameters"
RESOLVED = "django.resolved"
DEPLOYMENTS = "django.deployments"
START_PATIENCE = 10  # seconds beyond a program's own startsecs


def __virtual__():
    return __virtualname__


# Configuration


def config():
    """
    The configuration of this host (dict): the pillar, validated, with defaults, this machine's
    facts and this host's roles worked out. Secrets are masked. An invalid pillar gives
    ``{"valid": False, "errors": [...]}`` with empty sections instead of an error.

    CLI Example:

    .. code-block:: bash

        salt-call django.config
    """
    return _resolved()["public"]


def validate():
    """
    Every mistake in the pillar at once: ``{"valid": bool, "errors": [str], "warnings": [str]}``.
    The return code is 1 when there is any.

    CLI Example:

    .. code-block:: bash

        salt-call django.validate
    """
    public = config()
    if not public["valid"]:
        __context__["retcode"] = 1
    return {key: public[key] for key in ("valid", "errors", "warnings")}


def live(project):
    """
    What files outside of releases need to know of a project (dict): the directory, environment and
    command line of its management commands, its timers as lines of cron, its locations in Nginx.
    All of it refers to the live release by links.

    CLI Example:

    .. code-block:: bash

        salt-call django.live shop
    """
    return django_live.describe(_project(project), _valid()["host"])


# Steps of a release, in their order


def keep_secrets(project, test=False):
    """
    Generate the secrets that the pillar leaves out; those that are there are never changed. They
    lie in ``/etc/django-formula/secrets/PROJECT.json``, which only root can read.

    Returns ``{"changes": {"generated": [names]}, "comment": str}``, as every step does.

    CLI Example:

    .. code-block:: bash

        salt-call django.keep_secrets shop
    """
    specs = _project(project)["secret_specs"]
    __context__.pop(DEPLOYMENTS, None)  # a new run asks the source for its revision again
    folder = django_config.PATHS["secrets"]
    missing = django_secrets.missing(specs, django_secrets.load(folder, project))
    changes = {"generated": missing} if missing else {}
    if django_secrets.exposed(folder, project):
        changes["mode"] = f"{django_secrets.FILE_MODE:04o}"
    if not changes:
        return {"changes": {}, "comment": "Every secret is there."}
    if not test:
        _lock(project)
        try:
            django_secrets.keep(folder, project, specs)
        except (OSError, ValueError) as error:
            raise CommandExecutionError(str(error)) from None
    words = "would be generated" if test else "generated"
    return {"changes": changes, "comment": f"{len(missing)} secrets {words}."}


def fetch(project, test=False):
    """
    Fetch the source of the release that the pillar means.

    CLI Example:

    .. code-block:: bash

        salt-call django.fetch shop
    """
    return _step(project, "fetch", test)


def install(project, test=False):
    """
    Give the release its virtual environment, built anew only when no other release shares it.

    CLI Example:

    .. code-block:: bash

        salt-call django.install shop
    """
    return _step(project, "install", test)


def build(project, test=False):
    """
    Render the release's files and run its build steps.

    CLI Example:

    .. code-block:: bash

        salt-call django.build shop
    """
    return _step(project, "build", test)


def configure(project, test=False):
    """
    Write the environment of the instance (release and configuration) and its files on the host.

    CLI Example:

    .. code-block:: bash

        salt-call django.configure shop
    """
    return _step(project, "configure", test)


def vet(project, test=False):
    """
    Run Django's checks in the new instance and refuse settings that must not go live.

    CLI Example:

    .. code-block:: bash

        salt-call django.vet shop
    """
    return _step(project, "check", test)


def publish_static(project, test=False):
    """
    Collect the release's static files and add them to those that the web server serves.

    CLI Example:

    .. code-block:: bash

        salt-call django.publish_static shop
    """
    return _step(project, "collect", test)


def apply_migrations(project, test=False):
    """
    Apply the release's pending migrations, under a database lock and with time limits.

    CLI Example:

    .. code-block:: bash

        salt-call django.apply_migrations shop
    """
    return _step(project, "migrate", test)


def ensure_superuser(project, test=False):
    """
    Create the project's superuser when the database does not have it.

    CLI Example:

    .. code-block:: bash

        salt-call django.ensure_superuser shop
    """
    return _step(project, "superuser", test)


def run_tasks(project, when, test=False):
    """
    Carry out the project's tasks of a kind that are not done yet.

    when
        ``first``, ``before`` or ``after`` the switch.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_tasks shop after
    """
    return _step(project, "tasks", test, when=when)


def go_live(project, test=False):
    """
    Start the new instance beside the old one, check its health on its own socket, switch to it,
    and stop the old one once it is drained.

    CLI Example:

    .. code-block:: bash

        salt-call django.go_live shop
    """
    return _step(project, "go_live", test)


def run_processes(project, test=False):
    """
    Run the project's other processes (workers, daemons) from the new instance.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_processes shop
    """
    return _step(project, "run_processes", test)


def prune(project, test=False):
    """
    Remove releases, environments and static files that are no longer needed.

    CLI Example:

    .. code-block:: bash

        salt-call django.prune shop
    """
    return _step(project, "prune", test)


# For operators


def command(project, name, *args, timeout=3600):
    """
    Run a management command of a project as its user, in its live release and environment.

    project
        Name of the project.
    name
        The command, such as ``clearsessions``.
    args
        Its arguments.
    timeout
        Seconds after which it is killed.

    Returns its standard output (str). Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.command shop showmigrations --plan
    """
    deployment = _deployment(project)
    instance = _live(deployment)
    record = deployment.layout.instance_record(instance)
    source = deployment.source_of(record["release"])
    argv = [
        django_process.LAUNCHER,
        str(deployment.layout.instance(instance) / "environment"),
        *django_process.manage_argv(deployment.project["manage"], record["venv"], source),
        name,
        *(str(arg) for arg in args),
    ]
    try:
        done = run(argv, user=deployment.user, cwd=source, timeout=timeout)
    except CommandError as error:
        raise CommandExecutionError(deployment.redact(str(error))) from None
    return deployment.redact(done.stdout)


def status(project=None):
    """
    What really runs: for each project (or one) the live release and instance, its processes with
    their states, and whether it answers its health check.

    CLI Example:

    .. code-block:: bash

        salt-call django.status
        salt-call django.status shop
    """
    public = config()
    if not public["valid"]:
        raise CommandExecutionError("\n".join(public["errors"]))
    names = [project] if project else sorted(public["projects"])
    return {name: _status(name) for name in names}


def _status(name):
    deployment = _deployment(name)
    layout = deployment.layout
    instance = layout.live_instance()
    programs = deployment.manager.programs()
    answer = {
        "url": deployment.project["url"],
        "release": layout.live_release(),
        "instance": instance,
        "releases": layout.release_ids(),
        "processes": {name: program["state"] for name, program in sorted(programs.items())},
        "healthy": False,
    }
    if instance:
        problem = django_health.ask(layout.instance_socket(instance), deployment.project["health"])
        answer["revision"] = layout.record(layout.live_release() or "").get("revision")
        answer["healthy"] = problem is None
        if problem:
            answer["problem"] = problem
    return answer


# The database server


def ensure_database(project, alias="default", test=False):
    """
    Create or mend a project's role, database, privileges and extensions in this host's PostgreSQL.

    The server is asked for all of it in two queries; passwords reach it as SCRAM verifiers.

    alias
        Key of the database in the project's ``databases``.

    CLI Example:

    .. code-block:: bash

        salt-call django.ensure_database shop
    """
    server = _valid()["postgresql"]
    wanted = next(
        (
            entry
            for entry in server.get("databases", [])
            if (entry["project"], entry["alias"]) == (project, alias)
        ),
        None,
    )
    if wanted is None:
        raise CommandExecutionError(f"This host keeps no database {alias!r} of {project!r}")
    password = _secrets(project).get(f"database.{alias}.password", "")
    try:
        steps = _database_steps(server, wanted, password, test)
        changes = {wanted["name"]: [words for words, _, _ in steps]} if steps else {}
        if test or not steps:
            words = "would be mended" if steps else "is as wanted"
            return {"changes": changes, "comment": f"Database {wanted['name']} {words}."}
        for where, database in (("server", "postgres"), ("database", wanted["name"])):
            statements = [statement for _, statement, place in steps if place == where]
            for statement in statements:
                _psql(server, database, statement + ";")
        left = _database_steps(server, wanted, password)
    except CommandError as error:
        text = str(error).replace(password, "**********") if password else str(error)
        raise CommandExecutionError(f"PostgreSQL: {text}") from None
    if left:
        words = "; ".join(words for words, _, _ in left)
        raise CommandExecutionError(f"After the change PostgreSQL still lacks: {words}")
    return {"changes": changes, "comment": f"Database {wanted['name']} is mended."}


def _database_steps(server, wanted, password, test=False):
    try:
        found = django_postgresql.parse(_psql(server, "postgres", django_postgresql.look(wanted)))
    except CommandError:
        if not test:
            raise
        if pathlib.Path(server["config_dir"], "postgresql.conf").exists():
            return []  # the server does not run; a run starts it before it asks
        found = {}  # there is no server yet; a run installs it before it asks
    inside = {}
    if found.get("database"):
        query = django_postgresql.inside(wanted)
        inside = django_postgresql.parse(_psql(server, wanted["name"], query))
    return django_postgresql.differences(wanted, password, found, inside)


def _psql(server, database, script):
    # Not /usr/bin/psql, which is a wrapper that starts Perl first.
    program = f"/usr/lib/postgresql/{server['version']}/bin/psql"
    options = ["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1"]
    argv = [program, *options, f"--port={server['port']}", f"--dbname={database}"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PGHOST": "/var/run/postgresql",
        "PGCONNECT_TIMEOUT": "10",
    }
    return run(argv, user="postgres", env=environment, stdin=script, timeout=120).stdout


# Services


def run_service(name, enable=None, test=False):
    """
    Let a service of this host run, and start with the host or not.

    name
        Its name, without ``.service``.
    enable
        Whether it starts with the host; None leaves that as it is.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_service nginx enable=True
    """
    return _steer(name, {"running": True, "enabled": enable}, test)


def end_service(name, enable=None, test=False):
    """
    Let a service of this host stop, and start with the host or not.

    CLI Example:

    .. code-block:: bash

        salt-call django.end_service redis-server enable=False
    """
    return _steer(name, {"running": False, "enabled": enable}, test)


def renew_service(name, reload=False, test=False):
    """
    Restart a service, or only let it read its configuration again.

    CLI Example:

    .. code-block:: bash

        salt-call django.renew_service nginx reload=True
    """
    verb = "reload" if reload else "restart"
    changes = {name: f"{verb}ed"}
    if test:
        return {"changes": changes, "comment": f"{name} would be {verb}ed."}
    try:
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
    template = environment.from_string(_read_file(source))
    text = template.render(secrets=_secrets(project), **(context or {}))
    uid, gid = _owner(user, group)
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
    lock = _read_file(requirements)
    changes = django_tools.differences(name, lock)
    if changes and not test:
        try:
            django_tools.install(name, lock, django_deployment.UV)
        except (django_tools.ToolError, OSError) as error:
            raise CommandExecutionError(str(error)) from None
        left = django_tools.differences(name, lock)
        if left:
            raise CommandExecutionError(f"After the installation {name} still lacks {left}")
    words = "is complete" if not changes else "would be installed" if test else "installed"
    return {"changes": changes, "comment": f"{name} {words}."}


# Inside


def _resolved():
    """``{"full": configuration with secrets, "public": without}``, worked out once per pillar."""
    pillar = __pillar__.get("django")
    cached = __context__.get(RESOLVED)
    if cached is None or cached["pillar"] != pillar:
        full = django_config.load(__pillar__, __grains__, _read_parameter)
        public = django_config.public(full)
        cached = {"pillar": copy.deepcopy(pillar), "full": full, "public": public}
        __context__[RESOLVED] = cached
    return cached


def _valid():
    full = _resolved()["full"]
    if not full["valid"]:
        raise CommandExecutionError("\n".join(["The pillar is not valid:", *full["errors"]]))
    return full


def _project(name):
    projects = _valid()["projects"]
    if name not in projects:
        known = ", ".join(sorted(projects)) or "none"
        raise CommandExecutionError(f"This host has no project {name!r}; there are: {known}")
    return projects[name]


def _read_parameter(name):
    path = __salt__["cp.cache_file"](f"{PARAMETERS}/{name}")
    return pathlib.Path(path).read_text(encoding="utf-8") if path else None


def _read_file(url):
    path = __salt__["cp.cache_file"](url)
    if not path:
        raise CommandExecutionError(f"{url} is not on the file server")
    return pathlib.Path(path).read_text(encoding="utf-8")


def _secrets(project):
    specs = _project(project)["secret_specs"]
    kept = django_secrets.load(django_config.PATHS["secrets"], project)
    return django_secrets.values(specs, kept)


def _deployment(project, test=False):
    deployments = __context__.setdefault(DEPLOYMENTS, {})
    if project not in deployments:
        settings = _project(project)
        systemd = settings["process_manager"] == "systemd"
        deployments[project] = django_activation.Activation(
            settings,
            _valid()["host"],
            _secrets(project),
            django_systemd.Manager(project) if systemd else _Supervisor(project),
            _read_file,
        )
    deployments[project].test = deployments[project].manager.test = test
    return deployments[project]


def _live(deployment):
    instance = deployment.layout.live_instance()
    if instance is None:
        raise CommandExecutionError(
            f"{deployment.name} has no live release on this host; apply its state first"
        )
    return instance


def _step(project, method, test, **arguments):
    """Carry out a step of a deployment and answer with its changes and comment."""
    deployment = _deployment(project, test)
    if not test:
        _lock(project)
    try:
        outcome = getattr(deployment, method)(**arguments)
    except (django_deployment.StepError, CommandError) as error:
        raise CommandExecutionError(deployment.redact(str(error))) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandExecutionError(deployment.redact(f"{where}{error.strerror}")) from None
    return {"changes": outcome.changes, "comment": outcome.comment}


def _lock(project):
    try:
        django_lock.hold(project)
    except django_lock.LockedError as error:
        raise CommandExecutionError(str(error)) from None


def _owner(user, group):
    """Numbers of a user and a group; None for one that does not exist yet."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        uid = None
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        gid = None
    return uid, gid


class _Supervisor:
    """Starts, stops and lists the programs of one project through supervisord."""

    kind = "supervisord"
    test = False

    def __init__(self, project):
        self._project = project

    def programs(self):
        """Programs that are defined for the project: ``{name: {running, state, pid, error}}``."""
        try:
            processes = __salt__["supervisord.processes"]()
        except CommandExecutionError:
            if not self.test:
                raise
            processes = {}  # a run has started supervisord before it asks
        return {
            name: {
                "running": program["statename"] == "RUNNING",
                "state": program["statename"],
                "pid": program["pid"],
                "error": program["spawnerr"],
            }
            for name, program in processes.items()
            if name.split(".")[0] == self._project
        }

    def differs(self, name, definition):
        """Whether supervisord's definition of a program is not the wanted one."""
        return bool(__salt__["supervisord.differs"](name, definition))

    def start(self, name, definition):
        """Define and start a program."""
        try:
            __salt__["supervisord.define"](
                name, definition, timeout=definition["startsecs"] + START_PATIENCE
            )
        except CommandExecutionError as error:
            raise django_deployment.StepError(str(error)) from None

    def stop(self, name, timeout):
        """Stop a program, waiting up to ``timeout`` seconds, and forget it."""
        try:
            __salt__["supervisord.undefine"](name, timeout=timeout + 30)
        except CommandExecutionError as error:
            raise django_deployment.StepError(str(error)) from None

    def discard(self, name):
        """End a program that never served, at once, and forget it."""
        with contextlib.suppress(CommandExecutionError):  # it may have ended by itself
            __salt__["supervisord.signal"](name, "KILL")
        self.stop(name, 5)

    def failure(self, name):
        """Why a program is not running (str), or None when it runs or is starting."""
        program = self.programs().get(name)
        if program is None:
            return f"{name} is not defined"
        if program["state"] in ("FATAL", "BACKOFF", "EXITED", "STOPPED"):
            return f"{name} is {program['state']} {program['error']}".strip()
        return None
