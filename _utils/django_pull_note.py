"""
What ``django-pull`` notes of its last run, and where all that is its own lies on a server.

The system's own Python loads this module, so that it needs nothing but the standard library.
"""

import datetime
import json
import pathlib

import django_running

KINDS = ("pillar", "formula")
SCRIPT = "/bootstrap.d/pull.py"  # in the command line of one that runs
SETTINGS = pathlib.Path("/etc/django-formula/pull.json")
FOLDER = pathlib.Path("/var/lib/django-formula/pull")
NOTE = FOLDER / "last.json"
# By one of these bootstrap has set a host up that is alone, beside a master's minion by the second.
ALONE = (
    pathlib.Path("/etc/salt/minion.d/django-formula.conf"),
    pathlib.Path("/etc/django-formula/salt/minion"),
)
LOG = pathlib.Path("/var/log/django-formula/pull.log")
NEVER, RUNS, BROKEN_OFF = "has not run yet", "runs", "was broken off"
UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def last(now=None, path=NOTE):
    """
    The last pull, as operators want to know it (dict): ``result`` in words, whether it ``failed``,
    and as far as they are known when it ``started`` and ``ended``, its ``age``, its
    ``exit_status``, what is in force (``pillar``, ``formula``), ``problems`` (list of str) and how
    many ``failures`` there were in a row.

    now
        The time to reckon from (datetime); None is this moment.
    """
    note, runs = django_running.noted(lambda: read(path), _is_pull)
    if not note:
        return {"result": NEVER, "failed": False}
    if "ended" not in note:
        note["result"] = RUNS if runs else BROKEN_OFF
    told = {
        "result": note["result"],
        "failed": note["result"] == BROKEN_OFF or note.get("exit_status", 0) != 0,
        "age": age(note.get("ended", note["started"]), now),
    }
    keys = ("started", "ended", "exit_status", *KINDS, "problems", "failures")
    return {**told, **{key: note[key] for key in keys if note.get(key)}}


def _is_pull(argv):
    return any(word.endswith(SCRIPT) for word in argv)


def complaint(now=None, path=NOTE):
    """A sentence on the last pull if it has failed, else None; nothing of one that is under way."""
    told = last(now, path)
    if not told["failed"]:
        return None
    count = told.get("failures", 1)
    how = "failed" if count == 1 else f"failed, as {count} in a row have,"
    first = next(iter(told.get("problems", [])), told["result"]).splitlines()[0]
    return f"The last pull {how} {told['age']} ago: {first} (see {LOG})"


def read(path):
    """A note (dict), empty where there is none that makes sense."""
    try:
        note = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        datetime.datetime.fromisoformat(note["started"])
        return note
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def age(moment, now=None):
    """
    How long ago a moment was, in words: ``4 minutes``.

    moment
        ISO 8601 with its zone (str).
    """
    then = datetime.datetime.fromisoformat(moment)
    now = now or datetime.datetime.now(datetime.timezone.utc)
    seconds = max(0, int((now - then).total_seconds()))
    size, unit = next((each for each in UNITS if seconds >= each[0]), UNITS[-1])
    count = seconds // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
