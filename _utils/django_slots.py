"""
The slots of a project in Apache as a process manager: see :mod:`django_mod_wsgi`. Apache itself is
a service of the host and is neither started nor stopped here; its daemon processes are told to end,
and Apache starts others in their place, which run what the slot's folder says by then.
"""

import contextlib
import json
import os
import pathlib
import pwd
import signal
import time

import django_layout
import django_mod_wsgi
import django_process
import django_running
from django_deployment import StepError

EXCHANGE_SECONDS = 30  # for Apache to start others in the place of processes that ended
LOAD_SECONDS = 60  # that a process may take to load before it counts as one of another time
DISMISS_SECONDS = 60
QUIET_SECONDS = 1.0  # without a connection until nobody is on the way to a slot any more
POLL_SECONDS = 0.05
ENTRY = django_mod_wsgi.ENTRY


class Manager:
    """
    Starts and stops instances of a project in the slots of Apache; one instance has one program.

    project
        Resolved project.
    """

    kind = "apache"
    test = False

    def __init__(self, project):
        self._name = project["name"]
        self._user = project["user"]
        self._run = pathlib.Path(project["paths"]["run"])
        self._slots = pathlib.Path(project["paths"]["slots"])
        self._live = project["paths"]["slot"]

    # The folders of the slots

    def missing(self):
        """What the folders of the slots lack (list of str)."""
        lacking = []
        for slot in django_mod_wsgi.SLOTS:
            folder = self._slots / slot
            names = [f"{django_mod_wsgi.MARK}{slot}", "venv", "home"]
            lacking += [f"{slot}/{name}" for name in names if not os.path.lexists(folder / name)]
        return lacking

    def make(self):
        """Make the folders of the slots; one that has something to run keeps it."""
        gid = _account(self._user).pw_gid
        idle = self._slots / "idle"
        for folder in (self._slots, *(self._slots / slot for slot in django_mod_wsgi.SLOTS), idle):
            # Apache, which has an account of its own, must see which slot the live link leads to.
            folder.mkdir(mode=0o711, exist_ok=True)
            os.chown(folder, 0, gid)
            os.chmod(folder, 0o711)
        for slot in django_mod_wsgi.SLOTS:
            mark = self._slots / slot / f"{django_mod_wsgi.MARK}{slot}"
            if not mark.exists():
                django_layout.write_atomic(mark, "", 0o644)
            if not self._entry(slot):
                self._empty(slot)

    def slot_of(self, instance):
        """The slot (str) that has an instance, or the one that it would get."""
        having = [slot for slot in django_mod_wsgi.SLOTS if self.instance_in(slot) == instance]
        if having:
            return having[0]
        live = django_layout.target_of(self._live)
        free = [slot for slot in django_mod_wsgi.SLOTS if live != f"slots/{slot}"]
        empty = [slot for slot in free if self.instance_in(slot) is None]
        return (empty or free)[0]

    def instance_in(self, slot):
        """The instance (str) that a slot is to run, or None."""
        return self._entry(slot).get("instance")

    def _entry(self, slot):
        return django_layout.read_json(self._slots / slot / ENTRY)

    def _given(self, slot):
        """When a slot got what it is to run (seconds since the epoch)."""
        with contextlib.suppress(FileNotFoundError):
            return (self._slots / slot / ENTRY).stat().st_mtime
        return 0.0

    def _empty(self, slot):
        folder = self._slots / slot
        (folder / ENTRY).unlink(missing_ok=True)
        django_layout.point(folder / "venv", django_mod_wsgi.IDLE_VENV)
        django_layout.point(folder / "home", "../idle")

    # As other process managers

    def programs(self):
        """The instances in slots: ``{name: {running, state, pid, pids, restarts, leaving}}``."""
        found = {}
        for slot in django_mod_wsgi.SLOTS:
            instance = self.instance_in(slot)
            if instance is None:
                continue
            pids = self._pids(slot)
            late = [pid for pid in pids if not self._mark(instance, pid).exists()]
            # A run that was killed may have left one that was there before its slot got this.
            patience = min(LOAD_SECONDS, time.time() - self._given(slot))
            young = [pid for pid in late if django_running.age(pid) < patience]
            state = "STARTING" if late and late == young else "RUNNING"
            found[django_process.program_name(self._name, "web", instance)] = {
                # One that was not exchanged when its slot got the instance runs something else.
                "running": bool(pids) and late == young and len(late) < len(pids),
                "state": state if pids else "STOPPED",
                "pid": pids[0] if pids else 0,
                "pids": pids,
                "restarts": 0,
                "leaving": False,
            }
        return found

    def differs(self, name, definition):
        """Whether the instance's slot is to run something else than ``definition`` says."""
        instance = self._instance(name)
        slot = self.slot_of(instance)
        return self._entry(slot) != self._wanted(instance, definition)

    def start(self, name, definition):
        """Put an instance into a slot, and exchange the slot's processes by others that run it."""
        instance = self._instance(name)
        slot = self.slot_of(instance)
        for path in self._run.glob(f"web-{instance}.*"):
            path.unlink(missing_ok=True)
        folder = self._slots / slot
        django_layout.point(folder / "venv", definition["mod_wsgi"]["venv"])
        django_layout.point(folder / "home", definition["mod_wsgi"]["directory"])
        text = json.dumps(self._wanted(instance, definition), indent=1, sort_keys=True) + "\n"
        gid = _account(self._user).pw_gid
        django_layout.write_atomic(folder / ENTRY, text, 0o640, 0, gid)
        self._exchange(slot, definition["stopwaitsecs"])

    def stop(self, name, timeout):
        """Let an instance's processes finish their requests, and empty its slot."""
        instance = self._instance(name)
        for slot in django_mod_wsgi.SLOTS:
            if self.instance_in(slot) == instance:
                self._drain(slot, timeout)
                self._empty(slot)
                self._exchange(slot, timeout)
                for path in self._run.glob(f"web-{instance}.*"):
                    path.unlink(missing_ok=True)

    def dismiss(self, name):
        """As :meth:`stop`: requests are short, and the next instance needs the slot."""
        self.stop(name, DISMISS_SECONDS)

    def discard(self, name):
        """Empty the slot of an instance that never served, at once."""
        instance = self._instance(name)
        for slot in django_mod_wsgi.SLOTS:
            if self.instance_in(slot) == instance:
                self._empty(slot)
                self._exchange(slot, 0)

    def failure(self, name):
        """Why an instance does not run (str), or None when it runs or is about to."""
        return django_mod_wsgi.failure(name, self._instance(name), self._run)

    # Processes

    def _instance(self, name):
        return django_process.parse_program(name, self._name)[1]

    def _wanted(self, instance, definition):
        return {**definition["mod_wsgi"], "instance": instance}

    def _mark(self, instance, pid):
        return self._run / f"web-{instance}.{pid}"

    def _pids(self, slot):
        """Numbers of a slot's processes, sorted (list of int)."""
        main, uid = django_mod_wsgi.main_process(), _account(self._user).pw_uid
        if not main:
            return []
        return sorted(
            pid
            for pid, process in django_running.table().items()
            if (process.parent, process.uid) == (main, uid)
            and process.argv
            and process.argv[0].startswith(f"{slot}:")
        )

    def _exchange(self, slot, timeout):
        """End a slot's processes, by force after ``timeout`` seconds, and wait for others."""
        old = self._pids(slot)
        _signal(old, signal.SIGTERM if timeout else signal.SIGKILL)
        deadline = time.monotonic() + timeout
        while True:
            now = self._pids(slot)
            left = set(old) & set(now)
            if not left and len(now) >= len(old):
                break
            if time.monotonic() > deadline + EXCHANGE_SECONDS:
                raise StepError(f"Apache has started no process of {self._name}'s slot {slot}")
            if left and time.monotonic() > deadline:
                _signal(left, signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    def _drain(self, slot, timeout):
        """Wait, up to ``timeout`` seconds, until no request is in a slot and none is on its way."""
        deadline = time.monotonic() + timeout
        quiet = time.monotonic()
        paths = _listening(self._pids(slot))
        while time.monotonic() < min(deadline, quiet + QUIET_SECONDS):
            if _connections(paths):
                quiet = time.monotonic()
            time.sleep(POLL_SECONDS)


def _account(user):
    return pwd.getpwnam(user)


def _signal(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _rows():
    """Unix sockets of this host: ``(state, inode, path)``; state 01 listens."""
    text = pathlib.Path("/proc/net/unix").read_text(encoding="utf-8", errors="replace")
    columns = [line.split(None, 7) for line in text.splitlines()[1:]]
    return [(row[5], row[6], row[7].strip()) for row in columns if len(row) > 7]


def _listening(pids):
    """Paths (set of str) of the Unix sockets that processes listen on."""
    paths = {inode: path for state, inode, path in _rows() if state == "01"}
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for handle in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    inode = os.readlink(handle.path).removeprefix("socket:[").rstrip("]")
                    found |= {paths[inode]} if inode in paths else set()
    return found


def _connections(paths):
    """Number of connections to these Unix sockets, accepted or waiting for it."""
    return sum(1 for state, _, path in _rows() if path in paths and state != "01")
