"""
The step that makes an instance serve: started beside the old one, asked for its health, switched
to by one rename, and the old one stopped when nobody waits for it any more.
"""

import pathlib
import socket
import time

import django_health
import django_host_files
import django_layout
import django_process
import django_programs
import django_step_pages
from django_deployment import Outcome, StepError
from django_run import CommandError

START_SECONDS = 5  # for a program that came up a moment ago, as after a restart of its manager
AFTER_SECONDS = 30  # for one that was healthy a moment ago and has just been switched to
DRAIN_SECONDS = 10


def ready_slots(deployment):
    """The project's slots in Apache are there."""
    slots = deployment.manager.slots
    missing = slots.missing()
    if not missing:
        return Outcome({}, "Both slots are there.")
    if not deployment.test:
        slots.make()
    return Outcome({"slots": missing}, f"{len(missing)} parts of slots are made.")


def go_live(deployment):
    """The instance that is to run, and no other, serves the project's web requests."""
    instance = deployment.target
    if instance is None:
        return Outcome({"live": "the new release"}, "The new release would go live.")
    if not deployment.test:
        # A run that was killed after it switched has not noted it.
        _remember(deployment, deployment.layout.live_instance())
    if deployment.static_only:
        return _go_static(deployment, instance)
    definition = deployment.definitions_of(instance).get("web")
    if definition is None:
        lacking = "is lost"
        if deployment.layout.instance_record(instance).get("definitions") == {}:
            lacking = "has no programs, since this host served static files alone"
        raise StepError(
            f"The record of instance {instance}, which is held to, {lacking}. What runs is left "
            "alone; go to another release with django.rollback, or call django.release_allow."
        )
    name = django_process.program_name(deployment.name, "web", instance)
    changes, others, problem = _differences(deployment, instance, name, definition)
    if not changes and not problem:
        return Outcome({}, f"Instance {instance} serves.")
    if deployment.test:
        return Outcome(changes, problem or f"Instance {instance} would serve.")
    _require_checks(deployment, instance)
    django_host_files.restore(deployment, instance)
    if "started" in changes:
        _start(deployment, instance, name, definition)
    elif problem and not _await(deployment, instance, name, definition, "restarted" in changes):
        changes.pop("restarted", None)
    deployment.manager.activate(name, definition)
    _relink(deployment, instance)
    django_step_pages.forget(deployment)
    for other in others:
        _retire(deployment, other)
    django_step_pages.forget(deployment)
    left, _, problem = _differences(deployment, instance, name, definition, AFTER_SECONDS)
    if left or problem:
        raise StepError(f"After the switch these are still not as wanted: {left or problem}")
    _remember(deployment, instance)
    return Outcome(changes, f"Instance {instance} serves.")


def _go_static(deployment, instance):
    """
    The instance whose static files this host serves is the one that is meant. None of it runs; what
    another role has left running ends.
    """
    changes, others = _static_differences(deployment, instance)
    if not changes:
        return Outcome({}, f"Static files of instance {instance} are served.")
    if deployment.test:
        return Outcome(changes, f"Static files of instance {instance} would be served.")
    _require_checks(deployment, instance)
    django_host_files.restore(deployment, instance)
    _relink(deployment, instance)
    for other in others:
        _retire(deployment, other)
    left, _ = _static_differences(deployment, instance)
    if left:
        raise StepError(f"After the switch these are still not as wanted: {left}")
    _remember(deployment, instance)
    return Outcome(changes, f"Static files of instance {instance} are served.")


def _static_differences(deployment, instance):
    """Changes (dict) until static files of an instance alone are served, and programs that end."""
    others = _web_programs(deployment, deployment.manager.programs())
    changes = {**_moved_files(deployment, instance), **_moved_links(deployment, instance)}
    if others:
        changes["stopped"] = sorted(others)
    return changes, others


def _require_checks(deployment, instance):
    if not deployment.layout.instance_record(instance).get("facts"):
        raise StepError(
            f"Instance {instance} has not passed its checks and does not go live; they come "
            f"first: salt-call state.apply, or django.vet {deployment.name}"
        )


def _relink(deployment, instance):
    for link, target in links(deployment, instance):
        if target:
            django_layout.point(link, target)
        else:
            link.unlink(missing_ok=True)


def _web_programs(deployment, programs, but=None):
    """Web processes (list of str) that are not about to end, but one."""
    return [
        other
        for other, program in programs.items()
        if other != but
        and not program["leaving"]
        and django_programs.parsed(deployment, other)[0] == "web"
    ]


def _moved_files(deployment, instance):
    """Changes (dict): files on the host that differ from those of an instance."""
    # Those of the wanted instance have been put right before; in a test they would have been.
    settled = deployment.test and not deployment.hold
    files = {} if settled else django_host_files.differing(deployment, instance)
    return {"files": sorted(files)} if files else {}


def _moved_links(deployment, instance):
    """Changes (dict): links that lead elsewhere when an instance serves."""
    return {
        link.name: {"old": django_layout.target_of(link), "new": target}
        for link, target in links(deployment, instance)
        if django_layout.target_of(link) != target
    }


def _differences(deployment, instance, name, definition, patience=START_SECONDS):
    """
    What keeps ``instance`` from being the one that serves, the programs of others, and why it
    is not healthy although it runs (None when it is). A wrong answer may come from a database
    that starts with this run; only a process that does not answer at all is started again.
    """
    programs = django_programs.settled(deployment, name, patience)
    others = _web_programs(deployment, programs, name)
    changes = _moved_files(deployment, instance)
    path = deployment.layout.instance_socket(instance)
    found = programs.get(name, {})
    running = (
        found.get("running")
        and not found["leaving"]
        and not deployment.manager.differs(name, definition)
    )
    health = {**deployment.health_of(instance), "timeout": patience}
    problem = django_health.wait(path, health) if running else None
    if not running and not deployment.manager.comes_back(name, definition):
        changes["started"] = name
    elif problem and problem.startswith(django_health.NO_ANSWER):
        changes["restarted"] = name
    changes.update(_moved_links(deployment, instance))
    if others:
        changes["stopped"] = sorted(others)
    return changes, others, problem


def links(deployment, instance):
    """
    The links that a switch renames or (without a target) removes, in this order: pairs of path and
    target. Nginx takes the socket of another protocol when it finds none of the one that it speaks.
    """
    layout, protocol = deployment.layout, deployment.protocol(instance)
    served = () if deployment.static_only else (protocol,)
    others = [link for name, link in layout.sockets.items() if name not in served]
    return (
        *((layout.sockets[name], deployment.address_of(instance)) for name in served),
        *((link, None) for link in others),
        (layout.current, f"releases/{layout.release_of(instance)}"),
        (layout.live, f"instances/{instance}"),
    )


def _await(deployment, instance, name, definition, restart):
    """
    Give a running process the time to become healthy; start it again if that is of use. Returns
    whether it was: after a boot, it may only have taken its time.
    """
    path = deployment.layout.instance_socket(instance)
    reason = django_health.wait(path, deployment.health_of(instance))
    if reason is None:
        return False
    if not restart:
        raise StepError(deployment.redact(f"Instance {instance} runs but is not healthy: {reason}"))
    deployment.manager.stop(name, definition["stopwaitsecs"])
    _start(deployment, instance, name, definition)
    return True


def _start(deployment, instance, name, definition):
    path = deployment.layout.instance_socket(instance)
    before = django_programs.claim_log(deployment, definition)
    if deployment.manager.programs().get(name, {}).get("leaving"):
        # Gone back to while its websockets were still open: who serves cannot wait for them.
        deployment.manager.discard(name)
    try:
        deployment.manager.start(name, definition)
        reason = django_health.wait(
            path, deployment.health_of(instance), lambda: deployment.manager.failure(name)
        )
    except (CommandError, StepError) as error:
        reason = str(error)
    if reason is None:
        return
    told = django_programs.told(reason, definition, before)
    text = f"The new release is not healthy and does not go live: {told}"
    if deployment.layout.live_instance() != instance:
        try:
            deployment.manager.discard(name)
        except (CommandError, StepError) as error:
            text = f"{text}\nIt could not be ended: {error}"
        path.unlink(missing_ok=True)
    raise StepError(deployment.redact(text), blames_release=True)


def _retire(deployment, name):
    """Stop an old web process once its socket has no connection waiting to be accepted."""
    _, instance = django_programs.parsed(deployment, name)
    path = str(deployment.layout.instance_socket(instance))
    deadline = time.monotonic() + DRAIN_SECONDS
    while _waiting(path) and time.monotonic() < deadline:
        time.sleep(0.05)
    if deployment.project["web"]["websocket"]:
        # Open websockets may stay a while, for which no run should wait. The socket is left to the
        # server that ends: Gunicorn breaks off, and leaves its workers behind, when it is gone.
        deployment.manager.dismiss(name)
        deployment.dismissed.add(name)
    else:
        deployment.manager.stop(name, django_programs.stop_seconds(deployment, name))
        pathlib.Path(path).unlink(missing_ok=True)


def _remember(deployment, instance):
    layout = deployment.layout
    served = layout.served()
    if instance is None or not layout.instance(instance).is_dir():
        return
    if served and served[-1]["instance"] == instance:
        return
    layout.save_instance_record(instance, served=True)
    entries = [*(served or _survivors(layout, instance)), _entry(layout, instance, time.time())]
    django_layout.write_json(layout.history, {"entries": entries[-200:]})


def _entry(layout, instance, moment):
    return {
        "instance": instance,
        "revision": layout.record(layout.release_of(instance)).get("revision"),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment)),
        "host": socket.gethostname(),
    }


def _survivors(layout, live):
    """What the history would say of the other instances on this host, if it were not lost."""
    found = []
    for instance in layout.instance_ids():
        record = layout.instance_record(instance)
        if instance != live and record.get("served"):
            moment = (layout.instance(instance) / "instance.json").stat().st_mtime
            found.append((moment, instance))
    return [_entry(layout, instance, moment) for moment, instance in sorted(found)]


def _waiting(path):
    """Number of connections to the Unix socket ``path`` that nobody has accepted yet."""
    try:
        lines = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    # State 02 is a connection under way (SS_CONNECTING): it waits in the listener's queue.
    return sum(1 for line in lines if line.endswith(f" {path}") and line.split()[5] == "02")
