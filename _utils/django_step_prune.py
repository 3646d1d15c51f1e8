"""The step that removes what no release needs any more."""

import os
import time

import django_hold
import django_layout
import django_programs
import django_running
import django_static
from django_deployment import Outcome, StepError

LEAVE_SECONDS = 5


def prune(deployment):
    """
    Only the newest releases, and what they and the running processes need, are kept. Old workers
    that have ended are forgotten.
    """
    live = deployment.layout.live_release()
    if live is None and deployment.test and deployment.layout.release_ids():
        live = deployment.release_id  # a run has switched to it by now
    if live is None:
        return Outcome({}, "No release is live yet.")
    used, busy, ended = _in_use(deployment)
    wanted = _wanted(deployment)
    kept = _kept(deployment, live, wanted) | used["releases"]
    venvs = {deployment.linked_venv(name) for name in kept - {wanted}}
    venvs |= {deployment.planned_venv or deployment.linked_venv(wanted), *used["venvs"]}
    roots = [deployment.layout.record(name).get("static") for name in kept]
    roots = [root for root in roots if root]
    stale = django_static.stale(deployment.layout.static, roots) if roots else []
    for name in deployment.dismissed & set(ended):
        _forget(deployment, name)  # that it was stopped has been told
    gone = {
        "ended": set(ended) - deployment.dismissed,
        "releases": set(deployment.layout.release_ids()) - kept,
        "instances": [
            name
            for name in deployment.layout.instance_ids()
            if deployment.layout.release_of(name) not in kept and name not in used["instances"]
        ],
        "venvs": {entry.name for entry in os.scandir(deployment.layout.venvs)} - venvs,
        "static": stale,
    }
    changes = {key: sorted(names) for key, names in gone.items() if names}
    comment = f"{len(kept)} releases are kept."
    if busy:
        comment += f" Still finishing their work: {', '.join(sorted(busy))}."
    if not changes or deployment.test:
        return Outcome(changes, comment)
    for name in gone["ended"]:
        _forget(deployment, name)
    for name in gone["releases"]:
        django_layout.remove_tree(deployment.layout.release(name))
    for name in gone["instances"]:
        django_layout.remove_tree(deployment.layout.instance(name))
    for name in gone["venvs"]:
        django_layout.remove_tree(deployment.layout.venvs / name)
    django_static.remove(deployment.layout.static, stale)
    return Outcome(changes, comment)


def _wanted(deployment):
    """The release (str) that the pillar means; where the source cannot be asked, what serves."""
    try:
        return deployment.release_id
    except StepError:
        return deployment.layout.live_release()


def _kept(deployment, live, wanted):
    """Releases (set of str) that stay: the newest that have served, and what a hold needs."""
    layout = deployment.layout
    served = [layout.release_of(entry["instance"]) for entry in reversed(layout.served())]
    # A run has switched to what the pillar means by now.
    first = wanted if deployment.test and not deployment.hold else live
    there = {first, *layout.release_ids()}
    newest = [name for name in dict.fromkeys([first, live, *served]) if name in there]
    kept = {*newest[: deployment.project["release"]["keep"]], live, wanted}
    hold = deployment.hold
    if hold and hold["kind"] == django_hold.ROLLED_BACK:
        kept |= {hold["release"], layout.release_of(hold["instance"])}
    return kept


def _in_use(deployment):
    """
    What running processes need (dict of sets), programs that finish their work, and programs that
    have finished it. Most end at once, so those are waited for, for a moment.
    """
    deadline = time.monotonic() + (LEAVE_SECONDS if deployment.dismissed else 0)
    while True:
        programs = deployment.manager.programs()
        leaving = {name: program for name, program in programs.items() if program["leaving"]}
        busy = [name for name, program in leaving.items() if program["pid"]]
        if not busy or time.monotonic() >= deadline:
            break
        time.sleep(0.1)
    layout, table = deployment.layout, django_running.table()
    if deployment.test:
        for name, program in programs.items():
            if not program["leaving"] and _instance_of(deployment, name) != deployment.target:
                # A run has stopped it by now.
                for number in django_running.descendants(table, program["pid"]):
                    table.pop(number, None)
    used = {
        "releases": _with_users(table, layout.releases, layout.release_ids()),
        "venvs": _with_users(table, layout.venvs, os.listdir(layout.venvs)),
        "instances": {_instance_of(deployment, name) for name in busy},
    }
    return used, busy, sorted(set(leaving) - set(busy))


def _forget(deployment, program):
    """Forget a program that has ended, and the socket that its server may have left behind."""
    deployment.manager.stop(program, 0)
    process, instance = django_programs.parsed(deployment, program)
    if process == "web":
        deployment.layout.instance_socket(instance).unlink(missing_ok=True)


def _instance_of(deployment, program):
    return django_programs.parsed(deployment, program)[1]


def _with_users(table, folder, names):
    return {name for name in names if django_running.users_of(table, folder / name)}
