"""Processes that run something else than they should are told."""

import json
import types

import django_hold
import django_running
import django_step_verify
import pytest
from django_deployment import StepError
from django_layout import Layout
from django_running import Process

NAMES = "root releases venvs instances shared static media current run log cache"
LINKS = "socket uwsgi_socket slot embedded"
INSTANCE = "aaaaaaaaaaaa-bbbbbbbbbbbb"
PROGRAM = f"shop.web.{INSTANCE}"


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A project whose web process is number 10 of a table that tests may change."""
    layout = Layout({name: str(tmp_path / name) for name in f"{NAMES} {LINKS}".split()})
    layout.instance(INSTANCE).mkdir(parents=True)
    venv = str(layout.venvs / "v1")
    layout.save_instance_record(INSTANCE, release="aaaaaaaaaaaa", venv=venv)
    source = str(layout.release("aaaaaaaaaaaa") / "source")
    made = types.SimpleNamespace(
        name="shop",
        static_only=False,
        layout=layout,
        project={"timers": {"purge": {"schedule": "daily"}}},
        target=INSTANCE,
        hold=None,
        test=False,
        manager=types.SimpleNamespace(programs=lambda: {PROGRAM: {"pid": 10}}),
        definitions_of=lambda instance: {"web": {"directory": source}},
        path=[f"{venv}/bin", "/bin"],
        table={
            10: Process(1, 5, source, (f"{venv}/bin/python", f"{venv}/bin/gunicorn")),
            11: Process(10, 5, source, (f"{venv}/bin/python",)),
        },
    )
    monkeypatch.setattr(django_running, "table", lambda: made.table)
    monkeypatch.setattr(django_running, "search_path", lambda pid: made.path)
    return made


def test_all_as_it_should_be(deployment):
    assert django_step_verify.verify(deployment).changes == {}


def of_another_release(made):
    directory = str(made.layout.release("cccccccccccc") / "source")
    made.table[10] = made.table[10]._replace(directory=directory)


def of_another_environment(made):
    made.path = [str(made.layout.venvs / "v2" / "bin")]


def without_folder(made):
    made.table[11] = made.table[11]._replace(directory=f"{made.table[11].directory} (deleted)")


def dead(made):
    made.table = {}


@pytest.mark.parametrize(
    "damage, told",
    [
        (of_another_release, r"(?m)process 10\) uses .*/releases/cccccccccccc$"),
        (of_another_environment, r"(?m)process 10\) uses .*/venvs/v2$"),
        (without_folder, r"process 11 of .* which is gone"),
        (dead, "does not run"),
    ],
)
def test_what_runs_something_else_is_told(deployment, damage, told):
    damage(deployment)
    with pytest.raises(StepError, match=told):
        django_step_verify.verify(deployment)


def test_a_timer_that_failed_is_named(deployment):
    assert django_step_verify.verify(deployment).warnings == ()
    deployment.layout.log.mkdir()
    at = "2026-02-01T03:04:05+0000"
    run = {"started": at, "ended": at, "exit_status": 3, "result": "failed with exit status 3"}
    (deployment.layout.log / "timer-purge.last").write_text(json.dumps(run))
    (warning,) = django_step_verify.verify(deployment).warnings
    assert f"Timer purge failed with exit status 3 at {at}" in warning


def test_a_failed_release_is_told_every_time(deployment):
    deployment.hold = {
        "kind": django_hold.FAILED,
        "release": "dddddddddddd",
        "instance": INSTANCE,
        "step": "check",
        "reason": "no cheese",
        "time": "now",
    }
    with pytest.raises(StepError, match="no cheese"):
        django_step_verify.verify(deployment)
    deployment.hold.update(kind=django_hold.ROLLED_BACK, by="ada")
    (warning,) = django_step_verify.verify(deployment).warnings
    assert "by ada" in warning
