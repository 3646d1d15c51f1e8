"""What has to happen in supervisord, decided without one."""

import django_supervisor_ini
import django_supervisor_plan
import django_supervisor_unit
import pytest
from processes import info


def overview(*infos, **more):
    table = {django_supervisor_unit.full_name(each["group"], each["name"]): each for each in infos}
    return django_supervisor_plan.Overview(table, **more)


def written(unit, mode=None):
    """The file that a unit leaves behind."""
    return django_supervisor_ini.File("/x.conf", unit.text, mode or unit.mode)


NO_FILE = django_supervisor_ini.File("/x.conf")
WEB = django_supervisor_unit.unit("web", {"command": "/bin/web"})
JOBS = django_supervisor_unit.unit("jobs", {"command": "/bin/job", "numprocs": 2})


class TestDifferences:
    def test_options(self):
        old = django_supervisor_unit.unit("web", {"command": "a", "startsecs": 1})
        new = django_supervisor_unit.unit("web", {"command": "b 100%", "user": "root"})
        assert django_supervisor_plan.differences(old.sections, new.sections) == {
            "command": {"old": "a", "new": "b 100%"},
            "startsecs": {"old": "1", "new": None},
            "user": {"old": None, "new": "root"},
        }

    def test_environment_by_name_only(self):
        first = {"A": "secret1", "B": "secret2", "C": "same"}
        second = {"A": "secret3", "C": "same", "D": "secret4"}
        old, new = (
            django_supervisor_unit.unit("web", {"command": "a", "environment": environment})
            for environment in (first, second)
        )
        assert django_supervisor_plan.differences(old.sections, new.sections) == {
            "environment": {"added": ["D"], "changed": ["A"], "removed": ["B"]}
        }

    def test_kind_and_group(self):
        plain = django_supervisor_unit.unit("web", {"command": "a"})
        fcgi = django_supervisor_unit.unit(
            "web", {"command": "a", "socket": "tcp://localhost:9000"}
        )
        grouped = django_supervisor_unit.unit("web", {"command": "a", "group": "shop"})
        assert set(django_supervisor_plan.differences(plain.sections, fcgi.sections)) == {
            "kind",
            "socket",
        }
        assert set(django_supervisor_plan.differences(plain.sections, grouped.sections)) == {
            "group",
            "group.programs",
        }

    def test_programs_of_a_group_are_told_apart(self):
        old, new = (
            django_supervisor_unit.unit(
                "g", {"programs": {"a": {"command": "a"}, "b": {"command": command}}}
            )
            for command in ("b", "c")
        )
        assert django_supervisor_plan.differences(old.sections, new.sections) == {
            "b.command": {"old": "b", "new": "c"}
        }


class TestPlan:
    def test_new(self):
        made = django_supervisor_plan.plan(WEB, NO_FILE, overview())
        assert (made.write, made.load, made.retire) == (True, True, [])
        assert made.changes == {
            "definition": {"command": {"old": None, "new": "/bin/web"}},
            "configuration": "loaded",
            "processes": {"web": "started"},
        }

    def test_nothing_to_do(self):
        made = django_supervisor_plan.plan(WEB, written(WEB), overview(info("web")))
        assert made.idle
        assert made.changes == {}

    def test_fatal_program_makes_healthy_ones_look_new(self):
        seen = overview(info("web"), info("broken", "FATAL"), info("jobs:jobs_00", "BACKOFF"))
        assert django_supervisor_plan.plan(WEB, written(WEB), seen).idle

    def test_changed_program_is_exchanged_alone(self):
        new = django_supervisor_unit.unit("web", {"command": "/bin/new"})
        made = django_supervisor_plan.plan(new, written(WEB), overview(info("web"), info("other")))
        assert (made.retire, made.load) == (["web"], True)
        assert made.actions == {"web": "restarted"}

    def test_numprocs_shrinks(self):
        fewer = django_supervisor_unit.unit("jobs", {"command": "/bin/job"})
        seen = overview(info("jobs:jobs_00"), info("jobs:jobs_01"))
        made = django_supervisor_plan.plan(fewer, written(JOBS), seen)
        assert made.actions == {
            "jobs": "started",
            "jobs:jobs_00": "removed",
            "jobs:jobs_01": "removed",
        }

    def test_group_is_renamed(self):
        new = django_supervisor_unit.unit("web", {"command": "/bin/web", "group": "shop"})
        made = django_supervisor_plan.plan(new, written(WEB), overview(info("web")))
        assert made.retire == ["web"]
        assert made.actions == {"shop:web": "started", "web": "removed"}

    def test_file_is_right_but_not_what_runs(self):
        for pending in ({"changed": ("web",)}, {"removed": ("web",)}):
            made = django_supervisor_plan.plan(WEB, written(WEB), overview(info("web"), **pending))
            assert (made.write, made.load, made.retire) == (False, True, ["web"])
            assert made.changes == {
                "configuration": "loaded",
                "processes": {"web": "restarted"},
            }

    def test_layout_of_the_file_alone_restarts_nothing(self):
        text = "[program:web]\ncommand=/bin/web\n"
        made = django_supervisor_plan.plan(
            WEB, django_supervisor_ini.File("/x", text, 0o644), overview(info("web"))
        )
        assert made.changes == {"file": "rewritten"}
        assert not made.load

    def test_permissions(self):
        made = django_supervisor_plan.plan(WEB, written(WEB, 0o666), overview(info("web")))
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
        unit = django_supervisor_unit.unit("web", {"command": "/bin/web"}, running)
        made = django_supervisor_plan.plan(
            unit, written(unit), overview(info("web", state)), running
        )
        assert made.actions.get("web") == action
        assert not made.load

    def test_stopped_program_revives_on_update(self):
        made = django_supervisor_plan.plan(WEB, written(WEB), overview(info("web", "STOPPED")))
        assert made.idle
        assert "stopped by hand" in made.notes[0]

    def test_program_that_ended_unexpectedly(self):
        seen = overview(info("web", "EXITED", exitstatus=3))
        assert django_supervisor_plan.plan(WEB, written(WEB), seen).actions == {"web": "started"}

    def test_one_of_many_is_down(self):
        seen = overview(info("jobs:jobs_00"), info("jobs:jobs_01", "FATAL"))
        assert django_supervisor_plan.plan(JOBS, written(JOBS), seen).start == ["jobs:jobs_01"]

    def test_removal(self):
        made = django_supervisor_plan.plan_removal(
            "jobs", written(JOBS), overview(info("jobs:jobs_00"))
        )
        assert made.changes == {"file": "removed", "processes": {"jobs:jobs_00": "removed"}}
        assert django_supervisor_plan.plan_removal("jobs", NO_FILE, overview(info("web"))).idle


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
        assert django_supervisor_plan.resolve(name, self.TABLE) == found

    def test_digits_are_a_name_that_salt_took_for_a_number(self):
        table = overview(info("2048")).processes
        assert django_supervisor_plan.resolve(2048, table) == ["2048"]
        assert django_supervisor_plan.resolve(7, table) == []
        assert "no process or group 7;" in django_supervisor_plan.unknown(7, table)

    def test_unknown(self):
        assert "did you mean jobs?" in django_supervisor_plan.unknown("job", self.TABLE)
        assert "it has jobs, web" in django_supervisor_plan.unknown("zzz", self.TABLE)


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
        found = django_supervisor_plan.verbs(
            {"web": before} if before else {}, {"web": after} if after else {}
        )
        assert found == ({"web": verb} if verb else {})
