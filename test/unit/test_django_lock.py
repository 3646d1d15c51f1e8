"""One run at a time works on a project."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import django_lock
import pytest

UTILS = Path(django_lock.__file__).parent
CHILD = (
    "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import django_lock as lock;"
    "lock.FOLDER = pathlib.Path(sys.argv[2]); lock.hold('shop', timeout=0);"
    "print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(django_lock, "FOLDER", tmp_path)
    monkeypatch.setattr(django_lock, "_held", {})
    return tmp_path


def another(folder):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(UTILS), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_same_process_holds_it_as_often_as_it_likes(folder):
    django_lock.hold("shop", timeout=0)
    django_lock.hold("shop", timeout=0)
    path = folder / "django-formula-shop.lock"
    assert path.read_text() == str(os.getpid())


def test_salt_loading_the_execution_module_anew_does_not_lock_itself_out(folder):
    django_lock.hold("shop", timeout=0)
    again = importlib.import_module("django_lock")
    again.hold("shop", timeout=0)
    assert len(django_lock._held) == 1


def test_another_process_is_named(folder, monkeypatch):
    """At once, and once: an operator who waits has to know for what."""
    said = []
    monkeypatch.setattr(django_lock.log, "warning", lambda text, *words: said.append(text % words))
    holder = another(folder)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(django_lock.LockedError, match=f"process {holder.pid}"):
            django_lock.hold("shop", timeout=0.6)
        assert said == [f"Another run (process {holder.pid}) works on shop; waiting for it"]
        django_lock.hold("blog", timeout=0)
    finally:
        holder.kill()
        holder.communicate()


def test_a_killed_process_leaves_no_lock(folder):
    holder = another(folder)
    assert holder.stdout.readline() == "held\n"
    holder.kill()
    holder.communicate()
    django_lock.hold("shop", timeout=0)
    assert len(django_lock._held) == 1
