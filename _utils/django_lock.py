"""
One run at a time works on a project of a host.

The lock is the kernel's: it is given up however the process ends, so no lock outlives a run that
was killed. It lives in this module because Salt loads execution modules anew in the middle of a
run, after a package was installed, and a second lock of the same process would wait for the first.
"""

import fcntl
import logging
import os
import pathlib
import time

FOLDER = pathlib.Path("/run/lock")
TIMEOUT = 600
_POLL_SECONDS = 0.5
_held = {}
log = logging.getLogger(__name__)


class LockedError(Exception):
    """Another process holds the lock; the message names it."""


def hold(project, timeout=TIMEOUT):
    """
    Hold the lock of ``project`` until this process ends.

    timeout
        Seconds to wait for another process.

    Raises :class:`LockedError`.
    """
    path = FOLDER / f"django-formula-{project}.lock"
    if path in _held and _held[path][0] == os.getpid():
        return
    FOLDER.mkdir(exist_ok=True)  # a host without systemd may have an empty /run
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline, told = time.monotonic() + timeout, False
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            owner = os.pread(handle, 64, 0).decode().strip()
            if not told:
                told = True
                log.warning("Another run (process %s) works on %s; waiting for it", owner, project)
            if time.monotonic() > deadline:
                os.close(handle)
                raise LockedError(
                    f"another run (process {owner}) has worked on {project} for {timeout} s; "
                    "wait for it or end it, then run again"
                ) from None
            time.sleep(_POLL_SECONDS)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    _held[path] = (os.getpid(), handle)
