"""
States and execution functions of supervisord against a real supervisord.

Each defect that Salt's own states had is a test of that name.
"""

import contextlib
import inspect
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import django_supervisor
import pytest
import salt.modules.supervisord as stock
from salt.exceptions import CommandExecutionError, CommandNotFoundError

SUPERVISORD = pathlib.Path(sys.executable).with_name("supervisord")
SLEEP = ["/bin/sleep", "1000"]
# Counts as started at once, and a failure is final: tests wait for nothing.
QUICK = {"startsecs": 0, "startretries": 0, "stopwaitsecs": 5}
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.2; done"]


class Supervisord:
    """A supervisord of our own in a short folder, as the path of a socket is limited."""

    def __init__(self, modules):
        self._modules = modules
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sv"))
        self.conf_d = self.folder / "conf.d"
        self.conf_d.mkdir()
        self.config = self.folder / "supervisord.conf"
        self.config.write_text(
            "[unix_http_server]\nfile = %(here)s/s.sock ; only for us\n"
            "[supervisord]\nlogfile = %(here)s/main.log\npidfile = %(here)s/pid\n"
            "childlogdir = %(here)s\n"
            "[supervisorctl]\nserverurl = unix://%(here)s/s.sock\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = "
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            "[include]\nfiles = conf.d/*.conf\n"
        )
        self.where = {"conf_file": str(self.config)}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [SUPERVISORD, "--nodaemon", "--configuration", self.config],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                self.call("state")
                return
            except CommandExecutionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)

    def call(self, function, *args, **kwargs):
        return self._modules[f"supervisord.{function}"](*args, **kwargs, **self.where)

    def write(self, name, text):
        path = self.conf_d / f"{name}.conf"
        path.write_text(text)
        return path

    def read(self, name):
        return (self.conf_d / f"{name}.conf").read_text()

    def states(self):
        return {name: info["statename"] for name, info in self.call("processes").items()}

    def pids(self):
        return {name: info["pid"] for name, info in self.call("processes").items()}

    def clear(self):
        """Without programs, whatever a test left."""
        for path in self.conf_d.iterdir():
            path.unlink()
        daemon = django_supervisor.Daemon(django_supervisor.read_settings(self.config))
        daemon.call("stopAllProcesses", False)
        for info in daemon.processes().values():
            if info["pid"]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(info["pid"], signal.SIGKILL)
        self.call("update")


@pytest.fixture(scope="module")
def server(loaders):
    made = Supervisord(loaders.modules)
    yield made
    made.stop()
    shutil.rmtree(made.folder)


@pytest.fixture
def supervisord(server, modules, monkeypatch):
    monkeypatch.setattr(django_supervisor, "QUIET_SECONDS", 0.05)
    yield server
    server.clear()


@pytest.fixture
def call(supervisord):
    """Execution functions."""
    return supervisord.call


@pytest.fixture
def state(supervisord, states):
    """Function that applies one state."""

    def apply(function, **arguments):
        found = states[f"supervisord.{function}"](**arguments, **supervisord.where)
        assert found.comment
        return found

    return apply


@pytest.fixture
def prove(state):
    """Apply a state that changes something: test mode says the same, and again nothing changes."""

    def apply(function, **arguments):
        predicted = state(function, **arguments, test=True)
        real = state(function, **arguments)
        assert real.result is True, real.comment
        assert predicted.result is None, predicted.comment
        assert predicted.changes == real.changes
        assert real.changes
        again = state(function, **arguments)
        assert again.result is True, again.comment
        assert again.changes == {}
        return real

    return apply


@pytest.fixture
def fails(state):
    """Apply a state that cannot succeed; what it says."""

    def apply(function, **arguments):
        real = state(function, **arguments)
        assert real.result is False
        return real

    return apply


def run_together(modules, wanted, test=False):
    """One run of several states, ``{id: (module, function, arguments)}``; their results by ID."""
    high = {
        name: {
            module: [function, *({key: value} for key, value in arguments.items())],
            "__sls__": "test",
            "__env__": "base",
        }
        for name, (module, function, arguments) in wanted.items()
    }
    return {one.full_return["__id__"]: one for one in modules.state.high(high, test=test)}


def program(name, **options):
    return {"name": name, "command": SLEEP, **QUICK, **options}


class TestProgram:
    def test_starts(self, prove, supervisord):
        done = prove("program", **program("web", startsecs=1))
        assert done.changes["processes"] == {"web": "started"}
        assert done.changes["definition"]["command"] == {"old": None, "new": "/bin/sleep 1000"}
        assert supervisord.states() == {"web": "RUNNING"}
        assert (supervisord.conf_d / "web.conf").stat().st_mode & 0o777 == 0o644

    def test_changes(self, prove, supervisord):
        prove("program", **program("web"))
        before = supervisord.pids()
        done = prove("program", **program("web", directory="/tmp", command="/bin/sleep 2000"))
        assert done.changes == {
            "definition": {
                "command": {"old": "/bin/sleep 1000", "new": "/bin/sleep 2000"},
                "directory": {"old": None, "new": "/tmp"},
            },
            "configuration": "loaded",
            "processes": {"web": "restarted"},
        }
        assert supervisord.pids() != before

    def test_update_restarting_unrelated_programs(self, prove, supervisord):
        prove("program", **program("web"))
        prove("program", **program("other"))
        changed = "[program:third]\ncommand = /bin/sleep {}\nstartsecs = 0\n"
        supervisord.write("third", changed.format(1000))
        supervisord.call("update", name="third")
        supervisord.write("third", changed.format(2000))
        before = supervisord.pids()
        prove("program", **program("web", priority=5))
        after = supervisord.pids()
        assert after.pop("web") != before.pop("web")
        assert after == before

    def test_program_fatal_right_after_start_reported_as_started(self, state, supervisord):
        command = ["/bin/sh", "-c", "echo 'no database here' >&2; exit 3"]
        failed = state("program", **program("web", command=command, startsecs=1))
        assert failed.result is False
        assert "web is FATAL: Exited too quickly: exit status 3" in failed.comment
        assert "no database here" in failed.comment
        assert "processes" not in failed.changes or failed.changes["processes"] == {"web": "added"}
        again = state("program", **program("web", command=command, startsecs=1))
        assert again.result is False
        healed = state("program", **program("web", startsecs=1))
        assert healed.result is True, healed.comment
        assert healed.changes["processes"] == {"web": "started"}

    def test_it_may_need_several_attempts(self, state, supervisord):
        mark = supervisord.folder / "mark"
        command = ["/bin/sh", "-c", f"test -e {mark} && exec sleep 1000; touch {mark}; exit 1"]
        done = state("program", **program("web", command=command, startsecs=1, startretries=2))
        assert done.result is True, done.comment
        mark.unlink()

    def test_too_slow(self, fails):
        failed = fails("program", **program("web", startsecs=60), timeout=0.2)
        assert "web is STARTING" in failed.comment

    def test_command_that_does_not_exist_leaves_the_old_one_running(
        self, prove, fails, supervisord
    ):
        prove("program", **program("web"))
        before, text = supervisord.pids(), supervisord.read("web")
        failed = fails("program", **program("web", command="/nonexistent/web"))
        assert "/nonexistent/web does not exist" in failed.comment
        assert failed.changes == {}
        failed = fails("program", **program("web", directory="/nonexistent"))
        assert "directory: /nonexistent does not exist" in failed.comment
        assert supervisord.pids() == before
        assert supervisord.read("web") == text

    def test_command_not_on_the_path(self, fails):
        failed = fails("program", **program("web", command="no-such-command"))
        assert "can't find command 'no-such-command'" in failed.comment

    def test_refused_configuration_is_taken_back(self, prove, fails, supervisord):
        prove("program", **program("web"))
        before, text = supervisord.pids(), supervisord.read("web")
        failed = fails("program", **program("web", user="no-such-user"))
        assert "Invalid user name no-such-user" in failed.comment
        assert failed.changes == {}
        failed = fails("program", **program("new", user="no-such-user"))
        assert not (supervisord.conf_d / "new.conf").exists()
        assert supervisord.pids() == before
        assert supervisord.read("web") == text
        assert supervisord.call("pending") == {"added": [], "changed": [], "removed": []}

    def test_wrong_definition_is_told_before_anything_happens(self, state, supervisord):
        for test in (True, False):
            failed = state("program", **program("web", startsec=3, autostart="perhaps"), test=test)
            assert failed.result is False
            assert "startsec: unknown; did you mean startsecs?" in failed.comment
            assert "autostart: expected true or false, got 'perhaps'" in failed.comment
        assert list(supervisord.conf_d.iterdir()) == []

    def test_a_foreign_broken_file(self, prove, state, supervisord):
        prove("program", **program("web"))
        supervisord.write("broken", "[program:broken]\nuser = no-such-user\ncommand = x\n")
        unchanged = state("program", **program("web"))
        assert unchanged.result is True
        assert "Invalid user name" in unchanged.comment
        for test in (True, False):
            failed = state("program", **program("web", priority=3), test=test)
            assert failed.result is False
            assert "broken.conf" in failed.comment
        assert "priority" not in supervisord.read("web")

    def test_own_broken_file_is_put_right(self, prove, supervisord):
        supervisord.write("web", "garbage")
        prove("program", **program("web"))
        assert supervisord.states() == {"web": "RUNNING"}

    def test_killed_between_writing_and_loading(self, prove, supervisord):
        prove("program", **program("web"))
        text = supervisord.read("web")
        prove("program", **program("web", priority=5))
        supervisord.write("web", text)
        done = prove("program", **program("web"))
        assert done.changes == {"configuration": "loaded", "processes": {"web": "restarted"}}

    def test_file_is_there_and_the_program_is_not(self, prove, supervisord):
        prove("program", **program("web"))
        supervisord.call("stop", "web")
        supervisord.call("remove", "web")
        done = prove("program", **program("web"))
        assert done.changes == {"configuration": "loaded", "processes": {"web": "started"}}

    def test_permissions_are_put_right(self, prove, supervisord):
        prove("program", **program("web"))
        before = supervisord.pids()
        (supervisord.conf_d / "web.conf").chmod(0o666)
        done = prove("program", **program("web"))
        assert done.changes == {"mode": {"old": "0666", "new": "0644"}}
        assert supervisord.pids() == before

    def test_group_and_numprocs_names(self, prove, state, supervisord):
        done = prove("program", **program("jobs", numprocs=3))
        names = ["jobs:jobs_00", "jobs:jobs_01", "jobs:jobs_02"]
        assert done.changes["processes"] == dict.fromkeys(names, "started")
        done = prove(
            "program", **program("jobs", numprocs=2, process_name="%(program_name)s%(process_num)d")
        )
        assert done.changes["processes"] == {
            "jobs:jobs0": "started",
            "jobs:jobs1": "started",
            **dict.fromkeys(names, "removed"),
        }
        done = prove("program", **program("jobs", group="shop"))
        assert done.changes["processes"] == {
            "jobs:jobs0": "removed",
            "jobs:jobs1": "removed",
            "shop:jobs": "started",
        }
        for name in ("shop:jobs", "shop", "shop:", "shop:*"):
            assert state("running", name=name).changes == {}
        prove("absent", name="jobs")
        assert supervisord.states() == {}

    def test_a_stopped_program_reviving_on_update(self, prove, state, supervisord):
        prove("program", **program("web"))
        prove("program", **program("other"))
        supervisord.call("stop", "web")
        kept = state("program", **program("web"))
        assert (kept.result, kept.changes) == (True, {})
        assert "web was stopped by hand and is left so" in kept.comment
        prove("program", **program("other", priority=5))
        supervisord.call("update")
        assert supervisord.states()["web"] == "STOPPED"
        path = supervisord.conf_d / "web.conf"
        path.write_text(path.read_text().replace("1000", "2000"))
        assert "left as it is" in supervisord.call("update")
        assert supervisord.states()["web"] == "STOPPED"
        prove("program", **program("web"), running=True)
        assert supervisord.states()["web"] == "RUNNING"

    def test_running_false(self, prove, supervisord):
        done = prove("program", **program("web"), running=False)
        assert done.changes["processes"] == {"web": "added"}
        assert supervisord.states() == {"web": "STOPPED"}
        done = prove("program", **program("web"), running=True)
        assert done.changes["processes"] == {"web": "started"}
        done = prove("program", **program("web"), running=False)
        assert done.changes["processes"] == {"web": "stopped"}
        supervisord.call("start", "web")
        done = prove("program", **program("web"), running=False)
        assert done.changes == {"processes": {"web": "stopped"}}

    def test_without_autostart(self, prove, supervisord):
        done = prove("program", **program("web", autostart=False))
        assert done.changes["processes"] == {"web": "added"}
        done = prove("program", **program("web", autostart=False), running=True)
        assert done.changes == {"processes": {"web": "started"}}

    def test_a_program_that_ends_as_expected(self, state, supervisord):
        once = program("once", command=["/bin/true"], autorestart=False)
        assert state("program", **once).result is True
        again = state("program", **once)
        assert (again.result, again.changes) == (True, {})
        assert supervisord.states() == {"once": "EXITED"}

    def test_arguments_and_environment_arrive(self, prove, supervisord):
        words = ["x ; y", "#z", "100% %(nope)s", "it's", 'a "b"', "", "caf\u00e9"]
        environment = {"T_A": "p ;q #r %x", "T_B": "it's", "T_C": "", "T_D": "a=1,b"}
        out = supervisord.folder / "out.json"
        script = (
            "import json, os, sys, time\n"
            "values = {k: v for k, v in os.environ.items() if k.startswith('T_')}\n"
            "json.dump([sys.argv[2:], values, os.getcwd(), os.umask(0)], open(sys.argv[1], 'w'))\n"
            "time.sleep(1000)\n"
        )
        path = supervisord.folder / "script.py"
        path.write_text(script)
        prove(
            "program",
            **program(
                "web",
                command=[sys.executable, str(path), str(out), *words],
                environment=environment,
                directory="/usr",
                umask="027",
                startsecs=1,
            ),
        )
        assert json.loads(out.read_text()) == [words, environment, "/usr", 0o027]
        out.unlink()

    def test_secrets_are_never_told(self, state, prove, supervisord, caplog):
        caplog.set_level("INFO")
        first, second = "hunter2;first", "hunter2 #second"
        told = []
        for value in (first, second):
            done = prove("program", **program("web", environment={"PASSWORD": value, "A": "b"}))
            told.append(str(done.full_return))
        assert done.changes["definition"] == {"environment": {"changed": ["PASSWORD"]}}
        path = supervisord.conf_d / "web.conf"
        assert path.stat().st_mode & 0o777 == 0o600
        command = ["/bin/sh", "-c", 'echo "password: $PASSWORD" >&2; exit 1']
        leaky = program("web", command=command, environment={"PASSWORD": second}, startsecs=1)
        failed = state("program", **leaky)
        assert failed.result is False
        assert "password: **********" in failed.comment
        leaky = program("web", user="no-such-user", environment={"PASSWORD": second})
        refused = state("program", **leaky)
        assert refused.result is False
        options = supervisord.call("options", "web")
        assert options["environment"] == {"PASSWORD": "**********"}
        shown = supervisord.call("options", "web", show_secrets=True)
        assert shown["environment"] == {"PASSWORD": second}
        # The test's own library logs the arguments of its calls; Salt does not.
        logged = [r.getMessage() for r in caplog.records if r.name.startswith("salt.")]
        assert any("Running state [web]" in line for line in logged)
        daemon_log = (supervisord.folder / "main.log").read_text()
        for text in (*told, str(failed), str(refused), *logged, daemon_log):
            assert "hunter2" not in text

    def test_event_listener_and_fastcgi(self, prove, supervisord):
        script = supervisord.folder / "listener.py"
        script.write_text(
            "import sys\n"
            "while True:\n"
            "    print('READY', flush=True)\n"
            "    header = dict(x.split(':') for x in sys.stdin.readline().split())\n"
            "    sys.stdin.read(int(header['len']))\n"
            "    print('RESULT 2\\nOK', end='', flush=True)\n"
        )
        command = [sys.executable, str(script)]
        prove("program", **program("ear", command=command, events=["PROCESS_STATE"]))
        socket = supervisord.folder / "cgi.sock"
        done = prove(
            "program",
            **program("cgi", socket=f"unix://{socket}", socket_mode="0700", numprocs=2),
        )
        assert done.changes["processes"] == {"cgi:cgi_00": "started", "cgi:cgi_01": "started"}
        assert socket.is_socket()
        assert set(supervisord.states()) == {"ear", "cgi:cgi_00", "cgi:cgi_01"}

    def test_the_file_belongs_to_one_program(self, fails, supervisord):
        supervisord.write("all", "[program:web]\ncommand = /bin/sleep 5\n")
        failed = fails("program", **program("web"))
        assert f"web is defined in {supervisord.conf_d}/all.conf already" in failed.comment
        (supervisord.conf_d / "all.conf").rename(supervisord.conf_d / "other.conf")
        text = "[program:other]\ncommand = /bin/sleep 5\n[program:more]\ncommand = /bin/sleep 5\n"
        supervisord.write("other", text)
        failed = fails("program", **program("other"))
        assert "also has [program:more]" in failed.comment
        assert supervisord.read("other") == text


class TestGroup:
    def test_group(self, prove, fails, supervisord):
        programs = {
            "reader": {"command": SLEEP, **QUICK},
            "writer": {"command": SLEEP, **QUICK, "numprocs": 2},
        }
        done = prove("group", name="feed", programs=programs, priority=5)
        names = ["feed:reader", "feed:writer_00", "feed:writer_01"]
        assert done.changes["processes"] == dict.fromkeys(names, "started")
        programs["writer"] = {"command": SLEEP, **QUICK}
        done = prove("group", name="feed", programs=programs, priority=5)
        assert done.changes["definition"] == {
            "writer.numprocs": {"old": "2", "new": None},
            "writer.process_name": {"old": "%(program_name)s_%(process_num)02d", "new": None},
        }
        assert done.changes["processes"] == {
            "feed:reader": "restarted",
            "feed:writer": "started",
            "feed:writer_00": "removed",
            "feed:writer_01": "removed",
        }
        failed = fails("group", name="feed", programs={"reader": {}}, colour="red")
        assert "colour" in failed.comment
        failed = fails("group", name="feed", programs={"reader": {}})
        assert "program reader: command: missing" in failed.comment
        prove("absent", name="feed")


class TestAbsent:
    def test_absent(self, prove, supervisord):
        prove("program", **program("web"))
        prove("program", **program("other"))
        before = supervisord.pids()
        done = prove("absent", name="web")
        assert done.changes == {"file": "removed", "processes": {"web": "removed"}}
        assert supervisord.pids() == {"other": before["other"]}
        assert [path.name for path in supervisord.conf_d.iterdir()] == ["other.conf"]
        assert supervisord.call("pending") == {"added": [], "changed": [], "removed": []}

    def test_only_the_file_is_left(self, prove, supervisord):
        prove("program", **program("web"))
        supervisord.call("stop", "web")
        supervisord.call("remove", "web")
        assert prove("absent", name="web").changes == {"file": "removed"}

    def test_only_the_process_is_left(self, prove, supervisord):
        prove("program", **program("web"))
        (supervisord.conf_d / "web.conf").unlink()
        assert prove("absent", name="web").changes == {"processes": {"web": "removed"}}

    def test_it_does_not_end(self, state, fails, supervisord):
        stubborn = {"name": "web", "command": STUBBORN, "startsecs": 1, "stopwaitsecs": 600}
        assert state("program", **stubborn).result is True
        failed = fails("absent", name="web", timeout=0.3)
        assert "Not stopped after 0.3 s: web is STOPPING" in failed.comment
        assert (supervisord.conf_d / "web.conf").exists()

    def test_somebody_elses(self, fails, supervisord):
        supervisord.write("all", "[program:web]\ncommand = /bin/sleep 5\nstartsecs = 0\n")
        supervisord.call("update")
        failed = fails("absent", name="web")
        assert f"web is defined in {supervisord.conf_d}/all.conf" in failed.comment
        assert supervisord.states() == {"web": "RUNNING"}


class TestRunning:
    TEXT = "[program:{}]\ncommand = /bin/sleep {}\nstartsecs = 0\nstopwaitsecs = 5\n"

    def test_new(self, prove, supervisord):
        supervisord.write("web", self.TEXT.format("web", 1000))
        assert prove("running", name="web").changes == {"web": "started"}

    def test_new_without_autostart(self, prove, supervisord):
        supervisord.write("web", self.TEXT.format("web", 1000) + "autostart = false\n")
        assert prove("running", name="web").changes == {"web": "started"}

    def test_stopped(self, prove, supervisord):
        supervisord.write("jobs", self.TEXT.format("jobs", 1000) + "numprocs = 2\n"
                          "process_name = %(program_name)s_%(process_num)02d\n")  # fmt: skip
        supervisord.call("update")
        supervisord.call("stop", "jobs:jobs_01")
        assert prove("running", name="jobs:").changes == {"jobs:jobs_01": "started"}
        supervisord.call("stop", "jobs")
        assert prove("running", name="jobs:jobs_00").changes == {"jobs:jobs_00": "started"}
        assert supervisord.states() == {"jobs:jobs_00": "RUNNING", "jobs:jobs_01": "STOPPED"}

    def test_fatal_program_makes_healthy_ones_look_new(self, state, fails, supervisord):
        supervisord.write("web", self.TEXT.format("web", 1000))
        supervisord.write(
            "broken", "[program:broken]\ncommand = /bin/false\nstartretries = 0\nstartsecs = 1\n"
        )
        with pytest.raises(CommandExecutionError, match="broken is FATAL"):
            supervisord.call("update")
        pid = supervisord.pids()["web"]
        for test in (True, False):
            done = state("running", name="web", test=test)
            assert (done.result, done.changes) == (True, {})
        assert supervisord.pids()["web"] == pid
        failed = fails("running", name="broken")
        assert "broken is FATAL: Exited too quickly: exit status 1" in failed.comment

    def test_update_restarting_unrelated_programs(self, prove, supervisord):
        for name in ("web", "other"):
            supervisord.write(name, self.TEXT.format(name, 1000))
        supervisord.call("update")
        for name in ("web", "other"):
            supervisord.write(name, self.TEXT.format(name, 2000))
        before = supervisord.pids()
        assert prove("running", name="web", update=True).changes == {"web": "restarted"}
        assert supervisord.pids()["other"] == before["other"]
        assert supervisord.pids()["web"] != before["web"]

    def test_include_files_and_program_name_breaking_parsing(self, prove, supervisord):
        text = self.TEXT.format("web", 1000)
        supervisord.write("web", text + "stdout_logfile = %(here)s/../%(program_name)s.log\n")
        prove("running", name="web", update=True)
        options = supervisord.call("options", "web")
        assert options["command"] == "/bin/sleep 1000"
        assert options["startsecs"] == 0
        assert options["stdout_logfile"] == "%(here)s/../%(program_name)s.log"

    def test_test_mode_never_predicting_a_restart(self, state, supervisord):
        supervisord.write("web", self.TEXT.format("web", 1000))
        supervisord.call("update")
        for arguments in ({"restart": True}, {"restart": True, "update": True}):
            predicted = state("running", name="web", **arguments, test=True)
            before = supervisord.pids()
            real = state("running", name="web", **arguments)
            assert predicted.result is None
            assert predicted.changes == real.changes == {"web": "restarted"}
            assert supervisord.pids() != before

    def test_unknown(self, state, supervisord):
        supervisord.write("web", self.TEXT.format("web", 1000))
        supervisord.call("update")
        failed = state("running", name="wep")
        assert failed.result is False
        assert "did you mean web?" in failed.comment
        # The state that writes its file may not have run yet.
        assert state("running", name="wep", test=True).result is None

    def test_arguments_of_the_state_that_salt_had(self, prove, supervisord):
        supervisord.write("web", self.TEXT.format("web", 1000))
        bin_env = str(SUPERVISORD.parent.parent)
        prove("running", name="web", user="root", bin_env=bin_env, restart=False, update=True)
        prove("dead", name="web", user="root", bin_env=bin_env)


class TestDead:
    def test_dead(self, prove, state, supervisord):
        prove("program", **program("web"))
        assert prove("dead", name="web").changes == {"web": "stopped"}
        assert supervisord.states() == {"web": "STOPPED"}
        assert state("dead", name="nobody").result is True

    def test_half_of_a_group(self, prove, supervisord):
        prove("program", **program("jobs", numprocs=2))
        supervisord.call("stop", "jobs:jobs_00")
        assert prove("dead", name="jobs:").changes == {"jobs:jobs_01": "stopped"}

    def test_program_that_is_trying_to_start(self, prove, state, supervisord):
        failing = program("web", command=["/bin/false"], startsecs=1, startretries=50)
        assert state("program", **failing, timeout=0.2).result is False
        assert prove("dead", name="web").changes == {"web": "stopped"}

    def test_dead_that_cannot_fail(self, state, fails):
        stubborn = {"name": "web", "command": STUBBORN, "startsecs": 1, "stopwaitsecs": 600}
        assert state("program", **stubborn).result is True
        failed = fails("dead", name="web", timeout=0.3)
        assert "Not stopped after 0.3 s: web is STOPPING" in failed.comment


class TestWatch:
    @pytest.fixture
    def apply(self, supervisord, modules):
        def run(function, contents, test=False, **options):
            watched = {"name": str(supervisord.folder / "watched"), "contents": contents}
            arguments = {**supervisord.where, "watch": [{"file": "watched"}]}
            if function == "program":
                arguments.update(program("web", **options))
            done = run_together(
                modules,
                {
                    "watched": ("file", "managed", watched),
                    "web": ("supervisord", function, arguments),
                },
                test,
            )
            return done["web"]

        return run

    @pytest.mark.parametrize("function", ["running", "program"])
    def test_test_mode_never_predicting_a_restart(self, apply, call, supervisord, function):
        call("define", "web", {"command": SLEEP, **QUICK}, start=None)
        apply(function, f"{function} one")
        before = supervisord.pids()
        assert apply(function, f"{function} one").changes == {}
        assert supervisord.pids() == before
        predicted = apply(function, f"{function} two", test=True)
        assert supervisord.pids() == before
        real = apply(function, f"{function} two")
        assert predicted.result is None
        assert real.result is True
        assert predicted.changes == real.changes == {"web": "restarted"}
        assert supervisord.pids() != before

    @pytest.mark.parametrize("function", ["running", "program"])
    def test_a_failure_is_not_hidden_by_what_is_watched(self, apply, call, supervisord, function):
        with pytest.raises(CommandExecutionError):
            call("define", "web", {"command": ["/bin/false"], **QUICK, "startsecs": 1})
        for contents in ("first", "second"):
            arguments = {"command": ["/bin/false"], "startsecs": 1}
            failed = apply(function, f"{function} {contents}", **arguments)
            assert failed.result is False
            assert "web is FATAL" in failed.comment

    def test_what_is_stopped_stays_so(self, apply, call, supervisord):
        call("define", "web", {"command": SLEEP, **QUICK}, start=None)
        call("stop", "web")
        assert apply("program", "stopped one").changes == {}
        assert apply("dead", "stopped two").changes == {}
        assert supervisord.states() == {"web": "STOPPED"}


class TestFunctions:
    def test_all_of_salts_module(self, loaders):
        for name, function in inspect.getmembers(stock, inspect.isfunction):
            if name.startswith("_") or function.__module__ != stock.__name__:
                continue
            ours = inspect.signature(loaders.modules[f"supervisord.{name}"]).parameters
            theirs = inspect.signature(function).parameters
            assert list(ours)[: len(theirs)] == list(theirs), name
            for key, parameter in theirs.items():
                assert ours[key].default == parameter.default, (name, key)

    def test_define_beside_another(self, call, supervisord):
        old, new = "shop.web.aaaa", "shop.web.bbbb"
        definition = {"command": SLEEP, **QUICK}
        assert call("differs", old, definition)
        assert call("define", old, definition)["changes"]["processes"] == {old: "started"}
        pid = supervisord.pids()[old]
        assert call("differs", old, definition) == {}
        assert call("differs", old, {**definition, "priority": 1}) == {
            "configuration": "loaded",
            "priority": {"old": None, "new": "1"},
        }
        assert call("define", old, definition) == {"changes": {}, "comment": ""}
        call("define", new, definition)
        assert supervisord.pids()[old] == pid
        call("undefine", old, timeout=5)
        assert supervisord.states() == {new: "RUNNING"}
        assert call("undefine", old) == {"changes": {}, "comment": ""}

    def test_define_fails(self, call):
        definition = {**QUICK, "command": ["/bin/sh", "-c", "echo oops; exit 7"], "startsecs": 1}
        definition["redirect_stderr"] = True
        with pytest.raises(CommandExecutionError, match=r"exit status 7(.|\n)*oops") as caught:
            call("define", "web", definition)
        assert caught.value.changes["configuration"] == "loaded"

    def test_define_starts_what_was_stopped(self, call, supervisord):
        definition = {"command": SLEEP, **QUICK}
        call("define", "web", definition)
        call("stop", "web")
        assert call("define", "web", definition)["changes"] == {"processes": {"web": "started"}}
        call("define", "web", definition, start=False)
        assert supervisord.states() == {"web": "STOPPED"}

    def test_start_stop_restart_signal(self, call, supervisord):
        call("define", "jobs", {"command": SLEEP, **QUICK, "numprocs": 2})
        call("define", "web", {"command": SLEEP, **QUICK})
        assert call("stop", "jobs:") == "jobs:jobs_00: stopped\njobs:jobs_01: stopped"
        assert call("stop", "jobs:jobs_00") == "jobs:jobs_00: not running"
        assert call("start", "jobs:*") == "jobs:jobs_00: started\njobs:jobs_01: started"
        assert call("start", "web") == "web: already started"
        before = supervisord.pids()
        assert call("restart", "web") == "web: stopped\nweb: started"
        assert supervisord.pids()["web"] != before["web"]
        assert call("signal", "jobs", "sigcont") == ["jobs:jobs_00", "jobs:jobs_01"]
        call("stop")
        assert set(supervisord.states().values()) == {"STOPPED"}
        with pytest.raises(CommandExecutionError, match="web did not get signal HUP"):
            call("signal", "web", "HUP")
        with pytest.raises(CommandExecutionError, match=r"no process or group job; did you mean"):
            call("start", "job")

    def test_files_and_groups(self, call, supervisord):
        assert call("reread") == "No config updates to processes"
        supervisord.write("web", "[program:web]\ncommand = /bin/sleep 1000\nstartsecs = 0\n")
        assert call("reread") == "web: available"
        assert call("pending") == {"added": ["web"], "changed": [], "removed": []}
        assert call("add", "web") == "web: added process group"
        assert call("add", "web") == "web: process group already active"
        with pytest.raises(CommandExecutionError, match="web is still running: stop it first"):
            call("remove", "web")
        call("stop", "web")
        assert call("remove", "web") == "web: removed process group"
        with pytest.raises(CommandExecutionError, match="no process or group web"):
            call("remove", "web")
        with pytest.raises(CommandExecutionError, match="None of supervisord's files defines nope"):
            call("add", "nope")
        assert call("update") == "web: added process group"
        supervisord.write("web", "[program:web]\ncommand = /bin/sleep 2000\nstartsecs = 0\n")
        assert call("update", name="web") == "web: updated process group"
        (supervisord.conf_d / "web.conf").unlink()
        assert call("update") == "web: removed process group"
        with pytest.raises(CommandExecutionError, match="no process or group web"):
            call("update", name="web")

    def test_looking(self, call, supervisord):
        command = ["/bin/sh", "-c", "echo out; echo err >&2; exec sleep 1000"]
        call("define", "web", {"command": command, **QUICK, "startsecs": 1})
        assert call("status")["web"]["state"] == "RUNNING"
        assert call("status_raw").startswith("web    ")
        assert call("status_bool", "web")
        assert call("status_bool", "web", expected_state="RUNNING")
        assert not call("status_bool", "web", expected_state="STOPPED")
        assert not call("status_bool", "nope")
        assert call("tail_log", "web") == "err"
        assert call("tail_log", "web", channel="stdout", lines=1) == "out"
        assert call("version") == "4.3.0"
        assert call("state")["statename"] == "RUNNING"
        assert call("state")["pid"] == supervisord.process.pid
        assert call("configured")["web"]["inuse"] is True
        assert list(call("processes", "web")) == ["web"]
        with pytest.raises(CommandExecutionError, match="None of supervisord's files defines nope"):
            call("options", "nope")

    def test_custom_runs_supervisorctl(self, call, supervisord):
        bin_env = str(SUPERVISORD.parent.parent)
        assert call("custom", "version", bin_env=bin_env) == "4.3.0"
        with pytest.raises(CommandExecutionError, match="exit status"):
            call("custom", "start nope", bin_env=bin_env)
        with pytest.raises(CommandNotFoundError, match="There is no supervisorctl at"):
            call("custom", "version", bin_env="/usr")


class TestWithoutSupervisord:
    @pytest.fixture
    def nowhere(self, tmp_path):
        config = tmp_path / "supervisord.conf"
        config.write_text(
            f"[unix_http_server]\nfile = {tmp_path}/s.sock\n[include]\nfiles = conf.d/*.conf\n"
        )
        return {"conf_file": str(config)}

    def test_is_told(self, modules, nowhere):
        with pytest.raises(CommandExecutionError, match=r"does not answer at unix://.*s\.sock"):
            modules["supervisord.processes"](**nowhere)
        arguments = {"name": "web", **nowhere}
        begun = time.monotonic()
        done = run_together(
            modules,
            {
                "program": ("supervisord", "program", {**program("web"), **nowhere}),
                "running": ("supervisord", "running", arguments),
                "dead": ("supervisord", "dead", arguments),
            },
        )
        for failed in done.values():
            assert failed.result is False
            assert "start supervisord" in failed.comment
            assert failed.changes == {}
        # It is given a moment to come up, and that once for all of them.
        assert 3 < time.monotonic() - begun < 6

    def test_a_fresh_host_in_test_mode(self, states, tmp_path):
        """Another state would have installed and started it by then."""
        config = str(tmp_path / "supervisord.conf")
        predicted = states.supervisord.program(**program("web"), conf_file=config, test=True)
        assert predicted.result is None
        assert predicted.changes["processes"] == {"web": "started"}
        assert "does not answer" in predicted.comment
        assert states.supervisord.running(name="web", conf_file=config, test=True).result is None

    def test_absent_removes_the_file(self, states, nowhere):
        folder = pathlib.Path(nowhere["conf_file"]).parent / "conf.d"
        folder.mkdir()
        (folder / "web.conf").write_text("[program:web]\ncommand = x\n")
        assert states.supervisord.absent(name="web", **nowhere, test=True).result is None
        done = states.supervisord.absent(name="web", **nowhere)
        assert (done.result, done.changes) == (True, {"file": "removed"})
        assert list(folder.iterdir()) == []


def test_many_programs_take_one_round_trip(supervisord, modules, monkeypatch):
    definition = {"command": SLEEP, **QUICK}
    names = [f"p{number:02d}" for number in range(25)]
    for name in names:
        supervisord.write(name, django_supervisor.unit(name, definition).text).chmod(0o644)
    supervisord.call("update")
    calls = []
    honest = django_supervisor.Client.call
    monkeypatch.setattr(
        django_supervisor.Client,
        "call",
        lambda self, *args: calls.append(args[0]) or honest(self, *args),
    )
    done = run_together(
        modules,
        {
            name: ("supervisord", "program", {**program(name), **supervisord.where})
            for name in names
        },
    )
    assert list(done) == names
    assert all(one.result is True and not one.changes for one in done.values())
    assert calls == ["system.multicall"]
