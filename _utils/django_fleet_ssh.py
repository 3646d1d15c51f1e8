"""
Orders over SSH to the servers of the pillar's map, as ``salt-ssh`` gives them: to all that are
meant at once, each in a process of its own.

They have the formula and the pillar from each order, so nothing has to be refreshed there.
"""

import ctypes
import json
import os
import re
import signal

import django_fleet
from django_fleet_orders import Answer, Unreachable, understood
from salt.exceptions import SaltClientError, SaltSystemExit

# What is not a function of ``django``, and is one of our wrapper's.
OURS = {"state.sls_id": "django.up_to"}
# A server that vanished in the midst of a step is given up after so many seconds, thrice.
ALIVE_SECONDS = 10
# What ssh, or the first lines of Salt on a server, say of why there was no answer.
REASONS = (
    (r"REMOTE HOST IDENTIFICATION HAS CHANGED", "its host key is not the one in known_hosts"),
    (r"No \S+ host key is known", "its host key is not in known_hosts"),
    (r"Host key verification failed", "its host key is not in known_hosts"),
    (r"Permission denied \(.*\)", "it does not let this machine in: {}"),
    (r"Could not resolve hostname", "its name is not known here"),
    (r"connect to host .* port \d+: (.*)", "{}"),
    (r"Timeout, server .* not responding", "it stopped answering"),
    (r"Connection (?:closed|reset|to \S+ closed)\b.*", "{}"),
    (r"Unable to locate appropriate python", "it has no Python 3 that Salt can use"),
    (r"No space left on device", "{}"),
)
_PR_SET_PDEATHSIG = 1


def chosen(ssh, has_roster, has_minions):
    """
    Whether orders go over SSH (bool).

    ssh
        What the operator says: True, False, or None, where over SSH is right on a machine that has
        the roster of this formula and no minions.

    Raises :class:`django_fleet.Refused` for anything else, or where there is no such roster.
    """
    if ssh not in (True, False, None):
        raise django_fleet.Refused(f"ssh: expected True or False, got {ssh!r}")
    if ssh and not has_roster:
        raise django_fleet.Refused(
            "ssh=True: this machine is not set up for servers over SSH: ./bootstrap --ssh"
        )
    return has_roster and not has_minions if ssh is None else bool(ssh)


def let_children_end_with_this_process():
    """
    Let every process that is forked from here on end with the one that did so, however that ends.
    Otherwise one that has still to begin something on a server would do so after a ``kill -9``.
    """
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def before():
        nonlocal parent
        parent = os.getpid()

    def in_child():
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # of Ctrl-C the first process tells
        if os.getppid() != parent:
            os._exit(1)

    os.register_at_fork(before=before, after_in_child=in_child)


class Servers:
    """
    client
        Salt's SSHClient.
    roster
        Salt's Roster, of this formula.
    """

    program = "salt-ssh"

    def __init__(self, client, roster):
        self._client, self._roster = client, roster
        self._names = None

    def names(self):
        """The servers (list) of the map; :class:`Unreachable` where there is none."""
        if self._names is None:
            try:
                self._names = sorted(self._roster.targets("*", "glob"))
            except SaltClientError as error:
                raise Unreachable(str(error)) from None
        return self._names

    def send(self, names, function, arguments, keywords, patience):
        """Name and :class:`~django_fleet_orders.Answer` of each server, as they come."""
        meant = self.names() if names == "*" else names
        known = [name for name in meant if name in self.names()]
        for name in meant:
            if name not in known:
                yield name, Answer(problem="is not in django:hosts")
        if not known:
            return
        try:
            for told in self._client.cmd_iter(
                tgt=known,
                tgt_type="list",
                fun=OURS.get(function, function),
                arg=[_argument(value) for value in arguments],
                kwarg=keywords or None,
                timeout=patience,
                ssh_timeout=0,
                ssh_keepalive_interval=ALIVE_SECONDS,
            ):
                for name, entry in told.items():
                    yield name, heard(function, entry)
        except SaltSystemExit as error:
            raise Unreachable(str(error)) from None
        except SaltClientError as error:
            raise Unreachable(str(error)) from None

    def refresh(self, ask, names):
        """The servers (list) that are meant: what each has to say, its first answer tells."""
        return self.names() if names == "*" else list(names)

    def synchronise(self, ask, names):
        """None (list): each order brings the formula along."""
        return []


def heard(function, entry):
    """The :class:`~django_fleet_orders.Answer` that an entry of salt-ssh's means."""
    if not isinstance(entry, dict):
        return understood(function, {"ret": entry, "retcode": 1})
    if "return" in entry:
        return understood(function, {"ret": entry["return"], "retcode": entry.get("retcode")})
    if "stderr" in entry and "retcode" in entry:
        return Answer(problem=reason(entry["stderr"] or ""))
    return understood(function, {"ret": entry, "retcode": 1})


def reason(text):
    """Why a server gave no answer (str), of what was told instead."""
    for pattern, words in REASONS:
        found = re.search(pattern, text)
        if found:
            return f"cannot be reached over SSH: {words.format(found[found.re.groups])}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"gave no answer over SSH: {lines[-1] if lines else 'nothing was said'}"


def _argument(value):
    """A text such that salt-ssh, which reads arguments as YAML, does not take it for a number."""
    return json.dumps(value) if isinstance(value, str) else value
