"""
Projects that this host had and the pillar does not name any more: their programs and timers end,
their data stays.
"""

import pathlib
import time

import django_process

CRON = pathlib.Path("/etc/cron.d")
LEAVE_SECONDS = 10
STOP_SECONDS = 10  # of a program that does not run


def find(root, known):
    """Names (list of str) of the projects with a folder in ``root`` that are not ``known``."""
    folders = sorted(pathlib.Path(root).glob("*/instances"))
    return [folder.parent.name for folder in folders if folder.parent.name not in known]


def stop(name, managers, test=False):
    """
    End what a project that left still runs. Workers finish what they are at: who takes longer than
    some seconds is not waited for, and is forgotten by a later run.

    managers
        Adapters of the process managers, see :mod:`django_managers`.

    Returns what changed (dict) and the programs that finish their work (list of str).
    """
    programs = _programs(name, managers)
    timers = CRON / f"django-{name}"
    changes = {
        "stopped": sorted(each for each, (_, found) in programs.items() if not found["leaving"]),
        "ended": sorted(each for each, (_, found) in programs.items() if _has_ended(found)),
        "timers": [str(timers)] if timers.exists() else [],
    }
    changes = {key: names for key, names in changes.items() if names}
    if test:
        return changes, []
    timers.unlink(missing_ok=True)
    for program in changes.get("stopped", []):
        manager, found = programs[program]
        if found["pid"]:
            manager.dismiss(program)
        else:
            manager.stop(program, STOP_SECONDS)
    busy = _forget(name, managers)
    deadline = time.monotonic() + LEAVE_SECONDS
    while changes.get("stopped") and busy and time.monotonic() < deadline:
        time.sleep(0.2)
        busy = _forget(name, managers)
    return changes, busy


def _programs(name, managers):
    """The project's programs: ``{program: (manager, what it says of it)}``."""
    return {
        program: (manager, found)
        for manager in managers
        for program, found in manager.programs().items()
        if django_process.parse_program(program, name)
    }


def _has_ended(found):
    return found["leaving"] and not found["pid"]


def _forget(name, managers):
    """Forget programs that have ended; returns those that have not."""
    programs = _programs(name, managers)
    for program, (manager, found) in programs.items():
        if _has_ended(found):
            manager.stop(program, 0)
    return sorted(each for each, (_, found) in programs.items() if not _has_ended(found))
