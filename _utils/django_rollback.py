"""
Going back to a release that has served before.

The instance is started as it was, from its own environment and definitions, by the same
health-checked switch. The database is not touched unless that is asked for, but it is told which of
its migrations the older code does not know.
"""

import os
import time

import django_database
import django_hold
import django_layout
import django_step_cdn
import django_step_pages
import django_step_processes
import django_step_prune
import django_step_static
import django_step_switch
import django_step_verify
import django_twin
import django_venv
from django_deployment import StepError
from django_run import CommandError

REVERSE_TIMEOUT = 3600


def choose(deployment, wanted=None):
    """
    The instance (str) to go back to: the newest that has served before the live one, or the newest
    of the release whose id begins with ``wanted`` (str, or int where Salt took the digits of a
    command line for a number). A StepError when it is damaged, or several ids begin so.
    """
    layout, live = deployment.layout, deployment.layout.live_instance()
    if live is None:
        raise StepError(f"{deployment.name} has no live release on this host")
    served = dict.fromkeys(entry["instance"] for entry in reversed(layout.served()))
    there = [name for name in served if layout.instance(name).is_dir()]
    others = [name for name in there if name != live]
    if wanted not in (None, ""):
        others = [name for name in others if django_layout.begins_with(name, wanted)]
    else:
        # Not to one that an operator has gone back from, nor to what a restart came from.
        left = {live, *(name for entry in layout.refusals() for name in entry.get("left", []))}
        others = [name for name in others if not any(_alike(layout, name, one) for one in left)]
    good = sorted({layout.release_of(name) for name in there if not _damage(deployment, name)})
    known = f"these have served and are still here: {', '.join(good) or 'none'}"
    if not others:
        raise StepError(f"No release {f'{wanted}… ' if wanted else ''}to go back to; {known}")
    meant = sorted({layout.release_of(name) for name in others})
    if wanted not in (None, "") and len(meant) > 1:
        raise StepError(f"{wanted} may be any of {', '.join(meant)}; write more of it")
    damage = _damage(deployment, others[0])
    if damage:
        release = layout.release_of(others[0])
        raise StepError(f"Release {release} cannot serve: {damage}. Nothing was changed; {known}")
    if not _is_spoken_with(deployment, deployment.protocol(others[0])):
        raise StepError(
            f"Apache does not speak with instance {others[0]} as it is configured now, since its "
            "app:server, app:mode or front door is another. Nothing was changed; put those and the "
            "source of old into the pillar and apply it"
        )
    return others[0]


def _alike(layout, one, other):
    """Whether two instances are the same but for a restart of their processes."""
    if layout.release_of(one) != layout.release_of(other):
        return False
    likeness = layout.instance_record(one).get("likeness")
    return one == other or bool(
        likeness and likeness == layout.instance_record(other).get("likeness")
    )


def _is_spoken_with(deployment, protocol):
    """Whether the front door, as it is configured, can pass requests to a process by a protocol."""
    live = deployment.protocol(deployment.layout.live_instance())
    if "embedded" in (live, protocol):  # of another user than all others
        return live == protocol
    if deployment.project["web"]["server"] != "apache":
        return True
    # An instance from before Apache was the front door may speak uWSGI's protocol, and all do then.
    also = set() if live == "uwsgi" else {"http", deployment.protocol(None)} - {"uwsgi"}
    return protocol in {live} | also


def _damage(deployment, instance):
    """What an instance lacks to serve again (str), or None."""
    layout = deployment.layout
    record, release = layout.instance_record(instance), layout.release_of(instance)
    if record.get("facts") and record.get("definitions") == {} and not deployment.static_only:
        return "it was made while this host served static files alone, so it has no programs"
    if not (record.get("facts") and (record.get("definitions") or deployment.static_only)):
        return f"the record of instance {instance} is lost"
    if layout.record(release).get("stage") != "built" or not layout.is_whole(release):
        return "it is not as it was built"
    if not django_venv.is_intact(record["venv"]):
        return f"its environment {record['venv']} is not as it was built"
    return None


def ahead(deployment, instance):
    """
    Migrations that the database has and the instance's code does not know:
    ``{alias: [[app, name], …]}``, of applications that the live release has. A host that serves
    static files alone cannot ask, and leaves that to others.
    """
    if deployment.static_only:
        return {}
    live = deployment.layout.live_instance()
    facts = deployment.layout.instance_record(live).get("facts", {})
    known = _known(deployment, instance, facts.get("replaces", []))
    newer = facts.get("migrations", [])
    applied = django_database.asked(deployment, live)["migrations"]
    found = {
        alias: [key for key in keys if key in newer and key not in known]
        for alias, keys in applied.items()
    }
    return {alias: keys for alias, keys in found.items() if keys}


def _known(deployment, instance, replaces=()):
    """
    Migrations (list of keys) that the code of an instance has, and those squashed ones that stand
    for nothing else; ``replaces`` are pairs of a squashed one and what it replaces.
    """
    known = [*deployment.layout.instance_record(instance)["facts"]["migrations"]]
    left = list(replaces)
    while True:
        had = [pair for pair in left if all(key in known for key in pair[1])]
        if not had:
            return known
        known += [key for key, _ in had]
        left = [pair for pair in left if pair not in had]


def go_back(deployment, instance, reverse):
    """
    Make ``instance`` serve, hold to it, and reverse the migrations in ``reverse`` (as of
    :func:`ahead`) by the code that has them. An instance whose programs still finish their work is
    given a twin that serves. Returns what changed (dict).
    """
    live = deployment.layout.live_instance()
    late, rest = _halves(deployment, live, reverse)
    known = _known(deployment, instance) if reverse else []
    if reverse:
        _reverse(deployment, live, reverse, known, "Nothing was done", tried=True)
    undone = {}
    if late:
        undone = _reverse(deployment, live, late, known, "The release did not go back")
    before, twin = deployment.layout.refusals(), None
    if django_twin.is_needed(deployment, instance):
        instance = twin = django_twin.make(deployment, instance)
    if deployment.hold or not _is_meant(deployment, instance):
        _hold(deployment, instance, live)
    try:
        django_step_static.restore(deployment, instance)
        changes = dict(django_step_switch.go_live(deployment).changes)
    except (StepError, CommandError, OSError):
        deployment.layout.save_refusals(before)
        django_step_static.restore(deployment, live)
        if twin:
            django_layout.remove_tree(deployment.layout.instance(twin))
        raise
    changes.update(django_step_processes.run_processes(deployment).changes)
    if rest:
        failure = "The release went back, its migrations did not"
        for alias, keys in _reverse(deployment, live, rest, known, failure).items():
            undone[alias] = [*undone.get(alias, []), *keys]
    if reverse:
        changes["reversed"] = django_database.as_names(undone)
    django_step_verify.verify(deployment)
    django_step_prune.prune(deployment)
    changes.update(django_step_pages.purge(deployment).changes)
    changes.update(django_step_cdn.invalidate(deployment).changes)
    return changes


def _halves(deployment, live, migrations):
    """
    Migrations to reverse before and after the switch back, by alias: what ran after the switch to
    the live release took away what the older one needs.
    """
    facts = deployment.layout.instance_record(live).get("facts", {})
    groups = facts.get("after_switch", [])
    late, rest = {}, {}
    for alias, keys in migrations.items():
        first = [key for group in groups if group[0] in keys for key in group]
        for half, chosen in (
            (late, [key for key in keys if key in first]),
            (rest, [key for key in keys if key not in first]),
        ):
            if chosen:
                half[alias] = chosen
    return late, rest


def _is_meant(deployment, instance):
    """Whether the pillar means an instance; where the source cannot be asked, it may not."""
    try:
        return deployment.instance == instance
    except StepError:
        return False


def _reverse(deployment, live, migrations, known, failure, tried=False):
    task = {
        "do": "reverse",
        "migrations": migrations,
        "known": known,
        "tried": tried,
        **django_database.limits(deployment),
    }
    return deployment.django([task], REVERSE_TIMEOUT, failure, instance=live)["reverse"]


def stay(deployment):
    """
    Hold to what serves: the release that the pillar means is not activated. Returns a sentence
    about it (str). A StepError when nothing serves, or the source cannot be asked what it means.
    """
    live = deployment.layout.live_instance()
    if live is None:
        raise StepError(f"{deployment.name} has no live release on this host")
    deployment.revision  # noqa: B018 - without it the intent would be any
    if not deployment.hold:
        if _is_meant(deployment, live):
            return f"The pillar means instance {live}, which serves."
        _note(deployment, live, deployment.release_id, [])
    return django_hold.sentence(deployment.hold)


def _hold(deployment, instance, live):
    _note(deployment, instance, deployment.layout.release_of(live), [live])


def _note(deployment, instance, release, left):
    """Refuse what the pillar means: ``release``, and those instances that were gone back from."""
    intent = deployment.intent
    if not intent["revision"]:
        intent["revision"] = deployment.layout.record(release).get("revision", "")
    entry = {
        **intent,
        "kind": django_hold.ROLLED_BACK,
        "release": release,
        "instance": instance,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": os.environ.get("SUDO_USER") or "root",
    }
    refusals = deployment.layout.refusals()
    earlier = django_hold.find(refusals, intent) or {}
    entry["left"] = [*earlier.get("left", []), *left]
    kept = django_hold.without(refusals, intent)
    deployment.layout.save_refusals([*kept, entry][-django_hold.KEPT :])


def allow(deployment):
    """Lift every refusal of the project; returns the releases (list) that were refused."""
    refused = deployment.layout.refusals()
    if refused:
        django_layout.remove_tree(deployment.layout.refused)
    return sorted({entry["release"] for entry in refused})
