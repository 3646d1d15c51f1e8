"""Definitions, as supervisord itself reads them."""

import shlex

import django_supervisor_ini
import django_supervisor_unit
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from supervisor.options import ServerOptions, UnhosedConfigParser

HERE = "/etc/supervisor/conf.d"
PRINTABLE = some.characters(
    blacklist_categories=["Cc", "Cs", "Zl", "Zp"], blacklist_characters="\x85"
)
WORDS = some.lists(some.text(PRINTABLE, max_size=12), min_size=1, max_size=4)
JOBS = django_supervisor_unit.unit("jobs", {"command": "/bin/job", "numprocs": 2})
WEB = django_supervisor_unit.unit("web", {"command": "/bin/web"})


def read_by_supervisord(unit):
    """Processes of a unit as supervisord itself reads its file: ``{full name: config}``."""
    parser = UnhosedConfigParser()
    parser.read_string(unit.text)
    parser.expand_here(HERE)
    options = ServerOptions()
    options.here = "/etc/supervisor"
    return {
        django_supervisor_unit.full_name(group.name, process.name): process
        for group in options.process_groups_from_parser(parser)
        for process in group.process_configs
    }


class TestUnit:
    def test_text_of_a_program(self):
        unit = django_supervisor_unit.unit(
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
        assert unit.text == django_supervisor_unit.HEADER + (
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
        assert (
            django_supervisor_unit.unit("web", {"command": "x", "environment": {"A": "1"}}).mode
            == 0o600
        )

    def test_kinds(self):
        listener = django_supervisor_unit.unit(
            "ear", {"command": "x", "events": ["TICK_60", "PROCESS_STATE"]}
        )
        assert listener.sections == {
            "eventlistener:ear": {"command": "x", "events": "TICK_60,PROCESS_STATE"}
        }
        fcgi = django_supervisor_unit.unit(
            "cgi", {"command": "x", "socket": "unix:///run/cgi.sock"}
        )
        assert fcgi.sections == {
            "fcgi-program:cgi": {"command": "x", "socket": "unix:///run/cgi.sock"}
        }
        for unit, name in ((listener, "ear"), (fcgi, "cgi")):
            assert list(read_by_supervisord(unit)) == [name]

    def test_group_and_numprocs_names(self):
        assert list(JOBS.processes) == ["jobs:jobs_00", "jobs:jobs_01"]
        alone = django_supervisor_unit.unit("web", {"command": "x", "group": "shop", "priority": 5})
        assert list(alone.processes) == ["shop:web"]
        assert alone.group == "shop"
        several = django_supervisor_unit.unit(
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
        unit = django_supervisor_unit.unit("web", {"command": "x"}, running=False)
        assert unit.sections["program:web"]["autostart"] == "false"

    @settings(max_examples=300, deadline=None)
    @given(WORDS)
    def test_a_list_reaches_the_program_word_by_word(self, words):
        safe = [word for word in words if "%(" not in word] or ["x"]
        unit = django_supervisor_unit.unit("web", {"command": safe})
        assert shlex.split(read_by_supervisord(unit)["web"].command) == safe

    @settings(max_examples=300, deadline=None)
    @given(some.text(PRINTABLE, max_size=20))
    def test_a_value_of_the_environment_arrives(self, value):
        definition = {"command": "x", "environment": {"A": value, "B": "after"}}
        if "%(" in value:
            return
        edges = value[:1] in ("'", '"') or value[-1:] in ("'", '"')
        if edges or ("'" in value and '"' in value):
            with pytest.raises(django_supervisor_unit.DefinitionError, match="a value of A"):
                django_supervisor_unit.unit("web", definition)
            return
        unit = django_supervisor_unit.unit("web", definition)
        assert read_by_supervisord(unit)["web"].environment == {"A": value, "B": "after"}
        assert django_supervisor_ini.parse(unit.text)["program:web"] == unit.sections["program:web"]

    @pytest.mark.parametrize(
        "value", ["a ; b", "a # b", "; a", "#a", "100%", "%d %s %%", "50%% ;%"]
    )
    def test_comment_and_percent_signs_are_literal(self, value):
        definition = {"command": ["x", value], "environment": {"A": value}}
        process = read_by_supervisord(django_supervisor_unit.unit("web", definition))["web"]
        assert shlex.split(process.command) == ["x", value]
        assert process.environment == {"A": value}

    def test_text_command_with_comment_signs(self):
        command = "sh -c 'echo 1 ; echo #2'"
        unit = django_supervisor_unit.unit("web", {"command": command})
        assert read_by_supervisord(unit)["web"].command == command

    def test_expansions_of_supervisord_work_everywhere(self, tmp_path):
        unit = django_supervisor_unit.unit(
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
        with pytest.raises(django_supervisor_unit.DefinitionError) as caught:
            django_supervisor_unit.unit(
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
        with pytest.raises(django_supervisor_unit.DefinitionError):
            django_supervisor_unit.unit(name, definition)

    def test_autostart_contradicts_a_program_that_must_not_run(self):
        with pytest.raises(django_supervisor_unit.DefinitionError, match="autostart"):
            django_supervisor_unit.unit("web", {"command": "x", "autostart": True}, running=False)

    def test_a_refused_secret_is_not_told(self):
        definition = {"command": "x", "environment": {"PASSWORD": "\"hunter2'"}}
        with pytest.raises(django_supervisor_unit.DefinitionError) as caught:
            django_supervisor_unit.unit("web", definition)
        assert "PASSWORD" in str(caught.value)
        assert "hunter2" not in str(caught.value)
