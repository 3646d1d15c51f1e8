"""Measures of a command in a test host: time, programs started, memory, answers meanwhile."""

import contextlib
import http.client
import os
import re
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

OUTPUT, ERRORS, TRACE = "/run/benchmark.out", "/run/benchmark.err", "/run/benchmark.trace"
PROCESSOR = "/sys/fs/cgroup/cpu.stat"  # of the whole host; its first line is usage_usec
TIMED = f"""
read -r name before <{PROCESSOR}
began=$(date +%s.%N)
"$@" >{OUTPUT} 2>{ERRORS} </dev/null
status=$?
echo "$began $(date +%s.%N) $before $status"
"""
STARTED = re.compile(r"^(?=.*\bexecve\b).* = 0$", re.MULTILINE)
PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024
QUIET, QUIET_WINDOW = 0.95, 0.25  # idle share of all processors, over that many seconds


@dataclass(frozen=True)
class Run:
    """
    A command that ended well, and when, by the clock that host and builder share; `before` is the
    host's processor time (seconds) at its start.
    """

    began: float
    ended: float
    before: float

    @property
    def seconds(self):
        return self.ended - self.began


def settle(patience=20):
    """
    Wait until the machine has nothing else to do: what the run before leaves behind (workers that
    start and end) would be counted against the next. After `patience` seconds it is as it is.
    """
    for _ in range(int(patience / QUIET_WINDOW)):
        before = _processors()
        time.sleep(QUIET_WINDOW)
        spent, idle = (now - then for now, then in zip(_processors(), before))
        if idle >= QUIET * spent:
            return


def _processors():
    """Ticks of all processors of the machine since it was booted: all, and the idle ones."""
    ticks = list(map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]))
    return sum(ticks), ticks[3] + ticks[4]


def timed(host, argv, timeout=900):
    """
    Run a command in the host, once the machine is quiet, by the host's own clock; raises
    AssertionError when it fails.
    """
    settle()
    done = host.run(["sh", "-c", TIMED, "timed", *argv], timeout=timeout)
    began, ended, before, status = done.stdout.split()
    if status != "0":
        said = host.run(f"tail -n 60 {OUTPUT}; tail -n 60 {ERRORS}").stdout
        raise AssertionError(f"{host.name}: {' '.join(argv)}: status {status}\n{said}")
    return Run(float(began), float(ended), int(before) / 1e6)


def processor(host):
    """Seconds of processor time that all of the host has used since it was booted."""
    return int(host.read(PROCESSOR).split()[1]) / 1e6


def programs(host, argv):
    """How many programs a command starts, itself included."""
    trace = ["strace", "-f", "-qq", "--seccomp-bpf", "-e", "trace=execve", "-e", "signal=none"]
    timed(host, [*trace, "-o", TRACE, "--", *argv])
    return len(STARTED.findall(host.read(TRACE)))


def memory(host, argv):
    """The most memory (MiB) that a command and all that it starts had at any time."""
    peak = 0
    process = host.start(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, sum(map(resident, descendants(process.pid))))
        time.sleep(0.02)
    assert process.returncode == 0, f"{host.name}: {' '.join(argv)}: status {process.returncode}"
    return peak / MIB


def descendants(pid):
    """The pids, on the builder, of a process and all below it."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from descendants(int(child))


def resident(pid):
    """Bytes of memory of a process that no other process shares with it."""
    try:
        _, pages, shared = map(int, Path(f"/proc/{pid}/statm").read_text().split()[:3])
    except OSError:
        return 0
    return (pages - shared) * PAGE


@dataclass
class Polls:
    """
    A visitor who asks for a page twenty times a second, for a minute at most::

        with Polls(host, "Release 2") as polls:
            ...
        polls.failed, polls.seen
    """

    host: object
    text: str
    interval: float = 0.05
    longest: float = 60
    asked: int = 0
    failed: int = 0
    seen: float | None = None
    last: str = ""
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self):
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def wait(self):
        """Wait until the text was seen, and half a second more."""
        while self.seen is None and self._thread.is_alive():
            time.sleep(0.02)
        time.sleep(0.5)

    def _run(self):
        due = began = time.monotonic()
        while not self._stop.is_set() and due - began < self.longest:
            self._ask()
            due = max(due + self.interval, time.monotonic())
            time.sleep(max(0, due - time.monotonic()))

    def _ask(self):
        self.asked += 1
        try:
            answer = self.host.get("/", timeout=5)
            self.last, well = answer.text, answer.status == 200
        except (OSError, http.client.HTTPException) as error:
            self.last, well = str(error), False
        self.failed += not well
        if well and self.seen is None and self.text in self.last:
            self.seen = time.time()
