"""Execution functions against a real supervisord, a host without one, and what a run costs."""

import inspect
import pathlib
import time

import django_supervisor
import django_supervisor_unit
import pytest
import salt.modules.supervisord as stock
from salt.exceptions import CommandExecutionError, CommandNotFoundError
from supervisors import QUICK, SLEEP, STUBBORN, SUPERVISORD, program, run_together


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

    def test_dismiss_waits_for_nothing(self, call, supervisord):
        path = call("path", "slow")
        assert path == str(supervisord.conf_d / "slow.conf")
        call("define", "slow", {**QUICK, "command": STUBBORN, "stopwaitsecs": 60})
        pid = supervisord.pids()["slow"]
        time.sleep(0.3)  # until its shell ignores the signal
        start = time.monotonic()
        assert call("dismiss", "slow") == path
        assert time.monotonic() - start < 2
        assert not pathlib.Path(path).exists()
        assert supervisord.states() == {"slow": "STOPPING"}
        assert supervisord.pids() == {"slow": pid}
        call("signal", "slow", "KILL")
        call("undefine", "slow", timeout=5)
        assert supervisord.states() == {}

    def test_dismiss_what_is_not_there(self, call):
        with pytest.raises(CommandExecutionError, match="BAD_NAME"):
            call("dismiss", "nobody")

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
        for command, told in (("start 'web", "command: No closing quotation"), ("", "got nothing")):
            with pytest.raises(CommandExecutionError, match=told):
                call("custom", command, bin_env=bin_env)

    def test_names_that_are_none(self, call, supervisord):
        """Digits are a number to Salt's command line; a path would lead to files of others."""
        for function in ("start", "stop", "signal", "status", "update", "add", "remove"):
            words = ["HUP"] if function == "signal" else []
            name = {"name": 7} if function == "update" else {}
            with pytest.raises(CommandExecutionError, match="7"):
                call(function, *([] if name else [7]), *words, **name)
        before = supervisord.config.read_text()
        for function in ("undefine", "dismiss"):
            with pytest.raises(CommandExecutionError, match="not a path"):
                call(function, "../supervisord")
        assert supervisord.config.read_text() == before


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
        supervisord.write(name, django_supervisor_unit.unit(name, definition).text).chmod(0o644)
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
