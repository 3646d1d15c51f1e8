"""
States of programs that something else defines, and what ``watch`` does, against a real supervisord.

Each defect that Salt's own states had is a test of that name.
"""

import pytest
from salt.exceptions import CommandExecutionError
from supervisors import QUICK, SLEEP, STUBBORN, SUPERVISORD, program, run_together


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
