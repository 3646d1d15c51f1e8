"""What the kernel says of running processes: which folders and programs they use."""

import contextlib
import os
import pathlib
import signal
from typing import NamedTuple

PROC = pathlib.Path("/proc")


class Process(NamedTuple):
    """A process: its parent's number, its user's, its directory and its command line."""

    parent: int
    uid: int
    directory: str
    argv: tuple


def table():
    """Every process of this host: ``{pid: Process}``; those that end meanwhile are left out."""
    found = {}
    for entry in os.scandir(PROC):
        if not entry.name.isdecimal():
            continue
        try:
            status = (PROC / entry.name / "stat").read_text(encoding="utf-8", errors="replace")
            argv = (PROC / entry.name / "cmdline").read_bytes().decode(errors="replace")
            directory = os.readlink(PROC / entry.name / "cwd")
            uid = entry.stat().st_uid
        except OSError:
            continue
        parent = int(status.rpartition(")")[2].split()[1])
        found[int(entry.name)] = Process(parent, uid, directory, tuple(argv.split("\0")[:-1]))
    return found


def noted(read, is_writer):
    """
    The note (dict) that a process keeps of itself, and whether that process is at it (bool). Where
    it ends while it is looked for, its last note is the one.

    read
        Called for the note, whose ``pid`` says who writes it until it has ``ended``; may be empty.
    is_writer
        Called with a command line (tuple of str): whether it may be that of such a process.
    """
    note = read()
    while note and "ended" not in note:
        process = table().get(note.get("pid"))
        if process and is_writer(process.argv):
            return note, True
        before, note = note, read()
        if note == before:
            break
    return note, False


def age(pid):
    """Seconds (float) since a process was started; 0 when it is not there any more."""
    try:
        status = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        uptime = float((PROC / "uptime").read_text(encoding="ascii").split()[0])
    except OSError:
        return 0.0
    return uptime - int(status.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def mapped(pid, folder):
    """Files (set of str) below ``folder`` that a process has in its memory."""
    try:
        lines = (PROC / str(pid) / "maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    rows = (line.split(None, 5) for line in lines.splitlines())
    return {row[5] for row in rows if len(row) > 5 and row[5].startswith(f"{folder}/")}


def search_path(pid):
    """The folders (list of str) that a process was started to look for programs in."""
    try:
        environment = (PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return []
    for variable in environment.split("\0"):
        if variable.startswith("PATH="):
            return variable.removeprefix("PATH=").split(":")
    return []


def descendants(processes, pid):
    """Numbers (set of int) of a process and all that it has started, as ``table`` has them."""
    found, edge = {pid} & set(processes), {pid}
    while edge:
        edge = {number for number, process in processes.items() if process.parent in edge} - found
        found |= edge
    return found


def users_of(processes, folder):
    """
    Numbers (set of int) of the processes that work in ``folder`` or have a path below it in their
    command line.
    """
    inside = f"{folder}/"
    return {
        number
        for number, process in processes.items()
        if f"{process.directory.removesuffix(' (deleted)')}/".startswith(inside)
        or any(inside in word for word in process.argv)
    }


def end_users_of(folder, uid):
    """
    Kill what a user still runs in ``folder``: a run that was killed leaves behind what its own
    commands had started.
    """
    processes = table()
    for number in users_of(processes, folder):
        if processes[number].uid == uid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
