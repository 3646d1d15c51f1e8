"""The formula's own programs: launcher, timers' runner, django-manage, Gunicorn's hook."""

import asyncio
import fcntl
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import types

import django_timers
import pytest
from pillars import ROOT

FILES = ROOT / "salt/django/host/files/usr/local"
LAUNCHER = FILES / "lib/django-formula/with-environment"
ODD = 'spaces  and 100% of $HOME, \'single\' "double" `x` \\ and {"json": [1]}\nsecond line'


def moved(tmp_path, name, **places):
    """A copy of a program that finds its places below ``tmp_path``."""
    launcher = tmp_path / LAUNCHER.name
    launcher.write_text(LAUNCHER.read_text())
    launcher.chmod(0o755)
    text = (FILES / name).read_text()
    for old, new in {"/usr/local/lib/django-formula": tmp_path, **places}.items():
        text = text.replace(old, str(new))
    copy = tmp_path / name.rpartition("/")[2]
    copy.write_text(text)
    copy.chmod(0o755)
    return copy


def call(*argv, **more):
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, **more)


# The launcher


def shown(tmp_path, *argv, file=None, **inherited):
    """The environment (dict) that the launcher gives a command."""
    if file is None:
        file = tmp_path / "environment"
        file.write_text("PATH=/usr/bin:/bin\n")
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    argv = argv or (sys.executable, "-c", code)
    done = call("sh", LAUNCHER, file, *argv, env={**os.environ, **inherited})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_values_come_through_unchanged(tmp_path):
    from django_environment import shell_file

    file = tmp_path / "environment"
    file.write_text(shell_file({"ODD": ODD, "EMPTY": "", "PATH": "/usr/bin:/bin"}))
    found = shown(tmp_path, file=file)
    assert (found["ODD"], found["EMPTY"]) == (ODD, "")


def test_nothing_of_the_caller_comes_through_but_the_terminal(tmp_path):
    found = shown(tmp_path, LEAK="x", TERM="xterm", HOME="/root")
    assert "LEAK" not in found and "HOME" not in found
    assert found["TERM"] == "xterm"


def test_arguments_and_exit_status_are_kept(tmp_path):
    file = tmp_path / "environment"
    file.write_text("PATH=/usr/bin:/bin\n")
    done = call("sh", LAUNCHER, file, "printf", "%s|", "a b", "*", "$HOME", ODD)
    assert done.stdout == f"a b|*|$HOME|{ODD}|"
    assert call("sh", LAUNCHER, file, "sh", "-c", "exit 7").returncode == 7


def test_the_command_takes_the_place_of_the_launcher(tmp_path):
    """A process manager signals the process that it started."""
    file = tmp_path / "environment"
    file.write_text("PATH=/usr/bin:/bin\n")
    argv = ["sh", str(LAUNCHER), str(file), "sh", "-c", "echo $$"]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert int(process.communicate()[0]) == process.pid


def test_a_missing_environment_is_told(tmp_path):
    done = call("sh", LAUNCHER, tmp_path / "none", "true")
    assert (done.returncode, done.stdout) == (66, "")
    assert "cannot read" in done.stderr
    assert call("sh", LAUNCHER).returncode == 64


# Timers


@pytest.fixture
def timer(tmp_path):
    """Function that runs a timer's command; with ``log`` (Path) and ``lock``."""
    for name in ("log", "run"):
        (tmp_path / name / "shop").mkdir(parents=True)
    program = moved(
        tmp_path,
        "lib/django-formula/run-timer",
        **{"/var/log/django": tmp_path / "log", "/run/django": tmp_path / "run"},
    )
    environment = tmp_path / "environment"
    environment.write_text("PATH=/usr/bin:/bin\nWORD='from the file'\n")

    def run(*command, seconds=5, directory=tmp_path, start=False):
        words = [program, "shop", "tidy", seconds, environment, directory, *command]
        if not start:
            return call(*words)
        return subprocess.Popen([str(word) for word in words], start_new_session=True)

    run.log = tmp_path / "log/shop/timer-tidy.log"
    run.lock = tmp_path / "run/shop/timer-tidy.lock"
    run.last = lambda: django_timers.last_runs({"tidy": {"schedule": "daily"}}, run.log.parent)[
        "tidy"
    ]
    return run


def test_a_timer_logs_what_its_command_says(timer, tmp_path):
    done = timer("sh", "-c", 'echo "$WORD" in "$(pwd)"; echo oops >&2')
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    lines = timer.log.read_text().splitlines()
    assert lines[0].endswith("tidy: starts") and lines[-1].endswith("tidy: done")
    assert lines[1:3] == [f"from the file in {tmp_path}", "oops"]


def test_a_timer_that_fails_says_so(timer):
    assert timer("sh", "-c", "exit 3").returncode == 3
    assert "tidy: failed with exit status 3" in timer.log.read_text()
    last = timer.last()
    assert (last["result"], last["exit_status"]) == ("failed with exit status 3", 3)
    assert last["failed"] and last["started"] <= last["ended"]


def test_a_timer_that_does_well_again_is_forgiven(timer):
    assert (timer.last()["result"], timer.last()["failed"]) == ("has not run yet", False)
    timer("sh", "-c", "exit 3")
    timer("true")
    last = timer.last()
    assert (last["result"], last["exit_status"], last["failed"]) == ("done", 0, False)


def test_a_timer_is_seen_while_it_runs_and_when_it_was_killed(timer):
    process = timer("sleep", "30", seconds=60, start=True)
    end = time.monotonic() + 20
    while timer.last()["result"] != "runs" and time.monotonic() < end:
        time.sleep(0.05)
    assert timer.last()["result"] == "runs"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    last = timer.last()
    assert (last["result"], last["failed"]) == ("was broken off", True)
    assert "ended" not in last


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "null", '{"started": "<b>", "pid": 1}', "x" * 9999]
)
def test_a_timer_s_note_is_not_taken_for_granted(timer, text):
    """The project may write there what it likes."""
    note = timer.log.with_name("timer-tidy.last")
    note.write_text(text)
    assert timer.last()["result"] == "has not run yet"
    note.unlink()
    note.symlink_to("/etc/passwd")
    assert timer.last()["result"] == "has not run yet"
    note.unlink()
    os.mkfifo(note)
    assert timer.last()["result"] == "has not run yet"


def test_a_timer_has_a_time_limit(timer):
    assert timer("sleep", "30", seconds=1).returncode == 124
    assert "tidy: was stopped after 1 seconds" in timer.log.read_text()
    assert timer.last()["result"] == "was stopped after 1 seconds"


def test_a_timer_that_still_runs_is_not_started_again(timer):
    with open(timer.lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert timer("sh", "-c", "echo twice").returncode == 0
    text = timer.log.read_text()
    assert "skipped, it still runs" in text and "twice" not in text
    assert timer.last()["result"] == "has not run yet", "what was skipped is no run"


def test_a_child_does_not_keep_the_lock(timer):
    assert timer("sh", "-c", "sleep 20 >/dev/null 2>&1 &").returncode == 0
    with open(timer.lock) as free:
        fcntl.flock(free, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_without_a_release_a_timer_does_nothing(timer, tmp_path):
    assert timer("true", directory=tmp_path / "none").returncode == 69
    assert "has no live release" in timer.log.read_text()


# django-manage


@pytest.fixture
def manage(tmp_path):
    """Function that calls django-manage on a host with the projects ``shop`` and ``blog``."""
    import pwd

    program = moved(tmp_path, "bin/django-manage", **{"/etc/django": tmp_path / "etc"})
    environment = tmp_path / "environment"
    environment.write_text("PATH=/usr/bin:/bin\nWORD='from the file'\n")
    for name in ("shop", "blog"):
        (tmp_path / "etc" / name).mkdir(parents=True)
        (tmp_path / "etc" / name / "manage").write_text(
            f"user={pwd.getpwuid(os.geteuid()).pw_name}\n"
            f"directory={tmp_path}\n"
            f"environment={environment if name == 'shop' else tmp_path / 'none'}\n"
            'set -- sh -c \'echo "$WORD" in "$(pwd)"; printf "<%s>" "$@"\' manage.py "$@"\n'
        )
    return lambda *words: call(program, *words)


def test_django_manage_runs_the_command(manage, tmp_path):
    done = manage("shop", "shell", "-c", "print('a b')")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"from the file in {tmp_path}\n<shell><-c><print('a b')>"


@pytest.mark.parametrize("name", ["shops", "../shop", "", "*"])
def test_django_manage_knows_its_projects(manage, name):
    done = manage(name, "check")
    assert done.returncode == 64
    assert "blog shop" in done.stderr + done.stdout


def test_django_manage_without_a_release(manage):
    done = manage("blog", "check")
    assert done.returncode in (66, 69)
    assert "release" in done.stderr or "cannot read" in done.stderr


# Gunicorn


@pytest.fixture
def workers(monkeypatch):
    """Stand-ins for Gunicorn's worker classes; the hook asks what a worker is."""
    kinds = {}
    for module, name in (
        ("base_async", "AsyncWorker"),
        ("gthread", "ThreadWorker"),
        ("sync", "SyncWorker"),
    ):
        kinds[module] = type(name, (), {})
        stand_in = types.ModuleType(f"gunicorn.workers.{module}")
        setattr(stand_in, name, kinds[module])
        monkeypatch.setitem(sys.modules, f"gunicorn.workers.{module}", stand_in)
    for package in ("gunicorn", "gunicorn.workers"):
        monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    return kinds


def initialised(worker, application):
    worker.wsgi = application
    hooks = runpy.run_path(str(ROOT / "salt/django/app/files/gunicorn.conf.py"))
    hooks["post_worker_init"](worker)
    return worker.wsgi


@pytest.mark.parametrize("kind", ["base_async", "gthread", "sync"])
def test_wsgi_applications_see_the_client(workers, kind):
    wsgi = initialised(workers[kind](), lambda environ, start: environ["REMOTE_ADDR"])
    assert wsgi({"REMOTE_ADDR": "", "HTTP_X_REAL_IP": "192.0.2.7"}, None) == "192.0.2.7"
    assert wsgi({"HTTP_X_REAL_IP": "192.0.2.7"}, None) == "192.0.2.7"
    assert wsgi({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_REAL_IP": "192.0.2.7"}, None) == "10.0.0.1"
    assert wsgi({"REMOTE_ADDR": ""}, None) == ""


def test_asgi_applications_are_left_alone(workers):
    async def application(scope, receive, send):
        """Nothing."""

    assert initialised(types.SimpleNamespace(), application) is application


@pytest.fixture
def uvicorn(monkeypatch):
    """Stand-ins for what the hook knows of Uvicorn."""

    class Protocol:
        def __init__(self):
            self.transport, self.told = types.SimpleNamespace(is_closing=lambda: False), 0

        def shutdown(self):
            self.told += 1

    made = types.ModuleType("uvicorn")
    made.Config = type("Config", (), {"ws": "auto"})
    auto = types.ModuleType("uvicorn.protocols.websockets.auto")
    auto.AutoWebSocketsProtocol = Protocol
    for name, module in (
        ("uvicorn", made),
        ("uvicorn.protocols", types.ModuleType("uvicorn.protocols")),
        ("uvicorn.protocols.websockets", types.ModuleType("uvicorn.protocols.websockets")),
        ("uvicorn.protocols.websockets.auto", auto),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    return made, auto


def uvicorn_worker(uvicorn, seconds):
    """A worker whose server may take so long to stop."""
    cfg = types.SimpleNamespace(graceful_timeout=seconds)
    return types.SimpleNamespace(config=uvicorn[0].Config(), cfg=cfg)


def test_websockets_are_closed_late(workers, uvicorn):
    worker = uvicorn_worker(uvicorn, 5.3)
    initialised(worker, None)

    async def stop():
        early, gone = worker.config.ws(), worker.config.ws()
        gone.transport.is_closing = lambda: True
        early.shutdown()
        gone.shutdown()
        told = early.told
        await asyncio.sleep(0.6)
        return told, early.told, gone.told

    assert asyncio.run(stop()) == (0, 1, 0)


def test_websockets_of_another_kind_are_left_alone(workers, uvicorn):
    worker = uvicorn_worker(uvicorn, 30)
    worker.config.ws = "none"
    initialised(worker, None)
    assert worker.config.ws == "none"
    uvicorn[1].AutoWebSocketsProtocol = None
    worker = uvicorn_worker(uvicorn, 30)
    initialised(worker, None)
    assert worker.config.ws == "auto"


def test_any_callable_can_be_an_application(workers):
    class Application:
        def __call__(self, environ, start_response):
            return environ["REMOTE_ADDR"]

    wsgi = initialised(workers["sync"](), Application())
    assert wsgi({"REMOTE_ADDR": "", "HTTP_X_REAL_IP": "192.0.2.7"}, None) == "192.0.2.7"
