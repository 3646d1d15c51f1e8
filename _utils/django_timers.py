"""How a project's timers fared: what ``run-timer`` notes of the last run of each."""

import json
import os
import pathlib
import re

import django_running

LARGEST = 1000  # bytes of a note
NEVER, RUNS, BROKEN_OFF = "has not run yet", "runs", "was broken off"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}")


def note(folder, name):
    """
    Path of the note on the last run of a timer.

    folder
        The project's folder of logs.
    """
    return pathlib.Path(folder, f"timer-{name}.last")


def last_runs(timers, folder):
    """
    The last run of each timer: ``{name: {schedule, result, failed, started, ended, exit_status}}``.
    ``result`` is a word or two, and the last three are left out where they are not known.

    timers
        The project's resolved timers.
    """
    found = {}
    for name, timer in timers.items():
        run, runs = _noted(folder, name)
        known = {key: run[key] for key in ("started", "ended", "exit_status") if key in run}
        result = _result(run, runs)
        failed = result == BROKEN_OFF or run.get("exit_status", 0) != 0
        found[name] = {"schedule": timer["schedule"], "result": result, "failed": failed, **known}
    return found


def complaints(timers, folder):
    """A sentence (list of str) on each timer whose last run failed."""
    return [
        f"Timer {name} {run['result']} at {run.get('ended', run.get('started'))}, see "
        f"{folder}/timer-{name}.log."
        for name, run in sorted(last_runs(timers, folder).items())
        if run["failed"]
    ]


def _noted(folder, name):
    """What a timer noted of its last run (dict), and whether that is under way."""
    return django_running.noted(lambda: _read(note(folder, name)), lambda argv: name in argv)


def _result(run, runs):
    if not run:
        return NEVER
    if "ended" in run:
        return run["result"]
    return RUNS if runs else BROKEN_OFF


def _read(path):
    """
    A note (dict), empty where there is none that makes sense: the folder is one that the project
    may write to, so nothing in it is taken for granted.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, encoding="utf-8") as stream:
            run = json.loads(stream.read(LARGEST))
        for key in {"started", "ended"} & set(run):
            if not MOMENT.fullmatch(run[key]):
                return {}
        kept = {"started": run["started"]}
        if "ended" in run:
            kept["ended"], kept["exit_status"] = run["ended"], int(run["exit_status"])
            kept["result"] = str(run["result"])[:80]
        else:
            kept["pid"] = int(run["pid"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}
    return kept
