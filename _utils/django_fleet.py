"""
What a deploy over several servers has to know: which servers are meant, in which order they come,
and what is wrong before anything is changed. Pure: nobody is asked anything here.

Each server answers for itself (``django.rollout``):

``hosts``
    Its map of servers (``{name: [roles]}``); empty for a server that is alone.
``projects``, ``static``
    Names of its projects, and of those whose static files have domains of their own (lists).
``valid``, ``errors``
    Whether its pillar is, and every mistake in it (list of str).
``release``, ``instance``, ``since``
    What serves of the project (str), and since when (UTC); None where nothing does.
``named``
    By what the pillar names the release (list of str): a tag, a branch, a version.
``held``
    Why what the pillar means is not to go live (str), or None.
``outside``
    Of a balancer of somebody else: ``tells``, the server that tells it of its backends (None: none
    does), and ``targets``, whether this server is a target of its own doing.
"""

import math
import re

import django_schema
from django_layout import begins_with

ROLES = ("app", "web", "worker", "database", "cache")  # of a server that is alone
RELEASE_ROLES = {"app", "web", "worker", "static"}
_BATCH = re.compile(r"([0-9]+)(%?)")


class Refused(Exception):
    """Something is wrong, and nothing was changed; the message is for the operator."""


def maps(answers):
    """The map of servers (dict) that each server (key) goes by; a server alone is a map of one."""
    return {name: said["hosts"] or {name: list(ROLES)} for name, said in answers.items()}


def choose(project, answers, member=None):
    """
    The map of servers (``{name: [roles]}``) that a project is deployed to.

    answers
        What each server that a master knows has answered (dict by name).
    member : None
        Any server of the fleet that is meant, where several have such a project.

    Hosts with the role static are without it where the project has no domains for static files.
    Raises :class:`Refused` when none has it, or several that know nothing of each other.
    """
    found = maps(answers)
    if member is not None and member not in found:
        close = django_schema.suggest(member, found)
        raise Refused(f"fleet_of: no server {member!r} answers that knows of projects{close}")
    having = {
        name: found[name]
        for name, said in answers.items()
        if project in said["projects"] and (member is None or name == member)
    }
    if not having:
        known = sorted({name for said in answers.values() for name in said["projects"]})
        close = django_schema.suggest(project, known)
        raise Refused(
            f"No server has a project {project!r}{close}; there are: {', '.join(known) or 'none'}"
        )
    fleets = []
    for fleet in having.values():
        if fleet not in fleets:
            fleets.append(fleet)
    if len(fleets) > 1:
        told = "\n".join(f"  {', '.join(sorted(fleet))}" for fleet in fleets)
        raise Refused(
            f"Several fleets have a project {project}, or servers differ in django:hosts:\n{told}\n"
            f"Say which is meant by any of its servers: fleet_of={sorted(fleets[0])[0]}"
        )
    if any(project in answers[name].get("static", ()) for name in having):
        return fleets[0]
    return {name: [role for role in roles if role != "static"] for name, roles in fleets[0].items()}


def members(hosts):
    """Servers (list) that run projects, in the order in which they get a release."""
    front = [name for name in sorted(hosts) if {"app", "web"} & set(hosts[name])]
    rest = [name for name in sorted(hosts) if RELEASE_ROLES & set(hosts[name])]
    return [*front, *(name for name in rest if name not in front)]


def having(hosts, *roles):
    """Servers (sorted list) that have any of some roles."""
    return [name for name in sorted(hosts) if set(roles) & set(hosts[name])]


def balancers_of(server, answers):
    """
    The servers (sorted list) that keep a server out of the balancers before it: those balancers,
    or for one of somebody else who tells it, and the server itself where it is a target.
    :class:`Refused` when there is none.
    """
    fleets, server = maps(answers), str(server)
    known = sorted({name for fleet in fleets.values() for name in fleet})
    if server not in known:
        hint = django_schema.suggest(server, known)
        raise Refused(f"No server that answers knows of a server {server!r}{hint}")
    found = set()
    for name in (name for name, fleet in fleets.items() if server in fleet):
        outside = answers[name].get("outside") or {}
        found |= {*having(fleets[name], "balancer"), outside.get("tells")}
        found |= {server} if outside.get("targets") and name == server else set()
    found.discard(None)
    if not found and any((each.get("outside") or {}).get("targets") for each in answers.values()):
        raise Refused(
            f"{server} does not answer, and only a server itself leaves its target groups: mend it,"
            " or take it out of django:hosts and apply on another one"
        )
    if not found:
        raise Refused(
            f"No balancer is before {server}: django:hosts has none, and django:balancer:external"
            " has neither hook nor aws"
        )
    return sorted(found)


def size(batch, count):
    """
    How many of ``count`` servers are a batch (int, at least 1).

    batch
        A number of servers (2), or a part of them ('25%'). Raises :class:`Refused` for others.
    """
    found = _BATCH.fullmatch(str(batch))
    number = int(found[1]) if found else 0
    if number < 1 or (found[2] and number > 100):
        raise Refused(f"batch: expected a number of servers or a part such as 25%, got {batch!r}")
    return max(1, math.floor(count * number / 100)) if found[2] else number


def problems(project, hosts, answers, rev=None, balancers=(), program="salt"):
    """
    All that is in the way of a deploy (list of str).

    answers
        What servers of the map have answered (dict by name); a str tells why there is no answer.
    rev
        What the operator wants to see deployed, or None.
    balancers
        Servers that are needed besides those that run the project.
    program
        The command by which an operator gives servers an order himself.
    """
    found = []
    needed = [*members(hosts), *balancers]
    if not members(hosts):
        found.append("django:hosts: no server has one of the roles app, web, worker and static")
    for name in needed:
        if not isinstance(answers.get(name), dict):
            found.append(f"{name}: {answers.get(name) or 'does not answer'}")
    mistakes = {}
    for name in sorted(answers):
        said = answers[name]
        if isinstance(said, dict):
            for error in said["errors"]:
                mistakes.setdefault(error, []).append(name)
    found += [f"{', '.join(names)}: {error}" for error, names in mistakes.items()]
    whole = {
        name: answers[name]
        for name in members(hosts)
        if isinstance(answers.get(name), dict) and answers[name]["valid"]
    }
    missing = [name for name, said in whole.items() if project not in said["projects"]]
    found += [f"{name}: its pillar has no project {project}" for name in missing]
    held = {}
    for name, said in whole.items():
        if said["held"]:
            held.setdefault(said["held"], []).append(name)
    found += [f"{', '.join(names)}: {reason}" for reason, names in held.items()]
    if held:
        told = ",".join(sorted(name for names in held.values() for name in names))
        order = f"{program} -L {told} django.release_allow {project}"
        found.append(f"To have it tried again: {order}")
    if rev is not None and not found:
        found += wrong_rev(project, whole, str(rev))
    return found


def wrong_rev(project, answers, rev):
    """Why ``rev`` is not what will be deployed (list of str, empty where it is)."""
    others = {
        name: said["named"] for name, said in answers.items() if rev not in (said["named"] or [])
    }
    if not others:
        return []
    named = sorted({word for words in others.values() for word in words[:1]})
    says = f"the pillar says {', '.join(named)}" if named else "the pillar names no revision"
    return [
        f"rev: {rev!r} is not what would be deployed: {says} on {', '.join(sorted(others))}. A "
        f"deploy is what the pillar says: change django:projects:{project}:source there, then "
        "deploy again"
    ]


def way_back(project, now, back, since, release=None):
    """
    Which servers go back to what: ``(names, others, release)``, the servers (list) that do, those
    (list) that have it already, and the release (str), or None where each goes back to an earlier
    configuration of the one that serves.

    now
        Releases that serve, by server (dict).
    back
        By server (dict) the release that it would go back to, None for an earlier configuration,
        or an :class:`Exception` that says why it cannot.
    since
        By server (dict) when what serves went live (str, UTC), or None.
    release
        The beginning of the one that the operator wants (str, or int where Salt took its digits for
        a number), or None.

    Raises :class:`Refused` where that is not one and the same for all.
    """
    if release is not None:
        others = [name for name in now if now[name] and begins_with(now[name], release)]
        names = [name for name in now if name not in others]
        if not names:
            raise Refused(f"{project}: {release} serves on every server already")
    elif len(set(now.values())) == 1:
        names, others = list(now), []
    else:
        names, others = _newer(project, now, back, since)
    wrong = [f"{name}: {back[name]}" for name in names if isinstance(back[name], Exception)]
    if wrong:
        raise Refused("\n".join([f"{project} cannot go back:", *wrong]))
    aims = {back[name] for name in names} | {now[name] for name in others}
    if len(aims) > 1:
        raise Refused(_undecided(project, now, back))
    return names, others, aims.pop()


def _newer(project, now, back, since):
    """
    Servers (two lists) that would go back to what the rest has, as after a halt. Where the rest
    might as well, as both releases have served before, those that were the last to switch.
    """
    ways = []
    for release in sorted({each for each in now.values() if each}):
        names = [name for name in now if now[name] == release]
        others = [name for name in now if now[name] != release]
        if {now[name] for name in others} == {back[name] for name in names}:
            ways.append((names, others))
    if len(ways) > 1:
        ways = [
            (names, others)
            for names, others in ways
            if min(since[name] or "" for name in names) > max(since[name] or "" for name in others)
        ]
    if len(ways) != 1:
        raise Refused(_undecided(project, now, back))
    return ways[0]


def _undecided(project, now, back):
    lines = [f"{project}: servers would not go back to one and the same release:"]
    for name in now:
        lines.append(f"  {name}: {now[name] or 'nothing'} serves, before it {back[name]}")
    lines.append(f"Say which: salt-run django.rollback {project} release=ID")
    return "\n".join(lines)
