"""
The repository of backups: restic, which encrypts what it keeps and keeps nothing twice.

Nothing but the standard library is needed.
"""

import datetime
import json
import os
import subprocess

PROGRAM = "restic"
CACHE = "/var/cache/django-backup"
MOUNTS = "/etc/fstab"
# Tags: what came by itself, what a restore replaced, what lacks files that could not be read.
NIGHTLY, BEFORE, PARTIAL = "backup", "before-restore", "incomplete"
KEPT_BEFORE = "30d"  # how long the latter are kept
INCOMPLETE = 3  # exit status: some files could not be read
MISSING = ("Is there a repository at the following location", "repository does not exist")
WRONG = ("wrong password or no key found",)


class RepositoryError(Exception):
    """The repository does not do what it is asked; the message says why, without a secret."""


class Repository:
    """
    A restic repository.

    settings
        What django-formula wrote for this host (dict): ``repository``, ``password``,
        ``environment``, ``options`` (words for restic) and ``keep``.
    """

    def __init__(self, settings):
        self.where = settings["repository"]
        self.keep = settings["keep"]
        self._options = settings["options"]
        self._environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "RESTIC_CACHE_DIR": CACHE,
            "RESTIC_PROGRESS_FPS": "0.05",
            "RESTIC_REPOSITORY": settings["repository"],
            "RESTIC_PASSWORD": settings["password"],
            **{key: os.environ[key] for key in ("https_proxy", "no_proxy") if key in os.environ},
            **settings["environment"],
        }

    def open(self, known=False):
        """
        See to it that there is a repository that opens: ``opened``, or ``created``.

        known
            Whether it was there before. What is missing then is not made anew.
        """
        try:
            self._ask("cat", "config")
            return "opened"
        except RepositoryError as error:
            if not any(words in str(error) for words in MISSING):
                raise
        if known:
            raise RepositoryError(f"repository {self.where} was there, and is not there any more")
        self._ask("init")
        return "created"

    def save(self, project, tag, paths, excludes):
        """
        Save paths of a project. Returns its id (str) and its size (int, bytes), and what could not
        be read (str), empty where all could.
        """
        argv = ["backup", "--json", f"--host={project}", f"--tag={tag}"]
        # Others may have locked it and ended without a word; those that live are left alone.
        self._ask("unlock")
        words = [*argv, *(f"--exclude={each}" for each in excludes), "--", *paths]
        done = self._run(*words)
        if done.returncode not in (0, INCOMPLETE):
            raise self._failure(done)
        summary = {}
        for line in done.stdout.splitlines():
            if line.startswith("{"):
                told = json.loads(line)
                summary = told if told.get("message_type") == "summary" else summary
        if not summary:
            raise self._failure(done)
        unread = _last(done.stderr) if done.returncode else ""
        return summary["snapshot_id"], summary["total_bytes_processed"], unread

    def snapshots(self, project):
        """What is kept of a project, the newest first: ``{id, time, tag, paths}``."""
        told = json.loads(self._ask("snapshots", "--json", f"--host={project}") or "null") or []
        found = [
            {
                "id": each["id"],
                "time": moment(each["time"]).isoformat(timespec="seconds"),
                "tag": (each.get("tags") or [NIGHTLY])[0],
                "paths": each["paths"],
            }
            for each in told
        ]
        return sorted(found, key=lambda each: each["time"], reverse=True)

    def size(self, snapshot):
        """Size (int, bytes) of what a snapshot brings back."""
        told = self._ask("stats", "--json", "--mode=restore-size", snapshot)
        return json.loads(told)["total_size"]

    def fetch(self, snapshot, target, paths):
        """Bring paths of a snapshot back below the folder ``target``, with all owners and modes."""
        include = [f"--include={path}" for path in paths]
        self._ask("restore", snapshot, f"--target={target}", *include)

    def forget(self, project):
        """Let go what is older than what is to be kept of a project, and free its room."""
        keep = [f"--keep-{name}={count}" for name, count in self.keep.items() if count]
        argv = ["forget", f"--host={project}", "--group-by=host"]
        for tag in (BEFORE, PARTIAL):
            self._ask(*argv, f"--tag={tag}", f"--keep-within={KEPT_BEFORE}")
        self._ask(*argv, f"--tag={NIGHTLY}", *keep, "--prune")

    def set_apart(self, project, snapshot):
        """Let a backup be one that lacks something, which is nobody's latest; its new id (str)."""
        self._ask("tag", f"--set={PARTIAL}", snapshot)
        marked = [each["id"] for each in self.snapshots(project) if each["tag"] == PARTIAL]
        return marked[0] if marked else snapshot

    def discard(self, snapshot):
        """Let go one snapshot."""
        self._ask("forget", snapshot)

    def _ask(self, *words):
        done = self._run(*words)
        if done.returncode:
            raise self._failure(done)
        return done.stdout

    def _run(self, *words):
        drive = unmounted(self.where)
        if drive:
            raise RepositoryError(f"repository {self.where}: {drive} of {MOUNTS} is not mounted")
        argv = [PROGRAM, *self._options, *words]
        how = {"env": self._environment, "cwd": "/", "stdin": subprocess.DEVNULL}
        try:
            return subprocess.run(  # noqa: S603
                argv, capture_output=True, text=True, errors="replace", **how
            )
        except FileNotFoundError:
            raise RepositoryError(f"the program {PROGRAM} is not on this host") from None

    def _failure(self, done):
        said = _last(done.stderr) or f"restic failed with exit status {done.returncode}"
        if any(words in said for words in WRONG):
            said = "it was made with another password"
        return RepositoryError(f"repository {self.where}: {said}")


def moment(text):
    """A time (datetime, in UTC) as restic writes it, with more digits than Python reads."""
    head, dot, tail = text.partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    whole = head + tail[digits:] if dot else head
    found = datetime.datetime.fromisoformat(whole.replace("Z", "+00:00"))
    return found.astimezone(datetime.timezone.utc)


def unmounted(where):
    """The mount point (str) of a repository in a folder when nothing is mounted there, or None."""
    if not where.startswith("/"):
        return None
    try:
        with open(MOUNTS, encoding="utf-8", errors="replace") as stream:
            fields = [line.split() for line in stream if not line.lstrip().startswith("#")]
    except FileNotFoundError:
        return None
    points = [os.path.realpath(each[1]) for each in fields if len(each) > 1 and each[1][0] == "/"]
    folder = os.path.realpath(where)
    above = [each for each in points if os.path.commonpath([each, folder]) == each]
    nearest = max(above, key=len, default="/")
    return None if os.path.ismount(nearest) else nearest


def _last(text):
    """The last lines of what restic has said (str)."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[-6:])
