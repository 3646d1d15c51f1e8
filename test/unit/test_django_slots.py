"""Slots in Apache: which one an instance gets, what counts as running, and how one is emptied."""

import json
import os
import pwd
import signal
import socket

import django_mod_wsgi
import django_running
import django_slots
import pytest
from django_deployment import StepError

FIRST, SECOND = (f"{digit * 12}-{digit * 12}" for digit in "ab")
DEFINITION = {
    "mod_wsgi": {"venv": "/v", "directory": "/d", "module": "shop.wsgi:application"},
    "stopwaitsecs": 5,
}


class Apache:
    """Processes as the kernel tells them: what ends is started again, as Apache does."""

    def __init__(self, uid):
        self.uid, self.number, self.alive, self.young = uid, 100, {}, set()
        self.signals, self.respawns, self.age = [], True, 0
        for slot in "ab":
            self.spawn(slot)
            self.spawn(slot)

    def spawn(self, slot):
        self.number += 1
        self.alive[self.number] = slot
        return self.number

    def table(self):
        found = {1: django_running.Process(0, 0, "/", ("apache2",))}
        for pid, slot in self.alive.items():
            argv = (f"{slot}:shop       -k", "start")
            found[pid] = django_running.Process(1, self.uid, "/", argv)
        found[99] = django_running.Process(1, self.uid + 1, "/", ("a:shopping",))
        return found

    def kill(self, pid, number):
        self.signals.append((pid, number))
        slot = self.alive.pop(pid)
        if self.respawns:
            self.spawn(slot)


@pytest.fixture
def apache(monkeypatch):
    apache = Apache(os.getuid())
    monkeypatch.setattr(django_running, "table", apache.table)
    monkeypatch.setattr(
        django_running, "age", lambda pid: apache.age if pid in apache.young else 999
    )
    monkeypatch.setattr(os, "kill", apache.kill)
    monkeypatch.setattr(django_mod_wsgi, "main_process", lambda: 1)
    monkeypatch.setattr(django_slots, "QUIET_SECONDS", 0.0)
    return apache


@pytest.fixture
def slots(tmp_path, apache):
    account = pwd.getpwuid(os.getuid())
    (tmp_path / "run").mkdir()
    slots = django_slots.Manager(
        {
            "name": "shop",
            "user": account.pw_name,
            "paths": {
                "run": str(tmp_path / "run"),
                "slots": str(tmp_path / "slots"),
                "slot": str(tmp_path / "web.slot"),
            },
        }
    )
    slots.root = tmp_path
    return slots


@pytest.fixture(autouse=True)
def own_files(monkeypatch):
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(os, "fchown", lambda *_, **__: None)


def load(slots, apache, instance):
    """Processes of the instance's slot have loaded it."""
    for pid, slot in apache.alive.items():
        if slot == slots.slot_of(instance):
            (slots.root / f"run/web-{instance}.{pid}").touch()


def test_folders_are_made_once(slots):
    assert len(slots.missing()) == 6
    slots.make()
    assert slots.missing() == []
    assert (slots.root / "slots/a/slot-a").exists() and (slots.root / "slots/b/slot-b").exists()
    assert os.readlink(slots.root / "slots/b/home") == "../idle"


def test_an_instance_goes_where_no_other_serves(slots):
    slots.make()
    assert slots.slot_of(FIRST) == "a"
    slots.start(f"shop.web.{FIRST}", DEFINITION)
    assert slots.slot_of(FIRST) == "a" and slots.slot_of(SECOND) == "b"
    os.symlink("slots/a", slots.root / "web.slot")
    slots.start(f"shop.web.{SECOND}", DEFINITION)
    assert (slots.instance_in("a"), slots.instance_in("b")) == (FIRST, SECOND)
    assert slots.slot_of("c" * 12) == "b", "never the slot that serves"


def test_folders_that_are_mended_keep_what_they_run(slots):
    slots.make()
    slots.start(f"shop.web.{FIRST}", DEFINITION)
    (slots.root / "slots/a/slot-a").unlink()
    slots.make()
    assert slots.missing() == [] and slots.instance_in("a") == FIRST
    assert os.readlink(slots.root / "slots/a/venv") == "/v"


def test_a_start_exchanges_the_processes(slots, apache):
    slots.make()
    before = set(apache.alive)
    slots.start(f"shop.web.{FIRST}", DEFINITION)
    exchanged = {pid for pid, _ in apache.signals}
    assert {number for _, number in apache.signals} == {signal.SIGTERM}
    assert exchanged == {pid for pid in before if pid in (101, 102)}
    told = json.loads((slots.root / "slots/a/entry.json").read_text())
    assert told == {**DEFINITION["mod_wsgi"], "instance": FIRST}
    assert (slots.root / "slots/a/entry.json").stat().st_mode & 0o777 == 0o640


def test_what_runs_is_what_has_loaded_the_instance(slots, apache):
    slots.make()
    name = f"shop.web.{FIRST}"
    assert slots.programs() == {}
    slots.start(name, DEFINITION)
    program = slots.programs()[name]
    assert not program["running"], "processes from before the slot got the instance"
    apache.young = set(program["pids"])
    assert slots.programs()[name]["state"] == "STARTING"
    load(slots, apache, FIRST)
    program = slots.programs()[name]
    assert (program["running"], program["state"]) == (True, "RUNNING")
    fresh = apache.spawn("a")
    assert not slots.programs()[name]["running"], "one that has been there and has not loaded it"
    apache.young.add(fresh)
    assert slots.programs()[name]["running"], "one that Apache has just started"


def test_one_of_before_is_not_taken_for_one_that_loads(slots, apache):
    """A run was killed when it had exchanged one of two processes: the other runs nothing."""
    slots.make()
    name = f"shop.web.{FIRST}"
    slots.start(name, DEFINITION)
    load(slots, apache, FIRST)
    apache.young, apache.age = {apache.spawn("a")}, 30
    assert not slots.programs()[name]["running"], "it is older than what its slot is to run"
    os.utime(slots.root / "slots/a/entry.json", (0, 0))
    assert slots.programs()[name]["running"]


def test_what_differs_is_seen(slots):
    slots.make()
    name = f"shop.web.{FIRST}"
    assert slots.differs(name, DEFINITION)
    slots.start(name, DEFINITION)
    assert not slots.differs(name, DEFINITION)
    other = {**DEFINITION, "mod_wsgi": {**DEFINITION["mod_wsgi"], "module": "shop.other:app"}}
    assert slots.differs(name, other)


def test_failures_are_told(slots, monkeypatch):
    slots.make()
    name = f"shop.web.{FIRST}"
    slots.start(name, DEFINITION)
    assert slots.failure(name) is None
    (slots.root / f"run/web-{FIRST}.failed").touch()
    assert slots.failure(name) == f"{name} does not load"
    slots.start(name, DEFINITION)
    assert slots.failure(name) is None, "a new start is a new chance"
    monkeypatch.setattr(django_mod_wsgi, "main_process", lambda: 0)
    assert slots.failure(name) == "Apache does not run"
    assert not slots.programs()[name]["running"]


@pytest.mark.parametrize("verb, words, number", [("stop", [5], signal.SIGTERM),
                                                 ("discard", [], signal.SIGKILL)])  # fmt: skip
def test_an_instance_that_ends_leaves_its_slot_empty(slots, apache, verb, words, number):
    slots.make()
    slots.start(f"shop.web.{FIRST}", DEFINITION)
    load(slots, apache, FIRST)
    apache.signals.clear()
    getattr(slots, verb)(f"shop.web.{FIRST}", *words)
    assert {sent for _, sent in apache.signals} == {number}
    assert slots.programs() == {} and slots.instance_in("a") is None
    assert os.readlink(slots.root / "slots/a/home") == "../idle"
    assert slots.missing() == []


def test_processes_that_apache_does_not_start_again_are_an_error(slots, apache, monkeypatch):
    slots.make()
    monkeypatch.setattr(django_slots, "EXCHANGE_SECONDS", 0.1)
    apache.respawns = False
    with pytest.raises(StepError, match="has started no process of shop's slot a"):
        slots.start(f"shop.web.{FIRST}", {**DEFINITION, "stopwaitsecs": 0.1})


def test_a_slot_is_drained_until_nobody_is_connected(slots, apache, monkeypatch):
    slots.make()
    slots.start(f"shop.web.{FIRST}", DEFINITION)
    path, busy = "/run/apache2/wsgi.1.u33.1.sock", iter([2, 1, 1])
    asked = []

    def connections(paths):
        asked.append(paths)
        return next(busy, 0)

    monkeypatch.setattr(django_slots, "_listening", lambda pids: {path})
    monkeypatch.setattr(django_slots, "_connections", connections)
    monkeypatch.setattr(django_slots, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(django_slots, "POLL_SECONDS", 0.001)
    slots.stop(f"shop.web.{FIRST}", 60)
    assert asked[0] == {path} and len(asked) >= 4


def test_sockets_of_a_process_are_found(tmp_path):
    path = str(tmp_path / "x.sock")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        assert django_slots._listening([os.getpid()]) == {path}
        assert django_slots._connections({path}) == 0
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            assert django_slots._connections({path}) == 1, "it waits to be accepted"
            accepted, _ = server.accept()
            assert django_slots._connections({path}) == 1
            accepted.close()
