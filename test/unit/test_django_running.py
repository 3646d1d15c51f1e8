"""What the kernel says of processes, asked about our own."""

import os
import subprocess
import sys

import django_running
import pytest
from django_running import Process

TABLE = {
    1: Process(0, 0, "/", ("init",)),
    10: Process(1, 5, "/srv/a/releases/r1/source", ("python", "/srv/a/venvs/v1/bin/gunicorn")),
    11: Process(10, 5, "/srv/a/releases/r1/source", ("python",)),
    12: Process(11, 5, "/srv/a/releases/r2 (deleted)", ("sh",)),
    13: Process(1, 5, "/srv/a/releases/r10", ("sh",)),
}


def test_descendants():
    assert django_running.descendants(TABLE, 10) == {10, 11, 12}
    assert django_running.descendants(TABLE, 13) == {13}
    assert django_running.descendants(TABLE, 99) == set()


@pytest.mark.parametrize(
    "folder, users",
    [
        ("/srv/a/releases/r1", {10, 11}),
        ("/srv/a/releases/r2", {12}),
        ("/srv/a/venvs/v1", {10}),
        ("/srv/a/venvs/v", set()),
    ],
)
def test_users_of_a_folder(folder, users):
    assert django_running.users_of(TABLE, folder) == users


def test_a_live_process(tmp_path):
    argv = [sys.executable, "-c", "input()", "a word"]
    environment = {"PATH": "/opt/a/bin:/bin"}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=tmp_path, env=environment) as process:
        found = django_running.table()[process.pid]
        assert found == Process(os.getpid(), os.geteuid(), str(tmp_path), tuple(argv))
        assert django_running.search_path(process.pid) == ["/opt/a/bin", "/bin"]
        process.communicate(b"\n")
    assert django_running.search_path(process.pid) == []


def noted(*notes):
    """What is told of a note that says other things each time it is read."""
    left = list(notes)
    return django_running.noted(
        lambda: left.pop(0) if left[1:] else left[0], lambda argv: "-m" in argv
    )


def test_note_of_a_process_that_is_at_it(monkeypatch):
    process = Process(1, 0, "/", ("python3", "-m", "pull"))
    monkeypatch.setattr(django_running, "table", lambda: {7: process})
    assert noted({"pid": 7}) == ({"pid": 7}, True)


@pytest.mark.parametrize(
    "notes",
    [
        [{}],
        [{"pid": 8}],
        [{"pid": 10}],  # the number is another program's by now
        [{"pid": 8, "ended": "02:41"}],
        [{"pid": 8}, {"pid": 8, "ended": "02:41"}],  # it ended while it was looked for
        [{"pid": 8}, {"pid": 9}, {"pid": 9, "ended": "02:51"}],  # and so did the next one
    ],
)
def test_note_of_a_process_that_is_gone(monkeypatch, notes):
    monkeypatch.setattr(django_running, "table", lambda: TABLE)
    assert noted(*notes) == (notes[-1], False)


def test_note_of_a_process_that_began_meanwhile(monkeypatch):
    process = Process(1, 0, "/", ("python3", "-m", "pull"))
    monkeypatch.setattr(django_running, "table", lambda: {7: process})
    assert noted({"pid": 8}, {"pid": 7}) == ({"pid": 7}, True)


def test_only_the_user_s_processes_of_a_folder_are_ended(tmp_path):
    inside, outside = tmp_path / "r1", tmp_path / "r10"
    inside.mkdir(), outside.mkdir()
    one, other = (subprocess.Popen(["sleep", "60"], cwd=folder) for folder in (inside, outside))
    try:
        django_running.end_users_of(inside, os.geteuid() + 1)
        assert one.poll() is None
        django_running.end_users_of(inside, os.geteuid())
        assert one.wait(10) == -9
        assert other.poll() is None
    finally:
        one.kill(), other.kill()
        other.wait()
