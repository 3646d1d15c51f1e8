"""
One deploy at a time works on a project of a fleet, and an operator can keep deploys out.

The lock of a deploy is the kernel's (``flock``): it is given up however its process ends, so none
outlives a deploy that was killed. Who has it, since when and why is in the locked file. A standing
lock is a file of its own, which stays until it is taken away.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import time


class LockedError(Exception):
    """Somebody else has the lock; the message tells who, since when, why, and what to do."""


class Locks:
    """
    Locks by project.

    folder
        Where they are kept (path).
    """

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)

    @contextlib.contextmanager
    def held(self, project, owner, reason):
        """
        Hold the lock of a project inside the ``with``, which gets a :class:`Note`. Raises
        :class:`LockedError` at once when another process has it, or an operator locked it.
        """
        standing = self.standing(project)
        if standing:
            raise LockedError(
                f"{project} is locked {_words(standing)}\n"
                f"To let deploys in again: salt-run django.unlock {project}"
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path(project), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _taken(handle):
                raise LockedError(
                    f"{project} is being worked on {_words(_read(self._path(project)))}\n"
                    "Nothing was changed. Wait for that, or end its process"
                )
            note = Note(handle, self._path(project), owner, reason)
            yield note
            note.clear()
        finally:
            os.close(handle)

    def lock(self, project, owner, reason):
        """Lock a project until :meth:`unlock`. Raises :class:`LockedError` when it is."""
        standing = self.standing(project)
        if standing:
            raise LockedError(f"{project} is locked already {_words(standing)}")
        self._folder.mkdir(parents=True, exist_ok=True)
        entry = {"owner": owner, "since": _now(), "reason": reason}
        path = self._standing_path(project)
        path.with_suffix(".new").write_text(json.dumps(entry), encoding="utf-8")
        path.with_suffix(".new").rename(path)

    def unlock(self, project):
        """Take an operator's lock away; returns what it said (dict), or None without one."""
        standing = self.standing(project)
        self._standing_path(project).unlink(missing_ok=True)
        return standing

    def standing(self, project):
        """An operator's lock of a project (``{owner, since, reason}``), or None."""
        return _read(self._standing_path(project)) or None

    def status(self):
        """The locks that are held now: ``[{project, kind, owner, since, reason, process}]``."""
        found = []
        for path in sorted(self._folder.glob("*.lock")):
            if _is_held(path):
                found.append({"project": path.stem, "kind": "at work", **_read(path)})
        for path in sorted(self._folder.glob("*.standing")):
            entry = _read(path)
            if entry:
                found.append({"project": path.stem, "kind": "locked", "process": None, **entry})
        return [{key: value for key, value in item.items() if key != "drained"} for item in found]

    def _path(self, project):
        return self._folder / f"{project}.lock"

    def _standing_path(self, project):
        return self._folder / f"{project}.standing"


class Note:
    """What the holder of a lock tells of itself; ``drained`` is what a killed one has left."""

    def __init__(self, handle, path, owner, reason):
        self._handle = handle
        self.drained = _read(path).get("drained", [])
        self._entry = {"owner": owner, "since": _now(), "reason": reason, "process": os.getpid()}
        self.write(self.drained)

    def write(self, drained):
        """Note which servers are kept out of the balancer, so that nobody forgets them."""
        self.drained = list(drained)
        text = json.dumps({**self._entry, "drained": self.drained}).encode()
        os.pwrite(self._handle, text, 0)
        os.ftruncate(self._handle, len(text))

    def clear(self):
        """The work has come to its end; what is still drained stays noted."""
        if not self.drained:
            os.ftruncate(self._handle, 0)


def _taken(handle):
    """Whether the lock could be taken; who only asks whether it is held has it for a moment."""
    deadline = time.monotonic() + 1
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        else:
            return True


def _is_held(path):
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _read(path):
    """What a file tells (dict); one that was being written may end in what was there before."""
    try:
        return json.JSONDecoder().raw_decode(path.read_text(encoding="utf-8"))[0]
    except (OSError, ValueError):
        return {}


def _words(entry):
    """Who has a lock, since when and why (str)."""
    process = f" (process {entry['process']})" if entry.get("process") else ""
    owner, since = entry.get("owner", "somebody"), entry.get("since", "a moment ago")
    return f"by {owner}{process} since {since}: {entry.get('reason') or 'no reason given'}"


def _now():
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
