"""
Orders to servers, and what they answer, each as soon as it is there.

How servers are reached is one of two: minions by their master (here), others over SSH
(:mod:`django_fleet_ssh`).
"""

import time

from salt.exceptions import SaltClientError

ASK_PATIENCE = 10  # seconds, for what is answered at once
PATIENCE = 20  # seconds without an answer until a server is asked whether it still works
BUSY_SECONDS = 600  # as long as a run waits for another one's lock
_BUSY_PAUSE = 3
# What Salt says where states are being applied already, and what ours says over SSH where two
# orders came at once, so that one of them was not carried out.
CROSSED = "another order came to this server at the same moment"
_BUSY = ("is running as PID", CROSSED)
SILENT = "does not answer"


class Unreachable(Exception):
    """Nobody can be given orders; the message says why."""


class Answer:
    """
    What a server answered.

    value
        What its function returned.
    problem
        Why it failed (str), or None.
    """

    def __init__(self, value=None, problem=None):
        self.value, self.problem = value, problem


class Orders:
    """
    servers
        How they are reached: :class:`Minions`, or :class:`django_fleet_ssh.Servers`.
    waiting
        Called with a server's name when another run keeps it from doing something.
    """

    def __init__(self, servers, waiting=lambda name: None):
        self._servers, self._waiting = servers, waiting
        self.program = servers.program  # the command (str) by which an operator asks them himself

    def refresh(self, names):
        """The servers (list) of some, or of all, that will go by the pillar as it is now."""
        return self._servers.refresh(self.ask, names)

    def synchronise(self, names):
        """Let servers have the formula's modules as they are; those (list) that had others."""
        return self._servers.synchronise(self.ask, names)

    def ask(
        self,
        names,
        function,
        *arguments,
        heard=lambda name, answer: None,
        patience=PATIENCE,
        **keywords,
    ):
        """
        The answers (:class:`Answer` by name) of servers to a function of a module.

        names
            Of servers (list), or ``*`` for all that there are.
        heard
            Called with each name and answer as they come.
        patience
            Seconds without an answer until a server is asked whether it still works.
        """
        answers, deadline = {}, time.monotonic() + BUSY_SECONDS
        left = names
        while left:
            busy = []
            for name, answer in self._servers.send(left, function, arguments, keywords, patience):
                if _is_busy(answer) and time.monotonic() < deadline:
                    busy.append(name)
                    continue
                answers[name] = answer
                heard(name, answer)
            for name in [] if names == "*" else left:
                if name not in answers and name not in busy:
                    answers[name] = Answer(problem=SILENT)
                    heard(name, answers[name])
            left = busy
            if busy:
                for name in busy:
                    self._waiting(name)
                time.sleep(_BUSY_PAUSE)
        return answers


class Minions:
    """
    Servers that obey this machine's Salt master. One that does not answer is found out by its
    silence when it is asked whether it still works, so that a step may take as long as it needs.

    client
        Salt's LocalClient.
    """

    program = "salt"

    def __init__(self, client):
        self._client = client

    def send(self, names, function, arguments, keywords, patience):
        """Name and :class:`Answer` of each server that gives one."""
        whom = {"tgt": "*", "tgt_type": "glob"}
        if names != "*":
            whom = {"tgt": list(names), "tgt_type": "list"}
        try:
            for told in self._client.cmd_iter(
                fun=function,
                arg=list(arguments),
                kwarg=keywords or None,
                timeout=patience,
                gather_job_timeout=patience,
                **whom,
            ):
                for name, entry in (told or {}).items():
                    if isinstance(entry, dict) and "ret" in entry:
                        yield name, understood(function, entry)
        except SaltClientError:
            text = "The Salt master does not answer: systemctl status salt-master"
            raise Unreachable(text) from None

    def refresh(self, ask, names):
        """The servers (list) of some, or of all, that answer, and have the pillar as it is now."""
        heard = ask(names, "saltutil.refresh_pillar", patience=ASK_PATIENCE, wait=True)
        found = [name for name, each in heard.items() if not each.problem]
        if not found and names == "*":
            raise Unreachable("No server answers. Are there any: salt-key --list accepted")
        return found

    def synchronise(self, ask, names):
        """
        Give servers the modules that the master has, as their highstate would; those (list) to
        which some were new.
        """
        done = ask(names, "saltutil.sync_all", patience=ASK_PATIENCE, refresh=False)
        new = [name for name, each in done.items() if not each.problem and any(each.value.values())]
        if new:
            ask(new, "saltutil.refresh_modules", patience=ASK_PATIENCE, **{"async": False})
        return new


def _is_busy(answer):
    return any(words in (answer.problem or "") for words in _BUSY)


def understood(function, entry):
    """The :class:`Answer` that an entry of Salt's (dict) means."""
    value, failed = entry["ret"], bool(entry.get("retcode"))
    if isinstance(value, str) and value.startswith(f"'{function}' is not available"):
        return Answer(problem=f"has no {function}: its state was never applied")
    if function.startswith("state."):
        return _of_states(value)
    if failed:
        text = value if isinstance(value, str) else str(value)
        return Answer(value, text.removeprefix("ERROR: ").strip() or "failed and said nothing")
    return Answer(value)


def _of_states(value):
    """The answer of a run of states: its results by ID, or the first that failed and why."""
    if isinstance(value, list):
        return Answer(value, "\n".join(str(line) for line in value))
    if not isinstance(value, dict):
        return Answer(value, str(value).removeprefix("ERROR: ").strip())
    results = sorted(value.values(), key=lambda result: result.get("__run_num__", 0))
    for result in results:
        if result["result"] is False:
            return Answer(value, f"{result['__id__']}: {result['comment']}")
    return Answer(value)


def changed(answer):
    """IDs (list) of the states that changed something."""
    results = sorted(answer.value.values(), key=lambda result: result.get("__run_num__", 0))
    return [result["__id__"] for result in results if result["changes"]]
