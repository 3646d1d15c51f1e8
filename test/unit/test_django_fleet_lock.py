"""One deploy at a time; a lock ends with its process, an operator's does not."""

import subprocess
import sys

import django_fleet_lock
import pytest
from pillars import ROOT

HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
import django_fleet_lock
with django_fleet_lock.Locks(sys.argv[2]).held("shop", "alice", "new checkout") as note:
    note.write(["web1"])
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def locks(tmp_path):
    return django_fleet_lock.Locks(tmp_path / "locks")


@pytest.fixture
def other(tmp_path, locks):
    """Another process that holds the lock of shop."""
    argv = [sys.executable, "-c", HOLD, str(ROOT / "_utils"), str(tmp_path / "locks")]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_second_deploy_is_told_who_is_at_work(locks, other):
    with pytest.raises(django_fleet_lock.LockedError) as refused, locks.held("shop", "bob", ""):
        pass
    assert f"by alice (process {other.pid}) since 2" in str(refused.value)
    assert "new checkout" in str(refused.value)
    (told,) = locks.status()
    assert (told["project"], told["kind"], told["owner"]) == ("shop", "at work", "alice")


def test_other_projects_are_free(locks, other):
    with locks.held("blog", "bob", ""):
        assert [entry["project"] for entry in locks.status()] == ["blog", "shop"]


def test_lock_ends_with_a_killed_process_and_tells_what_it_left(locks, other):
    other.kill()
    other.wait()
    assert locks.status() == []
    with locks.held("shop", "bob", "") as note:
        assert note.drained == ["web1"]
        assert locks.status()[0]["owner"] == "bob"
        note.write([])
    with locks.held("shop", "bob", "") as note:
        assert note.drained == []


def test_lock_ends_with_a_failure(locks):
    with pytest.raises(ValueError), locks.held("shop", "bob", ""):
        raise ValueError
    assert locks.status() == []


def test_operator_keeps_deploys_out(locks):
    locks.lock("shop", "carol", "sale until Monday")
    with pytest.raises(django_fleet_lock.LockedError) as refused, locks.held("shop", "bob", ""):
        pass
    assert "by carol since 2" in str(refused.value) and "sale until Monday" in str(refused.value)
    with pytest.raises(django_fleet_lock.LockedError, match="locked already by carol"):
        locks.lock("shop", "bob", "")
    assert [(entry["project"], entry["kind"]) for entry in locks.status()] == [("shop", "locked")]
    assert locks.unlock("shop")["owner"] == "carol"
    assert locks.unlock("shop") is None
    with locks.held("shop", "bob", ""):
        pass
