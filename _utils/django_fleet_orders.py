"""
Orders of a master to its servers, and what they answer, each as soon as it is there.

A server that does not answer is found out by its silence when it is asked whether it still works,
so that a step may take as long as it needs.
"""

import time

from salt.exceptions import SaltClientError

PATIENCE = 20  # seconds without an answer until a server is asked whether it still works
BUSY_SECONDS = 600  # as long as a run waits for another one's lock
_BUSY_PAUSE = 3
_BUSY = "is running as PID"  # what Salt says where states are being applied already
SILENT = "does not answer"


class Unreachable(Exception):
    """The master itself does not answer."""


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
    client
        Salt's LocalClient.
    waiting
        Called with a server's name when another run keeps it from doing something.
    """

    def __init__(self, client, waiting=lambda name: None):
        self._client, self._waiting = client, waiting

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
            Of servers (list), or ``*`` for all that answer.
        heard
            Called with each name and answer as they come.
        patience
            Seconds without an answer until a server is asked whether it still works.
        """
        answers, deadline = {}, time.monotonic() + BUSY_SECONDS
        left = names
        while left:
            busy = []
            for name, answer in self._send(left, function, arguments, keywords, patience):
                if answer.problem and _BUSY in answer.problem and time.monotonic() < deadline:
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

    def _send(self, names, function, arguments, keywords, patience):
        """Name and answer of each server that gives one."""
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
        except SaltClientError as error:
            raise Unreachable(str(error)) from None


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
