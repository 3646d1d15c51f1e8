"""Services, steered by systemd or by init scripts: what is asked, understood and run."""

import subprocess
import time

import django_service
import pytest
from django_run import CommandError


@pytest.fixture
def systemd(monkeypatch, tmp_path):
    """A host that systemd runs: ``shown`` is what systemctl says, ``called`` what was run."""
    host = type("Host", (), {"shown": "", "called": [], "fails": None, "units": tmp_path / "units"})
    host.called = []

    def run(argv, **_):
        host.called.append(argv)
        if host.fails and host.fails in argv:
            raise CommandError(argv, 1, "Job failed. See journalctl.", "exit status 1")
        said = host.shown if argv[1] == "show" else "bind() failed: Address already in use\n"
        return subprocess.CompletedProcess(argv, 0, said, "")

    monkeypatch.setattr(django_service, "booted", lambda: True)
    monkeypatch.setattr(django_service, "run", run)
    monkeypatch.setattr(django_service, "UNITS", host.units)
    monkeypatch.setattr(django_service, "REMEMBERED", tmp_path / "remembered")
    monkeypatch.setattr(django_service, "STAMPS", tmp_path / "stamps")
    return host


def show(load, active, state):
    return f"LoadState={load}\nActiveState={active}\nUnitFileState={state}\n"


@pytest.mark.parametrize(
    "shown, found",
    [
        (("loaded", "active", "enabled"), (True, True, True)),
        (("loaded", "inactive", "disabled"), (True, False, False)),
        (("loaded", "failed", "enabled"), (True, False, True)),
        (("loaded", "reloading", "static"), (True, True, True)),
        (("loaded", "active", "enabled-runtime"), (True, True, False)),
        (("masked", "inactive", "masked"), (True, False, False)),
        (("not-found", "inactive", ""), (False, None, None)),
        (("not-found", "active", ""), (False, True, False)),
        (("loaded", "active", ""), (True, True, False)),
    ],
)
def test_what_systemd_says(systemd, shown, found):
    systemd.shown = show(*shown)
    looked = django_service.look("nginx")
    assert (looked["there"], looked["running"], looked["enabled"]) == found
    assert systemd.called[0][0:2] == ["systemctl", "show"]
    assert systemd.called[0][-1] == "nginx.service"


def test_a_removed_package_comes_back_as_it_was(systemd):
    systemd.shown = show("not-found", "inactive", "")
    django_service.REMEMBERED.mkdir()
    (django_service.REMEMBERED / "redis-server.service.dsh-also").touch()
    assert django_service.look("redis-server") == {
        "there": False,
        "running": False,
        "enabled": False,
    }
    wants = systemd.units / "multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "redis-server.service").symlink_to("/lib/systemd/system/redis-server.service")
    assert django_service.look("redis-server")["running"] is True


@pytest.mark.parametrize(
    "verb, stale, commands",
    [
        ("start", "no", ["start --quiet x.service"]),
        ("start", "yes", ["daemon-reload", "start --quiet x.service"]),
        ("restart", "yes", ["daemon-reload", "restart --quiet x.service"]),
        ("enable", "yes", ["enable --quiet x.service"]),
        ("reload", "yes", ["reload --quiet x.service"]),
        ("stop", "yes", ["stop --quiet x.service"]),
    ],
)
def test_what_systemd_is_told(systemd, verb, stale, commands):
    systemd.shown = f"{stale}\n"
    django_service.act("x", verb)
    told = [argv[1:] for argv in systemd.called if argv[1] != "show"]
    assert told == [command.split() for command in commands]


def test_a_timer_is_a_unit_that_says_so(systemd, monkeypatch):
    """It is asked for and told as one, and what it starts is read with it."""
    systemd.shown = show("loaded", "active", "enabled")
    assert django_service.look("django-pull.timer")["enabled"]
    assert systemd.called[-1][-1] == "django-pull.timer"
    monkeypatch.setattr(django_service, "_is_stale", lambda unit: unit == "django-pull.service")
    django_service.act("django-pull.timer", "restart")
    told = [argv[1:] for argv in systemd.called if argv[1] != "show"]
    assert told == [["daemon-reload"], ["restart", "--quiet", "django-pull.timer"]]


def test_a_failure_has_the_last_words_of_the_service(systemd):
    systemd.fails = "start"
    began = time.time()
    with pytest.raises(django_service.ServiceError, match="Address already in use"):
        django_service.act("nginx", "start")
    (since,) = [word for word in systemd.called[-1] if word.startswith("--since=@")]
    assert began - 0.01 <= float(since.partition("@")[2]) <= time.time() + 0.01, (
        "not what it said before"
    )


def test_a_masked_service_is_known(systemd):
    systemd.units.mkdir()
    assert not django_service.is_masked("nginx")
    (systemd.units / "nginx.service").symlink_to("/dev/null")
    assert django_service.is_masked("nginx")


@pytest.fixture
def scripts(monkeypatch, tmp_path):
    """A host with init scripts: function that adds one."""
    folder = tmp_path / "init.d"
    folder.mkdir()
    (tmp_path / "rc2.d").mkdir()
    monkeypatch.setattr(django_service, "booted", lambda: False)
    monkeypatch.setattr(django_service, "SCRIPTS", folder)
    monkeypatch.setattr(django_service, "STAMPS", tmp_path / "stamps")

    def add(name, body, enabled=False):
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
        if enabled:
            (tmp_path / "rc2.d" / f"S01{name}").symlink_to(folder / name)

    add.folder = folder
    return add


def test_what_init_scripts_say(scripts):
    scripts("nginx", "exit 0", enabled=True)
    scripts("cron", "exit 3")
    assert django_service.look("nginx") == {"there": True, "running": True, "enabled": True}
    assert django_service.look("cron") == {"there": True, "running": False, "enabled": False}
    assert django_service.look("none") == {"there": False, "running": None, "enabled": None}


def test_a_configuration_of_this_formula_is_known_by_its_first_line(tmp_path):
    path = tmp_path / "nginx.conf"
    assert not django_service.is_configured_by_us(path)
    path.write_text("user www-data;\n")
    assert not django_service.is_configured_by_us(path)
    path.write_text("# Written by django-formula; the next run replaces changes.\nuser www-data;\n")
    assert django_service.is_configured_by_us(path)


def test_init_scripts_are_run(scripts):
    scripts("cron", 'echo "$1" >"$0.said"')
    django_service.act("cron", "restart")
    assert (scripts.folder / "cron.said").read_text() == "restart\n"


def test_a_failing_init_script_has_the_last_words(scripts):
    scripts("cron", "echo no crontab here; exit 1")
    with pytest.raises(django_service.ServiceError, match="no crontab here"):
        django_service.act("cron", "start")


def test_links_of_runlevels(scripts):
    assert django_service._commands("x", "enable") == [
        ["update-rc.d", "-f", "x", "remove"],
        ["update-rc.d", "x", "defaults"],
    ]
    assert django_service._commands("x", "disable") == [["update-rc.d", "x", "disable"]]


@pytest.fixture
def reading(systemd, monkeypatch):
    """A service that started in the middle between two files: old and new (paths)."""
    monkeypatch.setattr(django_service, "_seconds_since_boot", lambda: 3600.0)
    moments = {"old": time.time() - 200, "new": time.time() - 50}
    monkeypatch.setattr(django_service, "_changed", lambda path: moments.get(path, 0))
    systemd.shown = str(int((time.monotonic() - 100) * 1e6))
    return systemd


def test_files_that_changed_since_a_service_started_are_unread(reading):
    assert django_service.unread("nginx", ["old", "new", "missing"]) == ["new"]


@pytest.mark.parametrize("verb", ["start", "restart", "reload"])
def test_a_service_has_read_its_files_when_it_was_told_to(reading, verb):
    django_service.act("nginx", verb)
    assert django_service.unread("nginx", ["old", "new"]) == []


def test_nobody_is_asked_where_nothing_has_changed(reading):
    """A run with nothing to do starts no program for this."""
    django_service.act("nginx", "reload")
    reading.called.clear()
    assert django_service.unread("nginx", ["old", "new"]) == []
    assert reading.called == []


def test_service_that_never_ran_has_read_nothing(reading):
    reading.shown = "0"
    assert django_service.unread("nginx", ["old", "new"]) == ["old", "new"]


@pytest.mark.parametrize("verb", ["enable", "stop"])
def test_other_words_let_a_service_read_nothing(reading, verb):
    django_service.act("nginx", verb)
    assert django_service.unread("nginx", ["new"]) == ["new"]


def test_a_failed_reload_read_nothing(reading):
    reading.fails = "reload"
    with pytest.raises(django_service.ServiceError):
        django_service.act("nginx", "reload")
    assert django_service.unread("nginx", ["new"]) == ["new"]


def test_a_file_from_the_future_is_no_reason_for_endless_restarts(reading, monkeypatch):
    monkeypatch.setattr(django_service, "_changed", lambda path: time.time() + 1000)
    assert django_service.unread("nginx", ["future"]) == []


def test_without_systemd_the_boot_counts(reading, monkeypatch):
    monkeypatch.setattr(django_service, "booted", lambda: False)
    assert django_service.unread("nginx", ["old", "new"]) == ["old", "new"]
    monkeypatch.setattr(django_service, "_seconds_since_boot", lambda: 100.0)
    assert django_service.unread("nginx", ["old", "new"]) == ["new"]


def test_a_link_that_leads_elsewhere_has_changed(tmp_path):
    target = tmp_path / "target"
    target.touch()
    before = time.time()
    time.sleep(0.02)
    link = tmp_path / "link"
    link.symlink_to(target)
    assert django_service._changed(str(target)) <= before < django_service._changed(str(link))
    assert django_service._changed(str(tmp_path / "missing")) == 0
