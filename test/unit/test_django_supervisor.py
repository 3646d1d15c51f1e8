"""Definitions, decisions and transport of supervisord, without a daemon."""

import pathlib
import shlex
import socket
import threading
import xmlrpc.client

import django_supervisor as supervisor
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from supervisor.options import ServerOptions, UnhosedConfigParser

HERE = "/etc/supervisor/conf.d"
PRINTABLE = some.characters(
    blacklist_categories=["Cc", "Cs", "Zl", "Zp"], blacklist_characters="\x85"
)
WORDS = some.lists(some.text(PRINTABLE, max_size=12), min_size=1, max_size=4)


def read_by_supervisord(unit):
    """Processes of a unit as supervisord itself reads its file: ``{full name: config}``."""
    parser = UnhosedConfigParser()
    parser.read_string(unit.text)
    parser.expand_here(HERE)
    options = ServerOptions()
    options.here = "/etc/supervisor"
    return {
        supervisor.full_name(group.name, process.name): process
        for group in options.process_groups_from_parser(parser)
        for process in group.process_configs
    }


def info(name, state="RUNNING", **more):
    group, _, process = name.rpartition(":")
    return {
        "name": process,
        "group": group or process,
        "statename": state,
        "pid": 100 if state in ("RUNNING", "STARTING", "STOPPING") else 0,
        "start": 1,
        "now": 60,
        "exitstatus": 0,
        "spawnerr": "",
        **more,
    }


def overview(*infos, **more):
    table = {supervisor.full_name(each["group"], each["name"]): each for each in infos}
    return supervisor.Overview(table, **more)


def written(unit, mode=None):
    """The file that a unit leaves behind."""
    return supervisor.File("/x.conf", unit.text, mode or unit.mode)


NO_FILE = supervisor.File("/x.conf")
WEB = supervisor.unit("web", {"command": "/bin/web"})
JOBS = supervisor.unit("jobs", {"command": "/bin/job", "numprocs": 2})


class TestUnit:
    def test_text_of_a_program(self):
        unit = supervisor.unit(
            "shop-web-4f2a9c1e",
            {
                "stopsignal": "SIGTERM",
                "autostart": True,
                "command": ["/srv/web", "--name=my shop", "100%"],
                "exitcodes": [0, 2],
                "stdout_logfile_maxbytes": 0,
                "umask": "027",
                "autorestart": "unexpected",
                "directory": None,
                "environment": {"B": 1, "A": "x"},
            },
        )
        assert unit.text == supervisor.HEADER + (
            "\n[program:shop-web-4f2a9c1e]\n"
            "command = /srv/web '--name=my shop' 100%%\n"
            "umask = 027\n"
            "autostart = true\n"
            "autorestart = unexpected\n"
            "exitcodes = 0,2\n"
            "stopsignal = TERM\n"
            "stdout_logfile_maxbytes = 0\n"
            'environment = A="x",B="1"\n'
        )

    def test_only_root_reads_an_environment(self):
        assert WEB.mode == 0o644
        assert supervisor.unit("web", {"command": "x", "environment": {"A": "1"}}).mode == 0o600

    def test_kinds(self):
        listener = supervisor.unit("ear", {"command": "x", "events": ["TICK_60", "PROCESS_STATE"]})
        assert listener.sections == {
            "eventlistener:ear": {"command": "x", "events": "TICK_60,PROCESS_STATE"}
        }
        fcgi = supervisor.unit("cgi", {"command": "x", "socket": "unix:///run/cgi.sock"})
        assert fcgi.sections == {
            "fcgi-program:cgi": {"command": "x", "socket": "unix:///run/cgi.sock"}
        }
        for unit, name in ((listener, "ear"), (fcgi, "cgi")):
            assert list(read_by_supervisord(unit)) == [name]

    def test_group_and_numprocs_names(self):
        assert list(JOBS.processes) == ["jobs:jobs_00", "jobs:jobs_01"]
        alone = supervisor.unit("web", {"command": "x", "group": "shop", "priority": 5})
        assert list(alone.processes) == ["shop:web"]
        assert alone.group == "shop"
        several = supervisor.unit(
            "feed",
            {
                "priority": 7,
                "programs": {
                    "reader": {"command": "r"},
                    "writer": {
                        "command": "w",
                        "numprocs": 2,
                        "numprocs_start": 1,
                        "process_name": "%(group_name)s-%(program_name)s%(process_num)d",
                    },
                },
            },
        )
        assert list(several.processes) == [
            "feed:reader",
            "feed:feed-writer1",
            "feed:feed-writer2",
        ]
        for unit in (JOBS, alone, several):
            assert set(read_by_supervisord(unit)) == set(unit.processes)

    def test_a_program_that_must_not_run_does_not_start_by_itself(self):
        unit = supervisor.unit("web", {"command": "x"}, running=False)
        assert unit.sections["program:web"]["autostart"] == "false"

    @settings(max_examples=300, deadline=None)
    @given(WORDS)
    def test_a_list_reaches_the_program_word_by_word(self, words):
        safe = [word for word in words if "%(" not in word] or ["x"]
        unit = supervisor.unit("web", {"command": safe})
        assert shlex.split(read_by_supervisord(unit)["web"].command) == safe

    @settings(max_examples=300, deadline=None)
    @given(some.text(PRINTABLE, max_size=20))
    def test_a_value_of_the_environment_arrives(self, value):
        definition = {"command": "x", "environment": {"A": value, "B": "after"}}
        if "%(" in value:
            return
        edges = value[:1] in ("'", '"') or value[-1:] in ("'", '"')
        if edges or ("'" in value and '"' in value):
            with pytest.raises(supervisor.DefinitionError, match="a value of A"):
                supervisor.unit("web", definition)
            return
        unit = supervisor.unit("web", definition)
        assert read_by_supervisord(unit)["web"].environment == {"A": value, "B": "after"}
        assert supervisor.parse(unit.text)["program:web"] == unit.sections["program:web"]

    @pytest.mark.parametrize(
        "value", ["a ; b", "a # b", "; a", "#a", "100%", "%d %s %%", "50%% ;%"]
    )
    def test_comment_and_percent_signs_are_literal(self, value):
        definition = {"command": ["x", value], "environment": {"A": value}}
        process = read_by_supervisord(supervisor.unit("web", definition))["web"]
        assert shlex.split(process.command) == ["x", value]
        assert process.environment == {"A": value}

    def test_text_command_with_comment_signs(self):
        command = "sh -c 'echo 1 ; echo #2'"
        unit = supervisor.unit("web", {"command": command})
        assert read_by_supervisord(unit)["web"].command == command

    def test_expansions_of_supervisord_work_everywhere(self, tmp_path):
        unit = supervisor.unit(
            "jobs",
            {
                "command": ["/x", "%(program_name)s@%(process_num)02d", "100%"],
                "numprocs": 2,
                "environment": {"NUMBER": "%(process_num)d of %(numprocs)d"},
                "stdout_logfile": f"{tmp_path}/%(program_name)s-%(process_num)d.50%.log",
            },
        )
        second = read_by_supervisord(unit)["jobs:jobs_01"]
        assert shlex.split(second.command) == ["/x", "jobs@01", "100%"]
        assert second.environment == {"NUMBER": "1 of 2"}
        assert second.stdout_logfile == f"{tmp_path}/jobs-1.50%.log"

    def test_every_mistake_is_told_at_once(self):
        with pytest.raises(supervisor.DefinitionError) as caught:
            supervisor.unit(
                "web",
                {
                    "comand": "x",
                    "startsecs": "soon",
                    "umask": 18,
                    "autorestart": "maybe",
                    "stopasgroup": True,
                    "killasgroup": False,
                    "buffer_size": 3,
                    "numprocs": 2,
                    "process_name": "web",
                    "exitcodes": "0,300",
                },
            )
        assert str(caught.value).splitlines() == [
            "program web: buffer_size: needs events",
            "program web: comand: unknown; did you mean command?",
            "program web: umask: expected three octal digits in quotes, such as '022', got 18",
            "program web: autorestart: expected true, false or unexpected, got 'maybe'",
            "program web: startsecs: expected a whole number, got 'soon'",
            "program web: exitcodes: expected numbers from 0 to 255, such as 0,2, got '0,300'",
            "program web: command: missing",
            "program web: killasgroup: cannot be false when stopasgroup is true",
            "program web: process_name: needs %(process_num)02d when numprocs is over 1",
        ]

    @pytest.mark.parametrize(
        ("name", "definition"),
        [
            ("a b", {"command": "x"}),
            ("a:b", {"command": "x"}),
            ("../a", {"command": "x"}),
            (".a", {"command": "x"}),
            ("all", {"command": "x"}),
            ("a", {"command": "x 'y"}),
            ("a", {"command": []}),
            ("a", {"command": ["x\ny"]}),
            ("a", {"command": ["x", True]}),
            ("a", {"command": "x", "directory": "/x\nuser = root"}),
            ("a", {"command": "x", "user": "root\n"[:-1] + " x"}),
            ("a", {"command": "x", "environment": ["A=1"]}),
            ("a", {"command": "x", "environment": {"A B": "1"}}),
            ("a", {"command": "x", "events": "TICK_5", "redirect_stderr": True}),
            ("a", {"command": "x", "socket": "/run/x"}),
            ("a", {"command": "x", "socket": "unix:///x", "group": "g"}),
            ("a", {"command": "x", "process_name": "%(ENV_HOME)s"}),
            ("a", {"command": "x", "process_name": "a:b"}),
            ("a", {"programs": {}}),
            ("a", {"programs": {"b": "x"}}),
            ("a", {"programs": {"b": {"command": "x", "group": "c"}}}),
            ("a", {"programs": {"b": {"command": "x"}}, "command": "x"}),
            ("a", "x"),
        ],
    )
    def test_refused(self, name, definition):
        with pytest.raises(supervisor.DefinitionError):
            supervisor.unit(name, definition)

    def test_autostart_contradicts_a_program_that_must_not_run(self):
        with pytest.raises(supervisor.DefinitionError, match="autostart"):
            supervisor.unit("web", {"command": "x", "autostart": True}, running=False)

    def test_a_refused_secret_is_not_told(self):
        definition = {"command": "x", "environment": {"PASSWORD": "\"hunter2'"}}
        with pytest.raises(supervisor.DefinitionError) as caught:
            supervisor.unit("web", definition)
        assert "PASSWORD" in str(caught.value)
        assert "hunter2" not in str(caught.value)


class TestDifferences:
    def test_options(self):
        old = supervisor.unit("web", {"command": "a", "startsecs": 1})
        new = supervisor.unit("web", {"command": "b 100%", "user": "root"})
        assert supervisor.differences(old.sections, new.sections) == {
            "command": {"old": "a", "new": "b 100%"},
            "startsecs": {"old": "1", "new": None},
            "user": {"old": None, "new": "root"},
        }

    def test_environment_by_name_only(self):
        first = {"A": "secret1", "B": "secret2", "C": "same"}
        second = {"A": "secret3", "C": "same", "D": "secret4"}
        old, new = (
            supervisor.unit("web", {"command": "a", "environment": environment})
            for environment in (first, second)
        )
        assert supervisor.differences(old.sections, new.sections) == {
            "environment": {"added": ["D"], "changed": ["A"], "removed": ["B"]}
        }

    def test_kind_and_group(self):
        plain = supervisor.unit("web", {"command": "a"})
        fcgi = supervisor.unit("web", {"command": "a", "socket": "tcp://localhost:9000"})
        grouped = supervisor.unit("web", {"command": "a", "group": "shop"})
        assert set(supervisor.differences(plain.sections, fcgi.sections)) == {"kind", "socket"}
        assert set(supervisor.differences(plain.sections, grouped.sections)) == {
            "group",
            "group.programs",
        }

    def test_programs_of_a_group_are_told_apart(self):
        old, new = (
            supervisor.unit("g", {"programs": {"a": {"command": "a"}, "b": {"command": command}}})
            for command in ("b", "c")
        )
        assert supervisor.differences(old.sections, new.sections) == {
            "b.command": {"old": "b", "new": "c"}
        }


class TestPlan:
    def test_new(self):
        made = supervisor.plan(WEB, NO_FILE, overview())
        assert (made.write, made.load, made.retire) == (True, True, [])
        assert made.changes == {
            "definition": {"command": {"old": None, "new": "/bin/web"}},
            "configuration": "loaded",
            "processes": {"web": "started"},
        }

    def test_nothing_to_do(self):
        made = supervisor.plan(WEB, written(WEB), overview(info("web")))
        assert made.idle
        assert made.changes == {}

    def test_fatal_program_makes_healthy_ones_look_new(self):
        seen = overview(info("web"), info("broken", "FATAL"), info("jobs:jobs_00", "BACKOFF"))
        assert supervisor.plan(WEB, written(WEB), seen).idle

    def test_changed_program_is_exchanged_alone(self):
        new = supervisor.unit("web", {"command": "/bin/new"})
        made = supervisor.plan(new, written(WEB), overview(info("web"), info("other")))
        assert (made.retire, made.load) == (["web"], True)
        assert made.actions == {"web": "restarted"}

    def test_numprocs_shrinks(self):
        fewer = supervisor.unit("jobs", {"command": "/bin/job"})
        seen = overview(info("jobs:jobs_00"), info("jobs:jobs_01"))
        made = supervisor.plan(fewer, written(JOBS), seen)
        assert made.actions == {
            "jobs": "started",
            "jobs:jobs_00": "removed",
            "jobs:jobs_01": "removed",
        }

    def test_group_is_renamed(self):
        new = supervisor.unit("web", {"command": "/bin/web", "group": "shop"})
        made = supervisor.plan(new, written(WEB), overview(info("web")))
        assert made.retire == ["web"]
        assert made.actions == {"shop:web": "started", "web": "removed"}

    def test_file_is_right_but_not_what_runs(self):
        for pending in ({"changed": ("web",)}, {"removed": ("web",)}):
            made = supervisor.plan(WEB, written(WEB), overview(info("web"), **pending))
            assert (made.write, made.load, made.retire) == (False, True, ["web"])
            assert made.changes == {
                "configuration": "loaded",
                "processes": {"web": "restarted"},
            }

    def test_layout_of_the_file_alone_restarts_nothing(self):
        text = "[program:web]\ncommand=/bin/web\n"
        made = supervisor.plan(WEB, supervisor.File("/x", text, 0o644), overview(info("web")))
        assert made.changes == {"file": "rewritten"}
        assert not made.load

    def test_permissions(self):
        made = supervisor.plan(WEB, written(WEB, 0o666), overview(info("web")))
        assert made.changes == {"mode": {"old": "0666", "new": "0644"}}
        assert not made.load

    @pytest.mark.parametrize(
        ("running", "state", "action"),
        [
            (None, "STOPPED", None),
            (None, "STOPPING", None),
            (None, "FATAL", "started"),
            (None, "BACKOFF", "started"),
            (None, "EXITED", None),
            (True, "STOPPED", "started"),
            (True, "STOPPING", "started"),
            (True, "FATAL", "started"),
            (True, "RUNNING", None),
            (False, "RUNNING", "stopped"),
            (False, "STARTING", "stopped"),
            (False, "BACKOFF", "stopped"),
            (False, "STOPPED", None),
            (False, "FATAL", None),
        ],
    )
    def test_state_of_an_unchanged_program(self, running, state, action):
        unit = supervisor.unit("web", {"command": "/bin/web"}, running)
        made = supervisor.plan(unit, written(unit), overview(info("web", state)), running)
        assert made.actions.get("web") == action
        assert not made.load

    def test_stopped_program_revives_on_update(self):
        made = supervisor.plan(WEB, written(WEB), overview(info("web", "STOPPED")))
        assert made.idle
        assert "stopped by hand" in made.notes[0]

    def test_program_that_ended_unexpectedly(self):
        seen = overview(info("web", "EXITED", exitstatus=3))
        assert supervisor.plan(WEB, written(WEB), seen).actions == {"web": "started"}

    def test_one_of_many_is_down(self):
        seen = overview(info("jobs:jobs_00"), info("jobs:jobs_01", "FATAL"))
        assert supervisor.plan(JOBS, written(JOBS), seen).start == ["jobs:jobs_01"]

    def test_removal(self):
        made = supervisor.plan_removal("jobs", written(JOBS), overview(info("jobs:jobs_00")))
        assert made.changes == {"file": "removed", "processes": {"jobs:jobs_00": "removed"}}
        assert supervisor.plan_removal("jobs", NO_FILE, overview(info("web"))).idle


class TestNames:
    TABLE = overview(info("web"), info("jobs:jobs_00"), info("jobs:jobs_01")).processes

    @pytest.mark.parametrize(
        ("name", "found"),
        [
            ("web", ["web"]),
            ("web:", ["web"]),
            ("jobs", ["jobs:jobs_00", "jobs:jobs_01"]),
            ("jobs:", ["jobs:jobs_00", "jobs:jobs_01"]),
            ("jobs:*", ["jobs:jobs_00", "jobs:jobs_01"]),
            ("jobs:jobs_01", ["jobs:jobs_01"]),
            ("jobs:jobs_02", []),
            ("job", []),
            ("all", ["jobs:jobs_00", "jobs:jobs_01", "web"]),
        ],
    )
    def test_group_and_numprocs_names(self, name, found):
        assert supervisor.resolve(name, self.TABLE) == found

    def test_unknown(self):
        assert "did you mean jobs?" in supervisor.unknown("job", self.TABLE)
        assert "it has jobs, web" in supervisor.unknown("zzz", self.TABLE)


class TestVerbs:
    @pytest.mark.parametrize(
        ("before", "after", "verb"),
        [
            (info("web"), info("web", pid=200), "restarted"),
            (info("web"), info("web"), None),
            (info("web"), info("web", "STOPPED"), "stopped"),
            (info("web"), info("web", "FATAL"), "stopped"),
            (info("web"), None, "removed"),
            (None, info("web"), "started"),
            (None, info("web", "STOPPED"), "added"),
            (info("web", "BACKOFF"), info("web"), "started"),
            (info("web", "BACKOFF"), info("web", "STOPPED"), "stopped"),
            (info("web", "BACKOFF"), info("web", "FATAL"), None),
            (info("web", "STARTING"), info("web"), None),
        ],
    )
    def test_verb(self, before, after, verb):
        found = supervisor.verbs({"web": before} if before else {}, {"web": after} if after else {})
        assert found == ({"web": verb} if verb else {})


class TestSettings:
    def parse(self, text):
        return supervisor.settings_from(supervisor.parse(text), "/etc/sv/supervisord.conf")

    def test_unix_socket(self):
        found = self.parse(
            "[unix_http_server]\nfile = %(here)s/run/s.sock ; the socket\n"
            "username = a\npassword = b\n"
            "[include]\nfiles = conf.d/*.conf /srv/*.ini\n"
        )
        assert found.url == "unix:///etc/sv/run/s.sock"
        assert (found.username, found.password) == ("a", "b")
        assert found.include == ("/etc/sv/conf.d/*.conf", "/srv/*.ini")
        assert found.program_path("web") == "/etc/sv/conf.d/web.conf"

    def test_include_and_program_name_do_not_break_parsing(self):
        found = self.parse(
            "[unix_http_server]\nfile=/run/s.sock\n[program:x]\ncommand=/x %(program_name)s\n"
            "stdout_logfile=/var/log/%(program_name)s.log\n[include]\nfiles=*.ini\n"
        )
        assert found.program_path("web") == "/etc/sv/web.ini"

    @pytest.mark.parametrize(
        ("text", "url"),
        [
            ("[supervisorctl]\nserverurl = unix:///run/x.sock\n", "unix:///run/x.sock"),
            ("[inet_http_server]\nport = *:9001\n", "http://127.0.0.1:9001"),
            ("[inet_http_server]\nport = 10.0.0.1:9001\n", "http://10.0.0.1:9001"),
            ("[inet_http_server]\nport = 9001\n", "http://127.0.0.1:9001"),
            ("[supervisord]\n", "unix:///run/supervisor.sock"),
        ],
    )
    def test_address(self, text, url):
        assert self.parse(text).url == url

    def test_hashed_password(self):
        found = self.parse(
            "[unix_http_server]\nfile=/s\nusername=a\npassword={SHA}x\n"
            "[supervisorctl]\nusername=a\npassword=plain\n"
        )
        assert found.password == "plain"

    def test_no_include(self):
        with pytest.raises(supervisor.SupervisorError, match=r"includes no folder"):
            self.parse("[supervisord]\n").program_path("web")

    def test_virtual_environment(self, tmp_path):
        config = tmp_path / "etc" / "supervisord.conf"
        config.parent.mkdir()
        config.write_text("[supervisord]\n")
        control = tmp_path / "bin" / "supervisorctl"
        assert supervisor.find_config(bin_env=str(tmp_path)) == str(config)
        assert supervisor.find_config(bin_env=str(control)) == str(config)
        assert supervisor.find_config("/x", str(tmp_path)) == "/x"

    def test_not_a_configuration(self):
        with pytest.raises(supervisor.SupervisorError, match="not a supervisord configuration"):
            supervisor.parse("garbage")


class TestRedaction:
    def test_values_are_hidden(self):
        text = supervisor.redact("user=shop password=s3cr%t! pin=12", ("s3cr%t!", "12"))
        assert text == f"user=shop password={supervisor.HIDDEN} pin=12"

    @pytest.mark.parametrize(
        "broken",
        [
            'environment = A="hunter2',
            "environment = A=hunter2,B",
            'environment = A="hunter2",B="%(nope)s"',
        ],
    )
    def test_a_refusal_of_supervisord_hides_environments(self, broken):
        parser = UnhosedConfigParser()
        parser.read_string(f"[program:web]\ncommand = x\n{broken}\n")
        with pytest.raises(ValueError) as caught:
            ServerOptions().processes_from_section(parser, "program:web", "web")
        assert "hunter2" not in supervisor._scrub(f"CANT_REREAD: {caught.value}")

    def test_a_line_that_cannot_be_parsed_is_hidden(self):
        for text in ("hunter2", "[x]\nhunter2"):
            with pytest.raises(Exception) as caught:
                UnhosedConfigParser().read_string(text)
            assert "hunter2" not in supervisor._scrub(str(caught.value))


class FakeClient:
    """Answers from a script of process tables; the last one stays."""

    def __init__(self, *tables, **answers):
        self.tables = list(tables)
        self.answers = answers
        self.calls = []

    def call(self, method, *params):
        method = method.removeprefix("supervisor.")
        self.calls.append((method, *params))
        if method == "getAllProcessInfo":
            return self.tables.pop(0) if len(self.tables) > 1 else self.tables[0]
        answer = self.answers.get(method, {"getAllConfigInfo": [], "readLog": ""}.get(method, True))
        if isinstance(answer, Exception):
            raise answer
        return answer


def daemon(*tables, **answers):
    client = FakeClient(*tables, **answers)
    return supervisor.Daemon(supervisor.Settings(), client), client


class TestDaemon:
    def test_dead_that_cannot_fail(self):
        stubborn, client = daemon([info("web")], [info("web", "STOPPING")])
        with pytest.raises(supervisor.Failed, match=r"Not stopped after 0.1 s: web is STOPPING"):
            stubborn.stop(["web"], timeout=0.1)
        assert client.calls.count(("stopProcess", "web", False)) == 1

    def test_fatal_right_after_start_is_told(self):
        log = "2026-01-01 WARN exited: web (exit status 3; not expected)\n"
        fatal = info("web", "FATAL", spawnerr="Exited too quickly", stderr_logfile="")
        broken, _ = daemon(
            [info("web", "STARTING")], [{**fatal, "stdout_logfile": ""}], readLog=log
        )
        with pytest.raises(supervisor.Failed) as caught:
            broken.wait_running(["web"])
        assert str(caught.value) == "web is FATAL: Exited too quickly: exit status 3"

    def test_retries_are_waited_for(self):
        slow, _ = daemon([info("web", "STARTING")], [info("web", "BACKOFF")], [info("web")])
        slow.wait_running(["web"])

    def test_a_process_that_vanished(self):
        gone, _ = daemon([])
        with pytest.raises(supervisor.Failed, match="not in supervisord any more"):
            gone.wait_running(["web"])

    def test_a_stopping_process_is_not_started_before_it_ended(self):
        busy, client = daemon([info("web", "STOPPING")], [info("web", "STOPPED")])
        busy.request_start(["web"])
        assert [call[0] for call in client.calls] == [
            "getAllProcessInfo",
            "getAllProcessInfo",
            "startProcess",
        ]

    def test_a_refused_start(self):
        refused = supervisor.Fault(20, "NO_FILE: can't find command 'x'")
        broken, _ = daemon([info("web", "STOPPED")], startProcess=refused)
        with pytest.raises(supervisor.Failed, match="can't find command"):
            broken.request_start(["web"])

    def test_output_that_is_no_text(self, tmp_path):
        log = tmp_path / "log"
        log.write_bytes(b"x\n" * 5000 + b"caf\xe9 \x1b[31m\nlast\n")
        found, _ = daemon([])
        path, text = found.tail(info("web", stderr_logfile=str(log), stdout_logfile=""), lines=2)
        assert (path, text) == (str(log), "caf\ufffd \x1b[31m\nlast")

    def test_written_in_one_step(self, tmp_path):
        path = tmp_path / "conf.d" / "web.conf"
        supervisor.write_file(str(path), "one", 0o600)
        supervisor.write_file(str(path), "two", 0o644)
        assert path.read_text() == "two"
        assert path.stat().st_mode & 0o777 == 0o644
        assert list(path.parent.iterdir()) == [path]

    def test_cannot_write(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(supervisor.SupervisorError, match="Cannot write"):
            supervisor.write_file(f"{tmp_path}/file/web.conf", "x", 0o644)


def serve_once(server, answer):
    """Answer one request on a listening socket; returns the list that its bytes go to."""
    seen = []

    def run():
        connection, _ = server.accept()
        with connection:
            data = b""
            while b"</methodCall>" not in data:
                data += connection.recv(65536)
            seen.append(data)
            connection.sendall(answer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return seen, thread


def http_answer(body, status="200 OK"):
    body = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class TestClient:
    def test_over_tcp_with_a_password(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            answer = xmlrpc.client.dumps(("4.3.0",), methodresponse=True)
            seen, thread = serve_once(server, http_answer(answer))
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            client = supervisor.Client(url, "ann", "pass", timeout=5)
            assert client.call("supervisor.getSupervisorVersion") == "4.3.0"
            thread.join()
        assert b"Authorization: Basic YW5uOnBhc3M=" in seen[0]

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (http_answer("", "401 Unauthorized"), supervisor.Unreachable, "wants a username"),
            (http_answer("", "500 Error"), supervisor.Unreachable, "500 Error"),
            (http_answer("garbage"), supervisor.SupervisorError, "unreadable answer"),
            (b"", supervisor.Unreachable, "does not answer"),
            (
                http_answer(xmlrpc.client.dumps(xmlrpc.client.Fault(10, "BAD_NAME: x"))),
                supervisor.Fault,
                "BAD_NAME: x",
            ),
        ],
    )
    def test_failures(self, tmp_path, answer, error, message):
        path = str(tmp_path / "s.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            serve_once(server, answer)
            with pytest.raises(error, match=message):
                supervisor.Client(f"unix://{path}", timeout=5).call("supervisor.getState")

    def test_nothing_there(self, tmp_path):
        path = tmp_path / "s.sock"
        with pytest.raises(supervisor.Unreachable) as caught:
            supervisor.Client(f"unix://{path}").call("supervisor.getState")
        assert caught.value.down
        assert str(path) in str(caught.value)
        assert "start supervisord" in str(caught.value)

    def test_a_daemon_that_hangs(self, tmp_path):
        path = str(tmp_path / "s.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            with pytest.raises(supervisor.Unreachable) as caught:
                supervisor.Client(f"unix://{path}", timeout=0.1).call("supervisor.getState")
        assert not caught.value.down

    def test_address_of_another_kind(self):
        with pytest.raises(supervisor.SupervisorError, match="expected unix:///path"):
            supervisor.Client("https://x").call("supervisor.getState")

    def test_a_fault_among_several_calls(self, monkeypatch):
        client = supervisor.Client("unix:///x")
        answers = [1, {"faultCode": 92, "faultString": "CANT_REREAD: x"}]
        monkeypatch.setattr(client, "call", lambda *_: answers)
        first, second = client.together(("a",), ("b",))
        assert first == 1
        assert second.kind == "CANT_REREAD"


def test_no_salt_in_the_library():
    source = pathlib.Path(supervisor.__file__).read_text()
    assert "import salt" not in source
    assert "__salt__" not in source
