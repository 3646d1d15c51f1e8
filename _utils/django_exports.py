"""What the NFS server of this host gives out, as it says itself."""

import pathlib
import time

import django_server_nfs
from django_run import run, tail
from django_service import ServiceError

PATIENCE = 30  # seconds for it to start
SETTLE = 5  # seconds in which one that answers reads its exports
POLL_SECONDS = 0.2
TIMEOUT = 20


def wait_for(paths):
    """
    Wait until the server gives out these ``paths`` (list of str) and none besides.

    ServiceError, with the server's last words, when it does not.
    """
    deadline = time.monotonic() + PATIENCE
    answered = None
    while True:
        asked = run(django_server_nfs.ASK, check=False, timeout=TIMEOUT)
        found = None if asked.returncode else django_server_nfs.served(asked.stdout)
        if found == set(paths):
            return
        if found is not None and answered is None:
            answered = time.monotonic()
            deadline = min(deadline, answered + SETTLE)
        if time.monotonic() >= deadline:
            raise ServiceError(_told(paths, found, asked.stderr))
        time.sleep(POLL_SECONDS)


def _told(paths, found, said):
    """What is wrong (str)."""
    if found is None:
        return f"The NFS server does not answer: {said.strip()}\n{_last_words()}".rstrip()
    lacking, more = sorted(set(paths) - found), sorted(found - set(paths))
    if not lacking:
        return f"The NFS server still gives out {', '.join(more)}"
    return (
        f"The NFS server does not give out {', '.join(lacking)}: they have to be on a file system "
        f"that knows handles, such as ext4, XFS or Btrfs. It says:\n{_last_words()}"
    )


def _last_words():
    try:
        return tail(
            pathlib.Path(django_server_nfs.LOG).read_text(encoding="utf-8", errors="replace")
        )
    except OSError:
        return ""
