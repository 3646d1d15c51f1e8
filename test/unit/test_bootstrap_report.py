"""What ./bootstrap shows: its progress, and what it says at the end."""

import io
import subprocess
import sys

import pytest
from pillars import ROOT

sys.path.insert(0, str(ROOT / "bootstrap.d"))

from masterless import progress, report

# Progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def shown(terminal, **options):
    stream, clock = io.StringIO(), Clock()
    seen = progress.Progress(stream, terminal, clock=clock, columns=lambda: 60, **options)
    seen.begin(12)
    return seen, stream, clock


def test_a_pipe_gets_a_line_for_what_changed_and_none_for_what_did_not():
    seen, stream, _ = shown(terminal=False)
    seen.step("a", "nginx is installed")
    seen.done(True, {"nginx": "new"}, 4.21)
    seen.step("b", "a file is there")
    seen.done(True, {}, 0.01)
    seen.stop()
    assert stream.getvalue() == "   1/12  changed    nginx is installed  4.2 s\n"


def test_a_pipe_gets_a_line_every_ten_seconds_of_a_long_step():
    seen, stream, clock = shown(terminal=False)
    seen.step("a", "shop: release is built")
    for clock.now in range(25):
        seen.tick()
    assert stream.getvalue().splitlines() == [
        "   1/12  still at it  shop: release is built  10 s",
        "   1/12  still at it  shop: release is built  20 s",
    ]


def test_a_long_step_says_what_it_is_at():
    seen, stream, clock = shown(terminal=False)
    seen.step("a", "shop: database is migrated")
    for clock.now in range(25):
        seen.tell(f"shop.{clock.now // 10:04}_x")
        seen.tick()
    seen.step("b", "shop: superuser is there")
    clock.now = 40
    seen.tick()
    assert stream.getvalue().splitlines() == [
        "   1/12  still at it  shop: database is migrated: shop.0001_x  10 s",
        "   1/12  still at it  shop: database is migrated: shop.0002_x  20 s",
        "   2/12  still at it  shop: superuser is there  16 s",
    ]


def test_a_terminal_gets_one_line_that_is_written_over_and_fits():
    seen, stream, clock = shown(terminal=True)
    seen.step("a", "shop: " + "x" * 100)
    clock.now = 75
    seen.tick()
    last = stream.getvalue().split(progress.CLEAR)[-1]
    assert "\n" not in stream.getvalue()
    assert len(last) < 60
    assert last.startswith("   1/12  shop: xxx")
    assert last.endswith("...  1 min 15 s, in all 1 min 15 s")


def test_a_step_that_comes_twice_is_counted_once():
    seen, _, _ = shown(terminal=False)
    for key in "aba":
        seen.step(key, key)
        seen.done(True, {}, 0)
    assert seen.count() == " 2/12"


def test_steps_of_one_id_share_a_line():
    seen, stream, _ = shown(terminal=False)
    for key in "abc":
        seen.step(key, "directories are there")
        seen.done(True, {"mode": "0755"}, 0.1)
    seen.step("d", "nginx is installed")
    assert stream.getvalue() == "   3/12  changed    directories are there (3)  0.3 s\n"


def test_a_test_run_shows_failures_only_until_its_list():
    seen, stream, _ = shown(terminal=False, test=True)
    for result in (None, True, False):
        seen.step(result, f"step {result}")
        seen.done(result, {"x": 1}, 0)
    seen.stop()
    assert stream.getvalue() == "   3/12  failed     step False  0.0 s\n"


@pytest.mark.parametrize(("detail", "lines"), [("quiet", 0), ("normal", 0), ("verbose", 1)])
def test_detail_says_whether_unchanged_steps_are_shown(detail, lines):
    seen, stream, _ = shown(terminal=False, detail=detail)
    seen.step("a", "a file is there")
    seen.done(True, {}, 0)
    seen.stop()
    assert len(stream.getvalue().splitlines()) == lines


def test_a_screen_that_goes_away_does_not_stop_the_run():
    seen, stream, _ = shown(terminal=False)
    stream.close()
    seen.line("lost")
    assert seen.stream is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (12.4, "12 s"), (59.6, "1 min 0 s"), (185, "3 min 5 s")]
)
def test_durations_are_readable(seconds, text):
    assert progress.duration(seconds) == text


# Report


def result(number, ok, comment="", changes=None, **more):
    return {
        "__run_num__": number,
        "result": ok,
        "comment": comment,
        "changes": changes or {},
        **more,
    }


TRACEBACK = "Traceback (most recent call last):\n  File\nKeyError: 'a'"
RESULTS = {
    "service_|-nginx runs_|-nginx_|-running": result(
        3, False, "One or more requisite failed: django.web", __state_ran__=False
    ),
    "pkg_|-packages_|-packages_|-installed": result(
        0, True, "ok", {"nginx": "1"}, __id__="packages"
    ),
    "django_|-shop: source is fetched_|-x_|-source_fetched": result(
        2, False, "x: no such branch\nv9", __id__="shop: source is fetched"
    ),
    "cmd_|-broken_|-b_|-run": result(4, False, "An exception occurred: " + TRACEBACK),
    "file_|-a_|-a_|-managed": result(1, True, "fine"),
}


def test_a_summary_tells_causes_from_consequences():
    groups = report.summary(RESULTS)
    assert groups.changed == ["packages"]
    assert groups.skipped == ["nginx runs"]
    assert groups.failed == [
        ("shop: source is fetched", "django.source_fetched", "x: no such branch\nv9"),
        ("broken", "cmd.run", "unexpected error: KeyError: 'a'"),
    ]


def test_failures_come_with_advice_and_without_a_traceback():
    text = "\n".join(report.failures(report.summary(RESULTS), "/var/log/x"))
    assert "Failed: 2 steps, 1 not run because of that, 2 well." in text
    assert "What to do: check the source in the pillar" in text
    assert "Traceback" not in text
    assert text.endswith("All details: /var/log/x")


def test_a_full_disk_is_told_to_be_one_whatever_failed():
    comment = "OSError: [Errno 28] No space left on device"
    tag = "django_|-a_|-a_|-tool_installed"
    text = "\n".join(report.failures(report.summary({tag: result(0, False, comment)}), "/x"))
    assert "What to do: make room on this server's disk." in text


def test_exit_status_is_true_where_nothing_more_can_be_written():
    """As on a full disk, where Python itself would make it 120."""
    with open("/dev/full", "w") as full:
        argv = [sys.executable, ROOT / "bootstrap.d/run.py"]
        for words, status in ((["--help"], 0), (["--none"], 2)):
            done = subprocess.run([*argv, *words], stdout=full, stderr=full, env={})
            assert done.returncode == status


def test_of_a_long_failure_the_first_line_and_the_last_are_shown():
    comment = "\n".join(["It is not healthy.", *map(str, range(30)), "The old one serves on."])
    groups = report.summary({"django_|-a_|-a_|-release_live": result(0, False, comment)})
    shown = [line.strip() for line in report.failures(groups, "/var/log/x")]
    assert shown.index("It is not healthy.") == shown.index("...") - 1
    assert "The old one serves on." in shown and "3" not in shown and "29" in shown


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("It is so.\nAnd so.", "It is so.\nAnd so."),
        (TRACEBACK, "unexpected error: KeyError: 'a'"),
        (
            "It does not start. OSError: no (a.py:3)\n" + TRACEBACK,
            "It does not start. OSError: no (a.py:3)",
        ),
        (
            "It does not start.\n\nThe above led to:\n\n" + TRACEBACK,
            "It does not start.",
        ),
    ],
)
def test_a_project_s_error_is_told_in_the_words_of_its_step(comment, said):
    assert report.plain(comment) == said


def test_what_a_failed_command_printed_is_part_of_the_reason():
    said = report.reason(result(0, False, "Command run", {"stdout": "", "stderr": "oh no"}))
    assert said == "Command run\noh no"


def test_a_prediction_lists_what_would_change():
    groups = report.summary({"file_|-a_|-a_|-managed": result(0, None, "is set to be changed\nx")})
    assert report.prediction(groups) == [
        "1 of 1 step would change something:",
        "  a: is set to be changed",
    ]
    groups = report.summary(
        {
            "file_|-a_|-x_|-directory": result(0, None, "x", __id__="dirs"),
            "file_|-a_|-y_|-directory": result(1, None, "y", __id__="dirs"),
        }
    )
    assert report.prediction(groups)[1:] == ["  dirs (2): x"]
    groups = report.summary({"file_|-a_|-a_|-managed": result(0, True)})
    assert report.prediction(groups) == ["Nothing would change: 1 step looked at."]
    comment = "The following files will be changed:\n/srv/x: directory - new\n"
    groups = report.summary({"file_|-a_|-a_|-directory": result(0, None, comment)})
    assert report.prediction(groups)[1:] == ["  a: /srv/x: directory - new"]


def test_warnings_are_told_whatever_else_is(config):
    tag = "django_|-shop: x_|-x_|-verified"
    note = "Note: shop: x: Timer a failed."
    for outcome in (True, None, False):
        groups = report.summary({tag: result(0, outcome, "no", warnings=["Timer a failed."])})
        for lines in (
            report.prediction(groups),
            report.failures(groups, "/var/log/x"),
            report.conclusion(groups, config, {}, 72, "salt-call", "/p/site.sls"),
        ):
            assert note in lines
    groups = report.summary({"django_|-a_|-a_|-valid": result(0, True, warnings=["told before"])})
    assert report.notes(groups) == []


@pytest.fixture
def config(resolve):
    project = {
        "source": {"path": "/srv/src"},
        "settings": "shop.settings",
        "superuser": {"username": "boss"},
    }
    return resolve({"projects": {"shop": project}})


def conclude(config, results, answers):
    groups = report.summary(results)
    return "\n".join(report.conclusion(groups, config, answers, 72, "salt-call", "/p/site.sls"))


def test_a_conclusion_says_where_everything_is(config):
    text = conclude(
        config, {"a_|-b_|-b_|-c": result(0, True, "", {"x": 1})}, {"shop": (True, "ok")}
    )
    assert text.startswith("Done in 1 min 12 s: 1 of 1 step changed something.")
    assert f"shop        {config['projects']['shop']['url']}/   ok" in text
    assert "boss, password: superuser.password in /etc/django-formula/secrets/shop.json" in text
    assert "releases  /srv/django/shop/releases" in text
    assert "pillar      /p/site.sls" in text
    assert "salt-call state.apply" in text
    assert "NOT WELL" not in text


def test_a_conclusion_without_changes_says_so_first(config):
    text = conclude(config, {"a_|-b_|-b_|-c": result(0, True)}, {"shop": (True, "ok")})
    assert text.startswith("No changes in 1 min 12 s: 1 step looked at")


def test_a_site_that_does_not_answer_is_told(config):
    text = conclude(config, {}, {"shop": (False, "does not answer")})
    assert "NOT WELL: shop." in text


def test_a_password_of_the_pillar_is_not_looked_for_in_the_store(resolve):
    project = {
        "source": {"path": "/srv/src"},
        "settings": "shop.settings",
        "superuser": {"username": "boss", "password": "correct-horse-1"},
    }
    text = conclude(resolve({"projects": {"shop": project}}), {}, {})
    assert "boss, password: the pillar's" in text
    assert "correct-horse" not in text
