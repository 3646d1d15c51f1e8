"""How backups fared: what ``django-backup`` notes of the last one of each project."""

import datetime
import json
import os
import pathlib
import time

import django_backup
import django_running
from django_pull_note import age

STATE = pathlib.Path("/var/lib/django-backup")
SCRIPT = "/backup/main.py"  # in the command line of one that runs
NEVER, RUNS, BROKEN_OFF = "has not run yet", "runs", "was broken off"
DONE, FAILED = "done", "failed"


def last(name, patience, now=None, folder=STATE, settings=django_backup.SETTINGS):
    """
    The last backup of a project, as operators want to know it (dict): ``result`` in a word or two,
    whether it ``failed`` and whether one is ``overdue``, and as far as they are known when it
    ``started`` and ``ended``, the ``problem``, and of the last good one its ``age`` and ``size``.

    patience
        Seconds after a good one, or after backups were set up, when the next one is overdue.
    now
        The time to reckon from, in seconds since 1970; None is this moment.
    """
    now = time.time() if now is None else now
    note, runs = _noted(pathlib.Path(folder, f"{name}.last"))
    result = _result(note, runs)
    told = {"result": result, "failed": result in (FAILED, BROKEN_OFF)}
    since = _seconds(note.get("good")) or _age_of(settings) or now
    told["overdue"] = now - since > patience
    if _seconds(note.get("good")):
        moment = datetime.datetime.fromtimestamp(now, datetime.timezone.utc)
        told["age"] = age(note["good"], moment)
    return {
        **told,
        **{key: note[key] for key in ("started", "ended", "problem", "id", "size") if key in note},
    }


def complaints(names, patience, **places):
    """
    A sentence (list of str) on each project whose last backup failed, or is overdue, and on each
    restore that did not come to its end.
    """
    told = []
    for name in sorted(names):
        half, runs = _noted(pathlib.Path(places.get("folder", STATE), f"{name}.replacing"))
        if half and not runs:
            way = f"django.restore {name} {half['before'] or half['id']} replace=True"
            told.append(
                f"A restore of {name} ({half['id']}, {half['started']}) did not come to its end, so"
                f" its data may be in part of another time. What leads back: {way}"
            )
        found = last(name, patience, **places)
        good = f"the last good one is {found['age']} old" if "age" in found else "there is none yet"
        hint = f"to try again: {django_backup.PROGRAM} run {name}"
        if found["failed"]:
            why = found.get("problem", found["result"])
            told.append(f"The last backup of {name} {found['result']} ({good}): {why} ({hint})")
        elif found["overdue"]:
            told.append(f"A backup of {name} is overdue: {good} ({hint})")
    return told


def _result(note, runs):
    if not note:
        return NEVER
    if "ended" in note:
        return FAILED if note.get("problem") else DONE
    return RUNS if runs else BROKEN_OFF


def _noted(path):
    """A note (dict), and whether the process that wrote it is at it."""
    return django_running.noted(
        lambda: _read(path), lambda argv: any(word.endswith(SCRIPT) for word in argv)
    )


def _seconds(text):
    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except (TypeError, ValueError):
        return None


def _age_of(path):
    try:
        return os.stat(path).st_mtime
    except OSError:
        return None


def _read(path):
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}
