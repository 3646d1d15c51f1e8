"""A project's programs in a real supervisord."""

import functools
import pathlib
import time

import django_running
import pytest
from django_supervisor_manager import Manager
from supervisors import STUBBORN

NAME = "shop.web.a"
LONG = 600  # seconds that the program may take to end by itself; nobody is to wait for that


class Slow:
    """The execution modules of a host where supervisord notices an end before it is asked again."""

    def __init__(self, supervisord):
        self._supervisord = supervisord

    def __getitem__(self, name):
        function = name.removeprefix("supervisord.")
        return self.undefine if function == "undefine" else self.usual(function)

    def usual(self, function):
        return functools.partial(self._supervisord.call, function)

    def undefine(self, name, timeout):
        before = self._supervisord.pids().get(name)
        deadline = time.monotonic() + 20
        while before and self._supervisord.pids()[name] == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.usual("undefine")(name, timeout=timeout)


@pytest.fixture
def manager(supervisord):
    """The manager of a project, on the supervisord of these tests."""
    return Manager("shop", Slow(supervisord))


def test_what_is_discarded_does_not_come_back(manager, supervisord):
    definition = {"command": STUBBORN, "autorestart": True, "startsecs": 1, "stopwaitsecs": LONG}
    manager.start(NAME, definition)
    pid = manager.programs()[NAME]["pid"]
    started = time.monotonic()
    manager.discard(NAME)
    assert time.monotonic() - started < 30
    assert manager.programs() == {}
    assert not pathlib.Path(supervisord.call("path", NAME)).exists()
    assert pid not in django_running.table()


def test_what_is_not_there_is_discarded(manager):
    manager.discard(NAME)
    assert manager.programs() == {}
