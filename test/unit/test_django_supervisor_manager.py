"""Programs of a project in supervisord: what is ended, ends with all that it has started."""

import os
import signal
import subprocess
import time

import django_running
import pytest
from django_deployment import StepError
from django_supervisor_manager import Manager
from salt.exceptions import CommandExecutionError


class Supervisord:
    """Stands in for the execution module: one program, which its process group leads."""

    def __init__(self, process):
        self.process, self.forgotten, self.dismissed = process, [], []

    def __getitem__(self, name):
        return {
            "supervisord.processes": self.processes,
            "supervisord.path": lambda name: "/none",
            "supervisord.dismiss": self.dismissed.append,
            "supervisord.undefine": self.undefine,
        }[name]

    def undefine(self, name, timeout):
        self.forgotten.append(name)

    def processes(self):
        return {"shop.web.a": {"statename": "STOPPING", "pid": self.process.pid, "spawnerr": ""}}


@pytest.fixture
def process():
    """A program that has started another, which does not end by itself when the first is gone."""
    argv = ["sh", "-c", "sleep 60 & wait"]
    with subprocess.Popen(argv, start_new_session=True) as started:
        end = time.monotonic() + 20
        while len(family(started)) < 2 and time.monotonic() < end:
            time.sleep(0.02)
        yield started


def family(process):
    return django_running.descendants(django_running.table(), process.pid)


def test_what_is_discarded_leaves_nobody_behind(process):
    there = family(process)
    assert len(there) == 2
    supervisord = Supervisord(process)
    Manager("shop", supervisord).discard("shop.web.a")
    process.wait(20)
    end = time.monotonic() + 20
    while there & set(django_running.table()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not there & set(django_running.table())
    assert supervisord.forgotten == ["shop.web.a"]


def test_what_is_stopped_leaves_nobody_behind(process):
    """Its children would keep its release in use for ever; systemd ends them, too."""
    there = family(process)
    supervisord = Supervisord(process)

    def undefine(name, timeout):
        process.terminate()
        process.wait(20)
        supervisord.forgotten.append(name)

    supervisord.undefine = undefine
    Manager("shop", supervisord).stop("shop.web.a", 1)
    end = time.monotonic() + 20
    while there & set(django_running.table()) and time.monotonic() < end:
        time.sleep(0.02)
    assert not there & set(django_running.table())
    assert supervisord.forgotten == ["shop.web.a"]


def test_what_has_ended_is_forgotten(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    supervisord = Supervisord(process)
    Manager("shop", supervisord).discard("shop.web.a")
    assert supervisord.forgotten == ["shop.web.a"]


class Gone:
    """The execution module while supervisord is away."""

    def __getitem__(self, name):
        def fail(*_, **__):
            raise CommandExecutionError("supervisord does not answer")

        return fail


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("programs", []),
        ("differs", ["shop.web.a", {}]),
        ("start", ["shop.web.a", {"startsecs": 1}]),
        ("stop", ["shop.web.a", 1]),
        ("dismiss", ["shop.web.a"]),
    ],
)
def test_supervisord_that_is_away_fails_the_step(function, arguments):
    """As a failure of the step, after which what serves gets its files back."""
    with pytest.raises(StepError, match="supervisord does not answer"):
        getattr(Manager("shop", Gone()), function)(*arguments)


def test_supervisord_that_a_run_starts_is_away_before_it():
    manager = Manager("shop", Gone())
    manager.test = True
    assert manager.programs() == {}


@pytest.mark.parametrize(
    ("test", "down", "differing", "expected"),
    [
        (True, True, {"configuration": "loaded"}, True),
        (True, True, {"configuration": "loaded", "command": {"old": "a", "new": "b"}}, False),
        (True, False, {"configuration": "loaded"}, False),
        (False, True, {"configuration": "loaded"}, False),
    ],
)
def test_program_comes_back_with_supervisord_as_it_is_defined(test, down, differing, expected):
    answers = {"overview": {"down": down}, "differs": differing}
    functions = {f"supervisord.{name}": lambda *_, a=a: a for name, a in answers.items()}
    manager = Manager("shop", functions)
    manager.test = test
    assert manager.comes_back("shop.web.a", {}) == expected


def test_nothing_comes_back_without_supervisord():
    manager = Manager("shop", Gone())
    manager.test = True
    assert not manager.comes_back("shop.web.a", {})
