"""
Runs that are killed before each thing that they do, and power cuts: visitors notice nothing, and
one more run mends all.
"""

import http.client
import re
import time

import pytest

from test.hosts import boot

from .faults import (
    LOG,
    MANAGERS,
    assert_is_live,
    is_well,
    mend,
    paused,
    prepared,
    release,
    run_with,
)
from .guestbook import ROOT, no_failed_request, whoami
from .machines import SITE, ensure

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.proves(
        "faults",
        "killed runs and power cuts",
        "killed before each thing a release does: visitors notice nothing, the next run goes on",
        on=["Debian 12"],
    ),
]

# Not fit to be done twice in the same tree; a part of it is done by a child of its own.
BUILD = {"build": "mkdir built && (sleep 0.6; mkdir built/late) && mv built/late built/done"}
PACKAGES = {"packages": True}
# Checks are the first of a release, then come static files and migrations.
PROJECT_TASK = r"bin/python', '-'\]"
WEB = "guestbook.web.*(conf|service)'"
# The state that is killed, what it is about to do, when exactly, and what the release brings.
POINTS = (
    ("source is fetched", "os.mkdir", f"{ROOT}/releases/", {}, {}),
    ("source is fetched", "os.rename", "/release.json'", {}, {}),
    ("packages are installed", "subprocess.Popen", "'venv', '--no-project'", {}, PACKAGES),
    ("packages are installed", "subprocess.Popen", "'pip', 'install'", {"delay": 0.3}, PACKAGES),
    ("packages are installed", "os.rename", "..django-formula.json", {}, PACKAGES),
    ("packages are installed", "os.rename", "/venv'", {}, PACKAGES),
    ("release is built", "os.rename", "/release.json'", {"count": 3}, {}),
    ("release is built", "subprocess.Popen", "mkdir built", {"delay": 0.3}, BUILD),
    ("release is built", "subprocess.Popen", "compileall", {"delay": 0.05}, {}),
    ("release is built", "os.rename", "/release.json'", {"count": 4}, BUILD),
    ("release is configured", "os.rename", "/environment'", {}, {}),
    ("release is configured", "os.rename", "/etc/guestbook.ini'", {}, {}),
    ("release is configured", "os.rename", "/instance.json'", {}, {}),
    ("release is checked", "subprocess.Popen", PROJECT_TASK, {"delay": 0.2}, {}),
    ("release is checked", "os.rename", "/instance.json'", {"count": 2}, {}),
    (
        "static files are published",
        "subprocess.Popen",
        PROJECT_TASK,
        {"count": 2, "delay": 0.2},
        {},
    ),
    (
        "database is migrated",
        "subprocess.Popen",
        PROJECT_TASK,
        {"count": 3, "delay": 0.9},
        {"migration": "before"},
    ),
    ("database is migrated", "os.rename", "/instance.json'", {"count": 3}, {}),
    ("first tasks are done", "open", "/first.json'", {}, {}),
    ("tasks before the switch are done", "os.rename", "/tasks.json'", {}, {}),
    (
        "superuser is there",
        "subprocess.Popen",
        PROJECT_TASK,
        {"count": 3, "delay": 0.3},
        {"admin": "chief"},
    ),
    ("release is live", "os.rename", WEB, {}, {}),
    ("release is live", "socket.connect", "/run/django/guestbook/web-", {}, {}),
    ("release is live", "os.symlink", "/.web.sock", {}, {}),
    ("release is live", "os.rename", "/web.sock'", {}, {}),
    ("release is live", "os.symlink", "/.current", {}, {}),
    ("release is live", "os.symlink", "/.live", {}, {}),
    ("release is live", "os.rename", "/live'", {}, {}),
    ("release is live", "os.remove", WEB, {}, {}),
    ("release is live", "os.remove", "/run/django/guestbook/web-", {}, {}),
    ("release is live", "os.rename", "/history.json'", {}, {}),
    ("processes run", "os.rename", "guestbook.idle.*(conf|service)'", {}, {}),
    ("what runs is verified", "open", r"'/proc/\d\d+/environ'", {}, {}),
    (
        "late migrations are applied",
        "subprocess.Popen",
        PROJECT_TASK,
        {"count": 3, "delay": 0.9},
        {"migration": "after"},
    ),
    ("tasks after the switch are done", "os.rename", "/tasks.json'", {"count": 2}, {}),
    ("old releases are gone", "shutil.rmtree", f"{ROOT}/releases/", {"delay": 0.01}, {}),
)
ROLLBACKS = (  # what it is about to do, and the call that comes next
    ("os.rename", "/refused.json'", "state.apply"),
    ("os.rename", WEB, "state.apply"),
    ("os.rename", WEB, "django.rollback"),
    ("os.symlink", "/.web.sock", "django.rollback"),
    ("os.symlink", "/.current", "state.apply"),
    ("os.remove", WEB, "state.apply"),
)
POWER_CUTS = (
    ("subprocess.Popen", "'pip', 'install'", 0.2, PACKAGES),
    ("os.symlink", "/.web.sock", 0, {}),
    ("os.symlink", "/.current", 0, {}),
    ("os.remove", WEB, 0, {}),
)


@pytest.fixture(scope="module", params=MANAGERS)
def site(request):
    """The example site under a process manager, with a release to begin with."""
    with boot(f"int-killed-{request.param}", image=ensure(SITE)) as host:
        yield prepared(host, request.param)


@pytest.fixture
def server(site):
    """The site with the newest release serving, whatever the test before left behind."""
    if not is_well(site):
        mend(site)
    return site


def share(server, points):
    """Every second point: the other host proves the rest."""
    return points[MANAGERS.index(server.written["manager"]) :: len(MANAGERS)]


def kill(server, event, at, words="state.apply", **fault):
    """A run of Salt that is killed."""
    done = run_with(server, event, at, words, **fault)
    assert done.returncode in (-9, 137), f"not killed ({done.returncode}):\n{done.stdout[-3000:]}"


def kill_releases(server, points):
    """Kill releases, by turns the run alone and all that it has started with it."""
    for number, (state, event, at, how, brings) in enumerate(points):
        release(server, **{"build": "true", **brings})
        try:
            with no_failed_request(server):
                kill(server, event, at, **how, tree=bool(number % 2))
                running = re.findall(r"Running state \[guestbook: ([^]]+)\]", server.host.read(LOG))
                assert running[-1] == state, "it was killed elsewhere"
                server.apply()
            assert_is_live(server)
            if brings == BUILD:
                assert server.host.exists(f"{ROOT}/current/source/built/done")
                assert not server.host.exists(f"{ROOT}/current/source/built/late")
        except AssertionError as error:
            raise AssertionError(f"killed in {state} at {event} {at} {how}: {error}") from error


def test_every_state_of_a_release_is_killed(server):
    ids = [result["__id__"] for result in server.apply().results]
    first = ids.index("guestbook: source is fetched")
    last = ids.index("guestbook: old releases are gone")
    states = {name.removeprefix("guestbook: ") for name in ids[first : last + 1]}
    assert states == {state for state, *_ in POINTS}
    assert len(POINTS) > 30


def test_release_killed_before_each_thing_it_does_until_it_is_checked(server):
    kill_releases(server, share(server, POINTS[:16]))


def test_release_killed_before_each_thing_it_does_until_it_serves(server):
    kill_releases(server, share(server, POINTS[16:26]))


def test_release_killed_before_each_thing_it_does_until_the_end(server):
    kill_releases(server, share(server, POINTS[26:]))


def test_rollback_killed_before_each_thing_it_does(server):
    for number, (event, at, then) in enumerate(share(server, ROLLBACKS)):
        if not is_well(server):
            server.call("django.release_allow", "guestbook")
            server.apply()
        headline, marker = server.headline, server.written["marker"]
        release(server)
        server.apply()
        try:
            with no_failed_request(server):
                kill(server, event, at, "django.rollback guestbook", tree=bool(number % 2))
                if then == "django.rollback":
                    server.run("salt-call django.rollback guestbook")
                else:
                    server.apply()
            if "refused" in at:
                assert_is_live(server)
            else:
                assert headline in server.host.get("/").text
                assert whoami(server)["release_marker"] == marker
                assert f"marker = {marker}" in server.host.read("/etc/guestbook.ini")
                assert server.apply().changed == []
        except AssertionError as error:
            raise AssertionError(f"killed at {event} {at}, then {then}: {error}") from error


# Without power


def test_power_cut_during_a_release(server):
    for event, at, delay, brings in share(server, POWER_CUTS):
        old = server.live()[0]
        release(server, **brings)
        process = paused(server, event, at, delay, 60)
        server.host.power_cut()
        process.wait(30)
        server.host.power_on()
        answer = answer_after_boot(server)
        assert answer["release"] in answer["code_directory"]
        is_old = answer["release"] == old
        assert is_old == (answer["release_marker"] != server.written["marker"])
        with no_failed_request(server):
            server.apply()
        assert_is_live(server)


def answer_after_boot(server):
    """The first answer of the site, which nobody helps."""
    end = time.monotonic() + 60
    while True:
        try:
            return whoami(server)
        except (OSError, http.client.HTTPException, ValueError):
            assert time.monotonic() < end, "the site does not answer by itself"
            time.sleep(0.2)
