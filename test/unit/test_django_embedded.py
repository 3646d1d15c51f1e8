"""Apache's own processes: what is told to Apache, what counts as running, the private one."""

import json
import os
import pwd
import signal
import socket

import django_embedded
import django_mod_wsgi
import django_running
import django_service
import pytest
from django_deployment import StepError

FIRST, SECOND = "a" * 12 + "-" + "b" * 12, "c" * 12 + "-" + "d" * 12
NAME = f"shop.web.{FIRST}"
DEFINITION = {"embedded": {"module": "shop.wsgi:application", "venv": "/v"}, "stopwaitsecs": 5}


class Apache:
    """Processes of Apache, exchanged by a reload; those that begin load what is configured."""

    def __init__(self, root):
        self.root, self.children, self.loads, self.reloads = root, {11, 12}, True, 0
        self.busy = set()

    def table(self):
        uid = pwd.getpwnam("www-data").pw_uid
        found = {pid: django_running.Process(10, uid, "/", ("apache2",)) for pid in self.children}
        found[99] = django_running.Process(10, uid + 1, "/", ("a:blog",))
        return found

    def reload(self, name, verb):
        assert (name, verb) == ("apache2", "reload")
        self.reloads += 1
        first = max(self.children) + 1
        self.children = {first, first + 1} | self.busy
        told = django_embedded.CONFIGURATION
        if self.loads and told.exists():
            instance = told.read_text().partition("instances/")[2].partition("/")[0]
            for pid in (first, first + 1):
                (self.root / f"run/web-{instance}.{pid}").touch()


@pytest.fixture
def apache(tmp_path, monkeypatch):
    apache = Apache(tmp_path)
    for folder in ("run", f"instances/{FIRST}", f"instances/{SECOND}"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(django_running, "table", apache.table)
    monkeypatch.setattr(django_service, "act", apache.reload)
    monkeypatch.setattr(django_mod_wsgi, "main_process", lambda: 10)
    monkeypatch.setattr(django_embedded, "CONFIGURATION", tmp_path / "embedded.conf")
    monkeypatch.setattr(django_embedded, "PRIVATE", tmp_path / "private")
    for name in ("RESTART_SECONDS", "LEAVE_SECONDS", "START_SECONDS", "STOP_SECONDS"):
        monkeypatch.setattr(django_embedded, name, 0.2)
    monkeypatch.setattr(os, "fchown", lambda *_: None)
    return apache


@pytest.fixture
def manager(tmp_path, apache):
    return django_embedded.Manager(
        {
            "name": "shop",
            "user": "www-data",
            "group": "www-data",
            "health": {"host": "shop.test", "scheme": "https"},
            "paths": {"run": str(tmp_path / "run"), "instances": str(tmp_path / "instances")},
        }
    )


@pytest.fixture
def started(manager, monkeypatch, tmp_path):
    """The instance FIRST in a private Apache, whose process is one of this test's."""
    ran, alive = [], set()

    def run(argv, **_):
        ran.append(argv)
        alive.add(4321)

    monkeypatch.setattr(django_embedded, "run", run)
    monkeypatch.setattr(manager, "_private_pid", lambda: next(iter(alive), 0))

    def kill(pid, number):
        manager.signals.append((pid, number))
        alive.discard(pid)

    manager.signals = []
    monkeypatch.setattr(os, "kill", kill)
    manager.start(NAME, DEFINITION)
    manager.alive, manager.ran = alive, ran
    return manager


def test_what_apache_is_told(tmp_path):
    assert django_embedded.configuration("shop", "/srv/i").splitlines()[1:] == [
        'WSGIPythonHome "/srv/i/python"',
        "WSGIRestrictEmbedded Off",
        "Define django-embedded-shop",
    ]


def test_a_start_is_one_in_a_private_apache(started, apache, tmp_path):
    assert started.ran == [
        ["/usr/sbin/apache2", "-f", f"{tmp_path}/private/shop/apache2.conf", "-k", "start"]
    ]
    folder = tmp_path / "instances" / FIRST
    assert os.readlink(folder / "python") == "/v"
    told = json.loads((folder / "entry.json").read_text())
    assert told == {**DEFINITION["embedded"], "instance": FIRST}
    lines = (tmp_path / "private/shop/apache2.conf").read_text().splitlines()
    port = started.port_of(FIRST)
    assert f"Listen 127.0.0.1:{port}" in lines and started.port_of(SECOND) is None
    assert f'WSGIPythonHome "{folder}/python"' in lines
    assert 'SetEnvIfExpr "true" HTTPS=on' in lines
    assert "User www-data" in lines
    assert apache.reloads == 0 and started.configured() is None
    assert started.differs(NAME, DEFINITION), "it does not serve yet"


def test_activation_is_a_graceful_restart_and_ends_the_private_one(started, apache):
    started.activate(NAME)
    assert apache.reloads == 1 and started.configured() == FIRST
    assert started.signals[-1] == (4321, signal.SIGTERM) and not started.alive
    program = started.programs()[NAME]
    assert (program["running"], program["leaving"], program["pids"]) == (True, False, [13, 14])
    assert not started.differs(NAME, DEFINITION)
    started.activate(NAME)
    assert apache.reloads == 1, "nothing to do"


def test_old_processes_that_work_on_are_seen_as_leaving(started, apache):
    started.activate(NAME)
    apache.busy = {13}
    started.start(f"shop.web.{SECOND}", DEFINITION)
    started.activate(f"shop.web.{SECOND}")
    programs = started.programs()
    assert programs[NAME]["leaving"] and programs[NAME]["pids"] == [13]
    assert not programs[f"shop.web.{SECOND}"]["leaving"]


def test_what_apache_does_not_load_is_an_error(started, apache):
    apache.loads = False
    with pytest.raises(StepError, match="has not loaded instance"):
        started.activate(NAME)
    assert not started.programs()[NAME]["running"], "the next run tries again"


def test_a_configuration_that_apache_refuses_is_taken_back(started, monkeypatch):
    started.activate(NAME)
    before = django_embedded.CONFIGURATION.read_text()

    def refuse(name, verb):
        raise django_service.ServiceError("syntax error")

    monkeypatch.setattr(django_service, "act", refuse)
    with pytest.raises(StepError, match="Apache was not restarted: syntax error"):
        started.activate(f"shop.web.{SECOND}")
    assert django_embedded.CONFIGURATION.read_text() == before


def test_one_that_never_served_ends_with_its_private_apache(started, apache):
    assert set(started.programs()) == {NAME}, "a run that was killed leaves it behind"
    started.discard(NAME)
    assert not started.alive and started.programs() == {} and apache.reloads == 0


def test_a_stop_leaves_apache_without_a_project(started, apache):
    started.activate(NAME)
    started.stop(NAME, 5)
    assert started.configured() is None and started.programs() == {} and apache.reloads == 2


def test_failures_are_told(started, monkeypatch, tmp_path):
    assert started.failure(NAME) is None
    (tmp_path / f"run/web-{FIRST}.failed").touch()
    assert started.failure(NAME) == f"{NAME} does not load"
    monkeypatch.setattr(django_mod_wsgi, "main_process", lambda: 0)
    assert started.failure(NAME) == "Apache does not run"


def test_a_private_apache_that_does_not_run_is_an_error(started, monkeypatch):
    started.alive.clear()
    monkeypatch.setattr(django_embedded, "run", lambda *_, **__: None)
    with pytest.raises(StepError, match="private Apache does not run"):
        started.start(NAME, DEFINITION)


def test_another_process_of_that_number_is_not_the_private_one(manager, tmp_path):
    (tmp_path / "private/shop").mkdir(parents=True)
    (tmp_path / "private/shop/pid").write_text(str(os.getpid()))
    assert manager._private_pid() == 0


def test_a_port_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", django_embedded._free_port()))
