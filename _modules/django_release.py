"""
What operators ask of a project's releases: what runs, what is healthy, back to the one before.

One module with ``django.py`` to Salt.
"""

import contextlib

import django_access
import django_backup_note
import django_database
import django_haproxy
import django_health
import django_hold
import django_operations
import django_pool
import django_pull
import django_pull_note
import django_rollback
import django_standby
import django_step_pages
import django_step_static
import django_timers
import django_varnish
from django_deployment import StepError
from django_run import CommandError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def plan(project):
    """
    What the pending migrations of the release that the pillar means would do. The release is built
    for that, where it is not yet, and checked; nothing that serves is touched.

    Returns ``{database alias: [{app, name, when, atomic, reversible, operations}]}`` in the order
    in which they run; ``when`` is ``before`` or ``after`` the switch. Each operation is ``{text,
    sql, risks}``; each risk has a ``code``, a ``text`` and tells whether it ``breaks_old``, the
    release that serves until the switch.

    CLI Example:

    .. code-block:: bash

        salt-call django.plan shop
    """
    deployment = _access().deployment(project)
    _access().lock(project)
    with _told(deployment):
        held = deployment.target if deployment.hold else None
        return django_database.plan(deployment, held or django_operations.prepare(deployment))


def rollback(project, release=None, migrations=False, test=False):
    """
    Go back to a release that has served before, by a health-checked switch. It stays so over every
    ``state.apply`` until the project's pillar or source changes or :func:`release_allow` is called.

    project
        Name of the project.
    release : None
        Id of the release, or its first characters; None: the one that served before.
    migrations : False
        Whether migrations that the older code does not know are reversed, after the switch. They
        are told in any case.

    Returns ``{"changes": dict, "comment": str, "database_is_ahead_by": {alias: [migration]}}``.
    Raises CommandExecutionError, with the old release still serving, when there is nothing to go
    back to or it is not healthy.

    CLI Example:

    .. code-block:: bash

        salt-call django.rollback shop
        salt-call django.rollback shop 4f2a9c1e7d20 migrations=True
    """
    deployment = _access().deployment(project, test)
    if not test:
        _access().lock(project)
    with _told(deployment):
        instance = django_rollback.choose(deployment, release)
        try:
            ahead = django_rollback.ahead(deployment, instance)
        except StepError:
            if migrations:
                raise
            ahead = None  # going back must be possible while the database is down
        back, left = deployment.layout.release_of(instance), deployment.layout.live_release()
        changes = {"release": {"old": left, "new": back}}
        if back == left:
            back, left = instance, deployment.layout.live_instance()
            changes = {"instance": {"old": left, "new": back}}
        if not test:
            reverse = ahead if migrations else {}
            changes.update(django_rollback.go_back(deployment, instance, reverse))
            if "instance" in changes:  # one whose programs are still at work has got a twin
                back = changes["instance"]["new"] = deployment.layout.live_instance()
    return {
        "changes": changes,
        "comment": f"{back} {'would serve' if test else 'serves'} again. {left} is not activated "
        "again until the project's pillar or source changes, or after: "
        f"salt-call django.release_allow {project}",
        "database_is_ahead_by": "unknown, it cannot be asked"
        if ahead is None
        else django_database.as_names(ahead),
    }


def release_allow(project):
    """
    Lift what holds releases of a project back: those that failed, and those that were rolled back.
    The next ``state.apply`` activates what the pillar means.

    Returns the releases (list of str) that were held back.

    CLI Example:

    .. code-block:: bash

        salt-call django.release_allow shop
    """
    deployment = _access().deployment(project)
    _access().lock(project)
    return django_rollback.allow(deployment)


def restart(project, process=None):
    """
    Exchange a project's processes by new ones of the same release, with the configuration that the
    pillar has for it. Web processes are exchanged by the health-checked switch, so that no request
    is dropped. What its source has got since is not looked at.

    process : None
        Only this one of ``processes``; it is stopped, may finish its work, and is started again.

    Returns what changed (dict). Raises CommandExecutionError when the pillar means another release
    than the one that serves.

    CLI Example:

    .. code-block:: bash

        salt-call django.restart shop
        salt-call django.restart shop worker
    """
    deployment = _access().deployment(project)
    _live(deployment)
    _access().lock(project)
    changes = {}
    with _told(deployment):
        if deployment.static_only:
            raise StepError(f"Nothing of {project} runs on this host: it serves static files")
        if process not in (None, "web"):
            programs = django_operations.programs_of(deployment, process)
            django_operations.restart_programs(deployment, programs)
            return {"restarted": sorted(programs)}
        if deployment.hold:
            raise StepError(
                f"{django_hold.sentence(deployment.hold)}\nIts web process cannot be restarted "
                "meanwhile; django.rollback to another release, or django.release_allow."
            )
        django_operations.keep_release(deployment)
        deployment.next_generation()
        for step in django_operations.EXCHANGE:
            changes.update(step(deployment).changes)
    return changes


def scale(project, process, count):
    """
    Change at once how many of a process run on this host. It is for the moment: what the pillar
    says (``app:workers``, ``processes:NAME:count``) comes back with the next release, for other
    processes than ``web`` with the next ``state.apply``.

    process
        ``web`` (workers of Gunicorn) or one of ``processes``.
    count
        How many are to run, at least 1, and at most what the pillar may have: 1024 workers, 256 of
        a process.

    Returns what changed (dict).

    CLI Example:

    .. code-block:: bash

        salt-call django.scale shop worker 4
    """
    count = django_access.whole("count", count)
    deployment = _access().deployment(project)
    _live(deployment)
    _access().lock(project)
    with _told(deployment):
        if process == "web":
            old, new = django_operations.scale_web(deployment, count)
            return {"web": {"old": old, "new": new}} if old != new else {}
        started, stopped = django_operations.scale_process(deployment, process, count)
    found = {"started": started, "stopped": stopped}
    return {key: names for key, names in found.items() if names}


def purge(project, path=None):
    """
    Let the cache in front of a project forget pages. A release does so by itself.

    path : None
        The page of this path, with any query; with a ``*`` at its end, all whose path begins so;
        None: all pages.

    Returns what was forgotten (str). Raises CommandExecutionError when there is no cache in front.

    CLI Example:

    .. code-block:: bash

        salt-call django.purge shop
        salt-call django.purge shop /blog/
        salt-call django.purge shop '/blog/*'
    """
    deployment = _access().deployment(project)
    if not django_step_pages.is_cached(deployment):
        raise CommandExecutionError(f"No cache is in front of {project} on this host")
    try:
        django_varnish.forget(project, path)
    except (ValueError, CommandError) as error:
        raise CommandExecutionError(str(error)) from None
    return f"forgotten: {path or 'all pages'}"


def releases(project):
    """
    Releases on this host, the newest last: ``[{release, revision, built, live, held_back, venv}]``.

    CLI Example:

    .. code-block:: bash

        salt-call django.releases shop
    """
    deployment = _access().deployment(project)
    layout = deployment.layout
    refused = {entry["release"] for entry in layout.refusals()}
    found = []
    for name in layout.release_ids():
        record = layout.record(name)
        found.append(
            {
                "release": name,
                "revision": record.get("revision"),
                "built": record.get("built_at"),
                "live": name == layout.live_release(),
                "held_back": name in refused,
                "venv": deployment.linked_venv(name),
            }
        )
    return sorted(found, key=lambda release: release["built"] or "")


def current(project):
    """
    The live release: ``{release, instance, revision, since}``.

    CLI Example:

    .. code-block:: bash

        salt-call django.current shop
    """
    deployment = _access().deployment(project)
    instance = _live(deployment)
    layout = deployment.layout
    served = [entry for entry in layout.served() if entry["instance"] == instance]
    return {
        "release": layout.release_of(instance),
        "instance": instance,
        "revision": layout.record(layout.release_of(instance)).get("revision"),
        "since": served[-1]["time"] if served else None,
    }


def history(project, limit=20):
    """
    What went live on this host, the newest last: ``[{release, instance, revision, time, host}]``.

    limit : 20
        How many entries.

    CLI Example:

    .. code-block:: bash

        salt-call django.history shop
    """
    layout = _access().deployment(project).layout
    return [
        {"release": layout.release_of(entry["instance"]), **entry}
        for entry in layout.served()[-django_access.whole("limit", limit) :]
    ]


def health(project):
    """
    Ask the live web process for its health, over its own socket. Where static files alone are
    served, those of the live release must be there.

    Returns ``{"healthy": bool, "problem": str or None}``; the return code is 1 when it is not.

    CLI Example:

    .. code-block:: bash

        salt-call django.health shop
    """
    deployment = _access().deployment(project)
    live = _live(deployment)
    problem = _problem(deployment, live)
    if problem:
        __context__["retcode"] = 1
    return {"healthy": problem is None, "problem": problem}


def status(project=None):
    """
    What really runs: for each project (or one) the live release and instance, its processes with
    their states, whether it answers its health check, and its timers with the result of their last
    run: when it ``started`` and ``ended``, its ``exit_status`` and whether it ``failed``. What is
    in the way of an answer, such as a process manager that is away, is told as ``problem``. Of a
    server that fetches its own pillar, ``last pull`` tells how that went, and how long ago. On the
    servers of a database with replicas, ``replication`` says who streams, and how far behind it is.

    A balancer tells the ``pool`` of each project (and the ``static pool`` of one whose static files
    have domains of their own): by host the ``state`` that HAProxy gives it,
    whether it is ``drained`` and ``since`` when, and how many ``requests`` are on their way to it,
    whatever their project.

    CLI Example:

    .. code-block:: bash

        salt-call django.status
        salt-call django.status shop
    """
    public = _access().public()
    if not public["valid"]:
        raise CommandExecutionError("\n".join(public["errors"]))
    names = [project] if project else sorted(public["projects"])
    backup = public["backup"]
    released = public["released"]
    has_another_task = released or (
        public["balancer"] or public["postgresql"].get("replication") or backup or public["monitor"]
    )
    found = {
        name: _status_elsewhere(name)
        if has_another_task and name not in released
        else _status(name)
        for name in names
    }
    for name, pool in _pools(public["haproxy"]).items():
        name, _, part = name.partition(".")
        if name in found:
            found[name].update({f"{part} {key}".strip(): what for key, what in pool.items()})
    if public["postgresql"].get("replication"):
        replication = django_standby.report(_access().valid()["postgresql"])
        for answer in found.values():
            answer["replication"] = replication
    for name in set(names).intersection(backup.get("projects", {})):
        found[name]["backup"] = django_backup_note.last(name, backup["patience"])
    if public["pull"] and not project and django_pull.is_own(__opts__):
        found["last pull"] = django_pull_note.last()
    return found


def _status_elsewhere(name):
    return {"url": _access().project(name)["url"]}


def _pools(haproxy):
    """What a balancer has to tell of each project (dict)."""
    if not haproxy:
        return {}
    try:
        return {name: {"pool": pool} for name, pool in django_pool.look(haproxy).items()}
    except django_haproxy.HAProxyError as error:
        return {project["name"]: {"problem": str(error)} for project in haproxy["projects"]}


def _status(name):
    deployment = _access().deployment(name)
    layout = deployment.layout
    instance = layout.live_instance()
    problems, programs = [], {}
    try:
        programs = deployment.manager.programs()
    except (StepError, CommandError, OSError) as error:
        problems.append(deployment.redact(str(django_access.as_step_error(error))))
    answer = {
        "url": deployment.project["url"],
        "release": layout.live_release(),
        "instance": instance,
        "releases": layout.release_ids(),
        "processes": {name: program["state"] for name, program in sorted(programs.items())},
        "healthy": False,
    }
    if instance:
        problem = _problem(deployment, instance)
        answer["revision"] = layout.record(layout.live_release() or "").get("revision")
        answer["healthy"] = problem is None
        problems += [problem] if problem else []
    if problems:
        answer["problem"] = "\n".join(problems)
    if deployment.hold:
        answer["held"] = django_hold.sentence(deployment.hold)
    if deployment.project["timers"]:
        answer["timers"] = django_timers.last_runs(deployment.project["timers"], layout.log)
    return answer


def _problem(deployment, instance):
    """Why what serves is not well (str), or None."""
    if deployment.static_only:
        missing = django_step_static.missing(deployment, instance)[1]
        return f"{len(missing)} static files are not as they should be" if missing else None
    path = deployment.layout.instance_socket(instance)
    return django_health.ask(path, deployment.health_of(instance))


def _live(deployment):
    instance = deployment.layout.live_instance()
    if instance is None:
        raise CommandExecutionError(
            f"{deployment.name} has no live release on this host; apply its state first"
        )
    return instance


@contextlib.contextmanager
def _told(deployment):
    """Turns what fails inside the ``with`` into CommandExecutionError."""
    try:
        yield
    except (StepError, CommandError, OSError) as error:
        told = django_access.as_step_error(error)
        raise CommandExecutionError(deployment.redact(str(told))) from None
