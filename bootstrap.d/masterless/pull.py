"""
The command ``django-pull``: fetches what this server is to be from git, and lets ``bootstrap``
apply it.

What cannot be fetched, may not be applied (see :mod:`django_pull_source`) or is refused by
``bootstrap``, as a pillar with a mistake is, leaves in force what was applied last; that is applied
again then, so that the server stays as it says. Each pull is told on standard output, in a log and
in a note that ``django.status`` reads, and one that failed in the system's log and to a command of
the operator's.
"""

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import syslog
import time

import django_layout
import django_pull_note
from django_pull_source import Refused, Source, SourceError, short, title
from django_run import BASE_PATH
from django_source import masked

DONE, FAILED, REFUSED = 0, 1, 2
BUSY = 75  # what bootstrap says while another run is under way
IN_FORCE = django_pull_note.FOLDER / "in-force.json"
ANSWERED = django_pull_note.FOLDER / "answered.json"  # where what was pulled last came from
LOCATION = ("git", "rev", "deploy_key", "known_hosts")
LOCK = pathlib.Path("/run/django-pull.lock")
OWN_FORMULA = pathlib.Path(__file__).resolve().parents[2]  # the next run begins here, too
ROUNDS = 4  # of a pull by which something else is to be pulled each time
PATIENCE, PAUSE = 1800, 10  # seconds for a run that is under way
LONGEST_HOOK = 60  # seconds
PROBLEM_LINES = 30
BROKEN_OFF = "broken off"


class Stopped(Exception):
    """Somebody has told this command to end."""


def main(arguments):
    """Pull once; the exit status: 0 all well, 1 something is not, 2 nothing was applied."""
    parser = argparse.ArgumentParser(
        prog="django-pull",
        description="Fetch what this server is to be from git, as its pillar says, and apply it.",
    )
    parser.add_argument(
        "--rewind",
        action="store_true",
        help="take what is there now, although it does not build on what was applied last",
    )
    parser.add_argument(
        "--splay", type=int, default=0, metavar="SECONDS", help="wait so long at most, by chance"
    )
    options = parser.parse_args(arguments)
    if os.geteuid():
        return _refuse("must run as root")
    settings = _settings()
    if not settings:
        return _refuse("this server's pillar says nothing of pulls (django:pull)")
    if not any(path.exists() for path in django_pull_note.ALONE):
        print("django-pull: nothing to do, since a Salt master tells this server what it is to be")
        return DONE
    with open(LOCK, "a", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _refuse("another pull is under way on this server: wait for its end")
        time.sleep(random.uniform(0, options.splay))  # noqa: S311 - nobody is to be kept from guessing
        return _pull(settings, options.rewind)


def _pull(settings, rewind, rounds=ROUNDS):
    """
    Pull, and again while what was applied says that something else is to be pulled, such as a newer
    formula; the exit status. What failed by settings that are in force no more is no failure.
    """
    pull = Pull(settings, rewind)
    status, said = pull.run()
    told = _settings()
    is_another = not pull.is_stopped and told != settings
    if is_another and told and rounds > 1:
        pull.pass_on(said)
        return _pull(told, False, rounds - 1)
    if is_another and status == DONE:
        pull.forgive()
    return pull.conclude(status, said)


def _settings():
    """What the pillar in force says of pulls (dict), empty where it says nothing."""
    return django_layout.read_json(django_pull_note.SETTINGS)


def _refuse(why):
    print(f"django-pull: {why}", file=sys.stderr)
    return REFUSED


class Pull:
    """
    One pull.

    settings
        What the pillar says of it, as :func:`django_pull.settings` writes it (dict).
    rewind
        Whether a commit may be applied that does not build on the last one.
    """

    def __init__(self, settings, rewind=False):
        self.settings, self.rewind = settings, rewind
        self.sources = {
            kind: Source(kind, given, django_pull_note.FOLDER)
            for kind, given in settings["sources"].items()
        }
        self.force = {
            kind: found
            for kind, found in django_layout.read_json(IN_FORCE).items()
            if kind in self.sources and pathlib.Path(found["folder"]).is_dir()
        }
        self.answered = django_layout.read_json(ANSWERED)
        before = django_pull_note.read(django_pull_note.NOTE)
        self.failures = before.get("failures", 0)
        self.note = {"started": _now(), "pid": os.getpid(), "failures": self.failures}
        self.note.update(self._in_force())
        self.problems = []
        self.is_stopped = False

    def run(self):
        """Fetch and apply: the exit status, and what was said last."""
        signal.signal(signal.SIGTERM, _stop)
        django_pull_note.FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
        django_pull_note.LOG.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remember()
        try:
            return self._apply_all(self._fetch())
        except (Stopped, KeyboardInterrupt):
            self.is_stopped = True
            self.problems.append("it was told to stop; the next one goes on from there")
            return FAILED, BROKEN_OFF

    def _fetch(self):
        """What there is to apply (dict by kind); for what failed, that which is in force."""
        wanted = dict(self.force)
        for kind, source in self.sources.items():
            try:
                wanted[kind] = self._pull(kind, source)
            except (SourceError, OSError) as error:
                self.problems.append(f"{kind}: {error}")
                continue
            if wanted[kind]["commit"] != self.force.get(kind, {}).get("commit"):
                self._say(f"{kind}: {_described(wanted[kind])}{self._before(kind)}")
        return wanted

    def _pull(self, kind, source):
        """
        What a source has to be applied (dict). Where it does not answer, as when the pillar has a
        wrong URL, the one that answered last is asked: what mends that is looked for there, by the
        rules of now.
        """
        force, location = self.force.get(kind, {}), {key: source.settings[key] for key in LOCATION}
        try:
            found = source.pull(force, self.rewind)
        except Refused:
            raise
        except SourceError as error:
            before = self.answered.get(kind)
            if not before or before == location:
                raise
            former = Source(kind, {**source.settings, **before}, django_pull_note.FOLDER)
            found = former.pull(force, self.rewind)
            where = f"{masked(before['git'])} ({former.name})"
            self.problems.append(
                f"{kind}: {error}\n{where}, which answered last, was asked instead"
            )
            return found
        if self.answered.get(kind) != location:
            self.answered[kind] = location
            django_layout.write_json(ANSWERED, self.answered, 0o600)
        return found

    def _before(self, kind):
        return f", after {short(self.force[kind]['commit'])}" if kind in self.force else ""

    def _apply_all(self, wanted):
        """
        Apply what was fetched, or as much of it as is not refused: exit status, summary. What is in
        force stands in for the rest, so that no formula keeps a pillar out that would mend it.
        """
        new = [kind for kind in wanted if wanted[kind] != self.force.get(kind)]
        refusals = {}
        for left in left_out(new):
            chosen = {**wanted, **{kind: self.force.get(kind) for kind in left}}
            chosen = {kind: found for kind, found in chosen.items() if found}
            status, lines = self._bootstrap(chosen)
            if status in (DONE, FAILED):
                self._take(chosen)
            if status in (DONE, FAILED, BUSY):
                break
            refusals.update(dict.fromkeys(lines))
        if refusals and left:
            names = " and ".join(f"{kind} {short(wanted[kind]['commit'])}" for kind in left)
            self.problems.append("\n".join([f"{names} was refused:", *refusals]))
        if status != DONE:
            self.problems.append("\n".join(lines))
        return status, lines[0] if lines else ""

    def _bootstrap(self, wanted):
        """Let ``bootstrap`` apply it: its exit status and what it says (list of str)."""
        formula = wanted.get("formula", {}).get("folder", self.settings["repository"])
        pillar = [wanted["pillar"]["folder"]] if "pillar" in wanted else []
        argv = [f"{formula}/bootstrap", "--quiet", *pillar]
        environment = {"PATH": BASE_PATH, "HOME": "/root", **os.environ}
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                status, text = _call(argv, environment)
            except OSError as error:
                return REFUSED, [f"{argv[0]}: {error.strerror}"]
            if status != BUSY or time.monotonic() > deadline:
                return status, [line for line in text.splitlines() if line.strip()]
            time.sleep(PAUSE)

    def _take(self, wanted):
        """What was applied is in force from now on; files of what came before go."""
        django_layout.write_json(IN_FORCE, wanted, 0o600)
        self.force = wanted
        kept = json.dumps([wanted, self.settings["repository"], str(OWN_FORMULA)])
        for kind, source in self.sources.items():
            if kind in wanted:
                source.keep(wanted[kind]["commit"])
                source.prune(kept)

    def _in_force(self):
        """What is in force, for people (dict by kind)."""
        return {kind: _described(found) for kind, found in self.force.items()}

    def pass_on(self, said):
        """Tell how it went, where another one by other settings follows at once."""
        self.forgive()
        self._say(said)
        self._say("What is to be pulled is another now: once more.")

    def forgive(self):
        """What failed is told, and counts no more."""
        for problem in self.problems:
            self._say(f"django-pull: {problem}")
        self.problems = []

    def conclude(self, status, said):
        """Tell how it went, where operators look for it; the exit status."""
        failed = bool(self.problems)
        if failed and status == DONE:
            status, said = FAILED, f"Apart from that: {said}"
        self.failures = self.failures + 1 if failed else 0
        for problem in self.problems:
            self._say(f"django-pull: {problem}", syslog.LOG_ERR)
        self._say(said)
        heads = [_clipped(problem) for problem in self.problems]
        self.note.update(self._in_force(), ended=_now(), exit_status=status, result=said)
        self.note.update(problems=heads, failures=self.failures)
        self._remember()
        if failed and self.settings["on_failure"]:
            self._call_hook()
        return status

    def _call_hook(self):
        argv = self.settings["on_failure"]
        environment = {
            "PATH": BASE_PATH,
            "HOME": "/root",
            "DJANGO_PULL_FAILURES": str(self.failures),
        }
        try:
            subprocess.run(  # noqa: S603
                argv,
                input="\n".join(self.problems) + "\n",
                text=True,
                env=environment,
                timeout=LONGEST_HOOK,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except (OSError, subprocess.SubprocessError) as error:
            self._say(f"django-pull: on_failure: {error}", syslog.LOG_ERR)

    def _remember(self):
        django_layout.write_json(django_pull_note.NOTE, self.note, 0o600)

    def _say(self, text, level=syslog.LOG_INFO):
        """Tell it on standard output, where systemd keeps it, and in the log."""
        print(text, flush=True)
        with open(django_pull_note.LOG, "a", encoding="utf-8") as log:
            os.fchmod(log.fileno(), 0o600)
            log.writelines(f"{_now()} {line}\n" for line in text.splitlines())
        if level == syslog.LOG_ERR and "INVOCATION_ID" not in os.environ:  # not by systemd
            syslog.openlog("django-pull", facility=syslog.LOG_CRON)
            for line in text.splitlines():
                syslog.syslog(level, line)


def left_out(new):
    """
    What may be left out of that which is new, if it is refused, in the order in which to try it
    (list of tuples).

    new
        Kinds (list of str) that were fetched and are not in force.
    """
    each = [(kind,) for kind in ("formula", "pillar") if kind in new]
    return [(), *each, *([("pillar", "formula")] if len(each) > 1 else [])]


def _call(argv, environment):
    """Run a command to its end, which a signal to stop only asks it for."""
    with subprocess.Popen(  # noqa: S603
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        cwd="/",
    ) as process:
        try:
            text = process.communicate()[0]
        except BaseException:
            with contextlib.suppress(OSError):
                process.terminate()
            process.wait()
            raise
    return process.returncode, text


def _described(found):
    """What was pulled, in words."""
    signed = f", signed by {found['signed_by']}" if found.get("signed_by") else ""
    return f"{short(found['commit'])} of {title(found['rev'])}{signed}"


def _clipped(problem):
    lines = problem.splitlines()
    rest = len(lines) - PROBLEM_LINES
    return "\n".join([*lines[:PROBLEM_LINES], *([f"… {rest} more lines"] if rest > 0 else [])])


def _now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def _stop(*_):
    raise Stopped
