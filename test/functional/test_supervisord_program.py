"""
States that define programs and remove them, against a real supervisord.

Each defect that Salt's own states had is a test of that name.
"""

import json
import sys

import pytest
from salt.exceptions import CommandExecutionError
from supervisors import QUICK, SLEEP, STUBBORN, program


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

    def test_timeout_that_is_no_number_is_told(self, prove, fails, supervisord):
        prove("program", **program("web"))
        changed = program("web", directory="/tmp")
        for name, options in (("program", changed), ("dead", {}), ("absent", {}), ("running", {})):
            if name == "running":
                supervisord.call("stop", "web")
            failed = fails(name, **{"name": "web", **options}, timeout="10s")
            assert "timeout: expected a number of seconds, got '10s'" in failed.comment
            assert failed.changes == {}

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

    def test_a_file_with_somebody_elses(self, fails, call, supervisord):
        """It would end, too, and its definition would be lost."""
        section = "[program:%s]\ncommand = /bin/sleep 5\nstartsecs = 0\n"
        supervisord.write("web", section % "web" + section % "mail")
        supervisord.call("update")
        assert "also has [program:mail]" in fails("absent", name="web").comment
        with pytest.raises(CommandExecutionError, match="also has"):
            call("dismiss", "web")
        assert supervisord.states() == {"web": "RUNNING", "mail": "RUNNING"}
        assert "program:mail" in supervisord.read("web")
