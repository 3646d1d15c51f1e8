"""
Releases of a project on all servers that have it, from their Salt master, or over SSH.

One module with ``django.py`` to Salt. A failure ends ``salt-run`` with status 1 and is told in
words; what happens is shown as it does, on standard error.
"""

import contextlib
import os
import sys
import time

import django_fleet
import django_fleet_deploy
import django_fleet_lock
import django_fleet_ssh
import django_fleet_words
import salt.client
import salt.client.ssh.client
import salt.key
import salt.roster
import salt.utils.user
from django_fleet_orders import ASK_PATIENCE, Minions, Orders, Unreachable
from salt.exceptions import NotImplemented as Told  # the one that Salt shows without a traceback

__virtualname__ = "django"
ROSTER = "django"  # what the configuration says where bootstrap --ssh has been


def __virtual__():
    return __virtualname__


def deploy(project, batch=1, reason="", rev=None, fleet_of=None, ssh=None):
    """
    Bring the release that the pillar means to every server of a project, without a failed request.

    The pillar is validated on all servers first, and nothing is changed by a mistake in it. The
    release is then prepared on all servers at once, migrated on one, and goes live on the web
    servers batch by batch, each out of the balancer meanwhile and healthy before the next; then on
    servers with workers alone. The first batch with a failure is the last one: the others serve on
    as they are. What was cut off is continued by the next deploy, or by ``state.apply``.

    project
        Name of the project.
    batch : 1
        Web servers at a time: a number, or a part of them such as ``25%``.
    reason
        Shown to others who want to deploy meanwhile.
    rev : None
        What is to be deployed; refused unless it is what the pillar says.
    fleet_of : None
        Any server of the fleet that is meant, where several have such a project.
    ssh : None
        Whether servers are reached over SSH. Unless that is said they are where ``bootstrap --ssh``
        has been and no minion's key is accepted.

    Returns a table: server, release before and now, seconds, result.

    CLI Example:

    .. code-block:: bash

        salt-run django.deploy shop
        salt-run django.deploy shop batch=25% reason='new checkout'
        salt-run django.deploy shop ssh=True
    """
    with _told(), _locks().held(project, _owner(), reason or "deploy") as note:
        django_fleet.size(batch, 1)
        orders = _orders(ssh)
        hosts, answers = _survey(orders, project, fleet_of)
        wrong = django_fleet.problems(
            project,
            hosts,
            answers,
            rev,
            django_fleet.having(hosts, "balancer"),
            orders.program,
        )
        if wrong:
            raise django_fleet.Refused(_nothing_done(project, wrong))
        _say("pillar", f"valid on {len(answers)} servers")
        rollout = _rollout(orders, project, hosts, answers, batch, note)
        again = f"salt-run django.deploy {project}"
        return _carried_out(rollout, rollout.deploy, again, ssh, rollout.before)


def rollback(project, release=None, batch="50%", reason="", fleet_of=None, ssh=None):
    """
    Let all servers of a project go back to the release that served before, in batches, each by a
    health-checked switch. It stays so until the project's pillar or source changes, or
    ``django.release_allow`` is called on the servers. After a deploy that halted, those servers go
    back that have the new release.

    The database stays as it is; which of its migrations the older code does not know is told.

    release : None
        Id of the release, or its first characters.
    batch : 50%
        Web servers at a time: a number, or a part of them.
    ssh : None
        As for :func:`deploy`, here and in what follows.

    CLI Example:

    .. code-block:: bash

        salt-run django.rollback shop
        salt-run django.rollback shop release=4f2a9c1e7d20
    """
    with _told(), _locks().held(project, _owner(), reason or "rollback") as note:
        django_fleet.size(batch, 1)
        orders = _orders(ssh)
        hosts, answers = _survey(orders, project, fleet_of)
        members = django_fleet.members(hosts)
        silent = [
            f"{name}: {answers.get(name) or 'does not answer'}"
            for name in members
            if not isinstance(answers.get(name), dict)
        ]
        if silent:
            raise django_fleet.Refused(_nothing_done(project, silent))
        rollout = _rollout(orders, project, hosts, answers, batch, note)
        words = [] if release is None else [release]
        back = orders.ask(members, "django.rollback", project, *words, test=True)
        aims = {name: _aim(back[name]) for name in members}
        since = {name: answers[name]["since"] for name in members}
        names, others, aim = django_fleet.way_back(project, rollout.before, aims, since, release)
        again = f"salt-run django.rollback {project}" + (f" release={aim}" if aim else "")
        return _carried_out(rollout, lambda: rollout.go_back(aim, names, others), again, ssh)


def status(project=None, fleet_of=None, ssh=None):
    """
    What runs on each server, as a table: releases, processes, health; below it what is wrong.

    project : None
        Only this project.

    CLI Example:

    .. code-block:: bash

        salt-run django.status
        salt-run django.status shop
    """
    with _told():
        orders = _orders(ssh)
        if project is None:
            answers = orders.ask("*", "django.rollout", "", patience=ASK_PATIENCE)
            fleets = django_fleet.maps(_values(answers)).values()
            known = {name for fleet in fleets if django_fleet.members(fleet) for name in fleet}
            names = [name for name in answers if name in known]
        else:
            hosts, _ = _survey(orders, project, fleet_of, fresh=False)
            names = django_fleet.members(hosts)
        if not names:
            raise django_fleet.Refused("No server that runs projects answers")
        words = [project] if project else []
        found = orders.ask(names, "django.status", *words, patience=ASK_PATIENCE)
        data = {name: each.problem or each.value for name, each in found.items()}
        return _shown(django_fleet_words.status(data), data)


def history(project, limit=20, fleet_of=None, ssh=None):
    """
    What went live on which server, as a table, the newest last.

    limit : 20
        How many entries of each server.

    CLI Example:

    .. code-block:: bash

        salt-run django.history shop
    """
    with _told():
        orders = _orders(ssh)
        hosts, _ = _survey(orders, project, fleet_of, fresh=False)
        names = django_fleet.members(hosts)
        found = orders.ask(names, "django.history", project, limit, patience=ASK_PATIENCE)
        entries = [
            {"server": name, **entry}
            for name, each in found.items()
            if not each.problem
            for entry in each.value
        ]
        lines = django_fleet_words.history(entries)
        lines += [f"{name}: {each.problem}" for name, each in found.items() if each.problem]
        return _shown(lines, entries)


def lock(project, reason=""):
    """
    Keep deploys and rollbacks of a project out until :func:`unlock`.

    CLI Example:

    .. code-block:: bash

        salt-run django.lock shop reason='sale until Monday'
    """
    with _told():
        _locks().lock(project, _owner(), reason)
        return f"{project} is locked. To let deploys in again: salt-run django.unlock {project}"


def unlock(project):
    """
    Let deploys of a project in again. A deploy that is at work is not ended by it.

    CLI Example:

    .. code-block:: bash

        salt-run django.unlock shop
    """
    found = _locks().unlock(project)
    if not found:
        return f"{project} was not locked"
    return f"{project} was locked by {found['owner']} since {found['since']} and is not any more"


def lock_status():
    """
    The projects that are locked or worked on: by whom, since when and why.

    CLI Example:

    .. code-block:: bash

        salt-run django.lock_status
    """
    found = _locks().status()
    keys = ("project", "kind", "owner", "since", "process", "reason")
    rows = [[entry.get(key) for key in keys] for entry in found]
    return _shown(django_fleet_words.table(keys, rows) if rows else ["Nothing is locked."], found)


def drain(server, ssh=None):
    """
    Take a web server out of all balancers before it, until :func:`undrain`; a deploy leaves it out,
    too, while it gets its release. A balancer of somebody else is told by the server that runs the
    pillar's hook for it, and the server itself leaves its target groups.

    CLI Example:

    .. code-block:: bash

        salt-run django.drain web2
    """
    return _at_balancers("django.drain", server, ssh)


def undrain(server, ssh=None):
    """
    Put a web server back into all balancers before it, each of which asks for its health first.

    CLI Example:

    .. code-block:: bash

        salt-run django.undrain web2
    """
    return _at_balancers("django.undrain", server, ssh)


# What these are made of


@contextlib.contextmanager
def _told():
    """What goes wrong inside the ``with`` is told in words, and ends ``salt-run`` with status 1."""
    try:
        yield
    except (django_fleet.Refused, django_fleet_lock.LockedError, Unreachable) as error:
        raise Told(str(error)) from None
    except OSError as error:
        raise Told(f"{error.filename or ''}: {error.strerror or error}") from None


def _orders(ssh):
    """How servers are given orders: ``ssh`` is what the operator says of it."""
    has_roster = __opts__.get("roster") == ROSTER
    if django_fleet_ssh.chosen(ssh, has_roster, has_roster and _has_minions()):
        django_fleet_ssh.let_children_end_with_this_process()
        servers = django_fleet_ssh.Servers(
            salt.client.ssh.client.SSHClient(mopts=dict(__opts__)),
            salt.roster.Roster(dict(__opts__), ROSTER),
        )
    else:
        servers = Minions(salt.client.get_local_client(mopts=__opts__))
    return Orders(servers, lambda name: _say("wait", f"{name}: another run is at work there"))


def _has_minions():
    """Whether the key of any minion is accepted here (bool)."""
    with salt.key.get_key(__opts__) as keys:
        return bool(keys.list_keys()["minions"])


def _at_balancers(function, server, ssh):
    """What each balancer before a server says (lines) to an order about it."""
    with _told():
        orders = _orders(ssh)
        answers = orders.ask("*", "django.rollout", "", patience=ASK_PATIENCE)
        balancers = django_fleet.balancers_of(server, _values(answers))
        said = orders.ask(balancers, function, server)
        lines = [f"{name}: {each.problem or each.value['comment']}" for name, each in said.items()]
        if any(each.problem for each in said.values()):
            raise django_fleet.Refused("\n".join(lines))
        return "\n".join(lines)


def _locks():
    return django_fleet_lock.Locks(os.path.join(__opts__["cachedir"], "django-formula"))


def _owner():
    """Who gave this order (str)."""
    return salt.utils.user.get_specific_user().removeprefix("sudo_")


def _say(step, line):
    print(f"{time.strftime('%H:%M:%S')}  {step:<11} {line}", file=sys.stderr, flush=True)


def _shown(lines, data):
    """A table's lines as a text, or its data where the operator has asked for a format."""
    return data if __opts__.get("output") in ("json", "yaml", "raw", "pprint") else "\n".join(lines)


def _survey(orders, project, member, fresh=True):
    """
    The map of servers that a project is on, and what each server of it says (dict), or why it says
    nothing (str).

    fresh
        Whether servers are given the pillar and the modules that the master has now.
    """
    asked = "*" if member is None else [member]
    if fresh:
        _say("servers", "are given the pillar as it is now …")
        asked = orders.refresh(asked)
    answers = orders.ask(asked, "django.rollout", project, patience=ASK_PATIENCE)
    if fresh and all(each.problem for each in answers.values()) and _synchronise(orders, asked):
        answers = orders.ask(asked, "django.rollout", project, patience=ASK_PATIENCE)
    hosts = django_fleet.choose(project, _values(answers), member)
    if fresh:
        if member is not None:
            asked += orders.refresh([name for name in hosts if name not in asked])
        there = [name for name in hosts if name in asked]
        new = _synchronise(orders, there)
        new += [name for name in there if name not in answers]
        if new:
            answers.update(orders.ask(new, "django.rollout", project, patience=ASK_PATIENCE))
            hosts = django_fleet.choose(project, _values(answers), member)
        answers = {name: each for name, each in answers.items() if name in hosts}
    return hosts, {name: each.problem or each.value for name, each in answers.items()}


def _values(answers):
    """What servers say (dict); refused where none does, with the reason of each."""
    if answers and all(each.problem for each in answers.values()):
        lines = [f"  {name}: {each.problem}" for name, each in sorted(answers.items())]
        raise django_fleet.Refused("\n".join(["No server answers:", *lines]))
    return {name: each.value for name, each in answers.items() if not each.problem}


def _synchronise(orders, names):
    """Let servers have the formula as it is here; those (list) that had another one."""
    new = orders.synchronise(names)
    if new:
        _say("servers", f"{django_fleet_words.listed(new)}: have the formula as it is now")
    return new


def _rollout(orders, project, hosts, answers, batch, note):
    before = {name: answers[name]["release"] for name in django_fleet.members(hosts)}
    rollout = django_fleet_deploy.Rollout(orders, _say, project, hosts, before, batch, note)
    away = f"; balancer: {', '.join(rollout.balancers)}" if rollout.balancers else ""
    _say("servers", f"{django_fleet_words.listed(rollout.members)}{away}")
    return rollout


def _carried_out(rollout, carry_out, again, ssh, before=None):
    """
    The table of what was done; what stopped it is told with the table, and raised.

    again
        The command (str) that goes on where this one stopped.
    ssh
        What the operator has said of how servers are reached.
    before : None
        Releases that served before (dict), where a rollback may be wanted then.
    """
    more = "" if ssh is None else f" ssh={ssh}"
    again += more
    try:
        carry_out()
    except django_fleet_deploy.Halted as error:
        now = rollout.now()
        lines = django_fleet_words.halted(
            rollout.project, error.step, error.failures, now, again, before, more
        )
        raise Told("\n".join([*rollout.table(now), "", *lines])) from None
    except (KeyboardInterrupt, SystemExit):
        raise Told(
            f"{rollout.project}: broken off. What servers were at goes on to its end; they serve.\n"
            f"Type next: salt-run django.status {rollout.project}{more}, then {again}"
        ) from None
    now = rollout.now()
    ahead = [f"{name}: {each}" for name, each in rollout.ahead.items() if each]
    lines = ["The database is ahead of the code by migrations:", *ahead] if ahead else []
    return _shown(rollout.table(now) + lines, rollout.data(now))


def _aim(answer):
    """The release that a server would go back to (str), None for an earlier configuration."""
    if answer.problem:
        return django_fleet.Refused(answer.problem)
    return answer.value["changes"].get("release", {}).get("new")


def _nothing_done(project, wrong):
    lines = [line for text in wrong for line in django_fleet_words.indented(text)]
    return "\n".join([f"{project}: nothing was changed, since:", *lines])
