"""Going back, releases that are refused, and workers that finish their work."""

import json
import time

import pytest

from test.hosts import boot

from .guestbook import INDEX, ROOT, SOURCE, change, develop, no_failed_request, restore, whoami
from .machines import SITE, ensure
from .server import Server, put_checkout

pytestmark = pytest.mark.proves(
    "releases",
    "rollback, refusals, scaling",
    "back within a run and for good; workers finish their jobs, by each process manager",
    on=["Debian 12"],
)

WORK = f"{ROOT}/shared/work"
PILLAR = """\
django:
  process_manager: %(manager)s
  projects:
    guestbook:
      source: {path: /srv/src/guestbook}
      settings: config.settings
      health: {path: /healthz/, timeout: 15s}
      writable: [work]
      files:
        /etc/guestbook.ini: {content: {release: {marker: '%(marker)s'}}}
      env: {RELEASE_MARKER: '%(marker)s', DJANGO_TEST_ENDPOINTS: '1'}
      processes: %(processes)s
"""
WORKERS = """
        jobs: {command: python job.py, stop_timeout: 60s, start_seconds: 1s}
        idle: {command: sleep 1000, start_seconds: 1s}
        clock: {command: python clock.py, single: true, stop_timeout: 20s, start_seconds: 1s}
"""
UNREACHABLE = """\
import os

from django.db import OperationalError, migrations


def ask(apps, editor):
    if os.path.exists("/srv/src/away"):
        raise OperationalError("server closed the connection")


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [migrations.RunPython(ask, migrations.RunPython.noop)]
"""
# Works on one thing; told to end, it finishes that first, which it may once the file is there.
JOB = """\
import os, signal, time

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
WORK = "/srv/django/guestbook/shared/work"


def say(word):
    with open(f"{WORK}/jobs", "a") as log:
        log.write(f"{word} {os.environ['RELEASE_MARKER']} {os.getpid()}\\n")


say("began")
while not (told and os.path.exists(f"{WORK}/may-finish")):
    time.sleep(0.2)
say("finished")
"""
# Ends a second after it was told to, and complains if another one ever runs beside it.
CLOCK = """\
import fcntl, os, signal, time

told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
lock = open("/srv/django/guestbook/shared/work/lock", "w")
log = open("/srv/django/guestbook/shared/work/clock", "a", buffering=1)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    log.write("two at once\\n")
    raise
log.write(f"began {os.environ['RELEASE_MARKER']}\\n")
while not told:
    time.sleep(0.1)
time.sleep(1)
log.write(f"ended {os.environ['RELEASE_MARKER']}\\n")
"""


@pytest.fixture(scope="module", params=["supervisord", "systemd"])
def server(request):
    """The example site under a process manager, with the releases one and two; two serves."""
    with boot(f"int-rollback-{request.param}", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        server.manager = request.param
        configure(server, "one")
        server.apply()
        change(server, INDEX, "It works.", "Second.")
        server.one = server.live()
        server.apply()
        server.two = server.live()
        assert server.one[0] != server.two[0]
        yield server


def configure(server, marker, processes="{}"):
    server.pillar(PILLAR % {"manager": server.manager, "marker": marker, "processes": processes})


def pids(server):
    return set(server.host.pids("bin/gunicorn"))


def test_rollback_predicted(server):
    before = pids(server)
    told = server.call("django.rollback", "guestbook", "test=True")
    assert told["changes"] == {"release": {"old": server.two[0], "new": server.one[0]}}
    assert server.live() == server.two
    assert pids(server) == before
    assert server.apply().changed == []


def test_rollback_drops_nothing_and_lasts(server):
    with no_failed_request(server) as visitors:
        told = server.call("django.rollback", "guestbook")
    assert told["database_is_ahead_by"] == {}
    assert server.live() == server.one
    assert "It works." in server.host.get("/").text
    served = [json.loads(text) for text in visitors.answers]
    assert {answer["release"] for answer in served} == {server.one[0], server.two[0]}
    assert all(answer["release"] in answer["code_directory"] for answer in served), "no mix"
    server.assert_settled()
    assert server.live() == server.one
    comment = server.apply().comment("guestbook: what runs is verified")
    assert f"Rolled back from release {server.two[0]}" in comment
    assert "django.release_allow" in comment
    assert "Rolled back" in server.call("django.status")["guestbook"]["held"]


def test_what_is_held_to_is_kept_running(server):
    server.host.kill("bin/gunicorn")
    server.apply()
    assert server.live() == server.one
    assert whoami(server)["release"] == server.one[0]
    server.assert_settled()


def test_changed_pillar_ends_it(server):
    configure(server, "two")
    with no_failed_request(server):
        server.apply()
    assert whoami(server)["release"] == server.two[0]
    assert whoami(server)["release_marker"] == "two"
    assert "marker = two" in server.host.read("/etc/guestbook.ini")
    server.assert_settled()


def test_rollback_to_a_named_release_with_its_own_environment_and_files(server):
    server.call("django.rollback", "guestbook", server.one[0][:6])
    assert whoami(server)["release"] == server.one[0]
    assert whoami(server)["release_marker"] == "one"
    assert "marker = one" in server.host.read("/etc/guestbook.ini")
    server.assert_settled()


def test_operator_allows_it_again(server):
    assert server.call("django.release_allow", "guestbook") == [server.two[0]]
    predicted = server.predict()
    assert "guestbook: release is live" in predicted.changed
    with no_failed_request(server):
        assert server.apply().changed == predicted.changed
    assert whoami(server)["release"] == server.two[0]
    server.assert_settled()


def test_rollback_to_what_is_not_there(server):
    done = server.run("salt-call django.rollback guestbook ffffff", check=False)
    assert done.returncode != 0
    assert f"these have served and are still here: {min(server.one[0], server.two[0])}" in (
        done.stdout + done.stderr
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert whoami(server)["release"] == server.two[0]


def test_restart_brings_no_other_release(server):
    """What the source has got since is left to the next run; what the pillar means is told."""
    live, before = server.live(), pids(server)
    change(server, INDEX, "Second.", "Not yet.")
    with no_failed_request(server):
        server.call("django.restart", "guestbook")
    assert server.live()[0] == live[0] and server.live()[1] != live[1]
    assert not before & pids(server)
    change(server, INDEX, "Not yet.", "Second.")
    before = pids(server)
    pillar = server.host.read("/etc/django-formula/pillar/site.sls")
    server.pillar(f"{pillar.rstrip()}\n      build: ['true']\n")
    done = server.run("salt-call django.restart guestbook", check=False)
    assert done.returncode != 0
    assert "The pillar means another release" in done.stdout + done.stderr
    assert pids(server) == before
    server.pillar(pillar)
    server.assert_settled()


# Releases that failed


def test_failed_release_is_not_tried_again(server):
    change(server, "guestbook/views.py", "status=200 if ok else 503", "status=503")
    before = set(server.run(f"ls {ROOT}/releases {ROOT}/instances").stdout.split())
    with no_failed_request(server):
        first = server.apply(check=False)
        started = server.host.read("/var/log/django/guestbook/web.log").count("Starting gunicorn")
        second = server.apply(check=False)
    assert "guestbook: release is live" in first.failed
    assert "django.release_allow guestbook" in first.comment("guestbook: release is live")
    assert second.failed[0] == "guestbook: what runs is verified"
    assert "503" in second.comment("guestbook: what runs is verified")
    assert second.changed == []
    log = server.host.read("/var/log/django/guestbook/web.log")
    assert log.count("Starting gunicorn") == started, "it was not started a second time"
    after = set(server.run(f"ls {ROOT}/releases {ROOT}/instances").stdout.split())
    assert after == before, "nothing of it is left"
    assert whoami(server)["release"] == server.two[0]
    predicted = server.apply("test=True", check=False)
    assert predicted.failed == second.failed
    server.call("django.release_allow", "guestbook")
    third = server.apply(check=False)
    assert "guestbook: release is live" in third.failed, "it is tried again"
    server.call("django.release_allow", "guestbook")


def test_failure_that_lies_outside_is_tried_again(server):
    """A database that is away during a release holds nothing back."""
    restore(server)
    server.host.write(f"{SOURCE}/guestbook/migrations/0004_needs_the_database.py", UNREACHABLE)
    server.run("touch /srv/src/away")
    with no_failed_request(server):
        failed = server.apply(check=False)
    assert failed.failed[0] == "guestbook: database is migrated"
    assert "server closed the connection" in failed.comment("guestbook: database is migrated")
    assert "release_allow" not in failed.output
    server.run("rm /srv/src/away")
    server.apply()
    assert server.live()[0] not in (server.one[0], server.two[0])
    server.assert_settled()


def test_release_that_failed_takes_its_files_on_the_host_back(server):
    before = server.host.read("/etc/guestbook.ini")
    configure(server, "bad")
    change(server, "guestbook/views.py", "import logging\n", "import logging\nimport nowhere\n")
    assert server.apply(check=False).failed[0] == "guestbook: release is checked"
    assert server.host.read("/etc/guestbook.ini") == before
    restore(server)


# Workers


def wait(server, condition, seconds=60):
    server.run(["timeout", str(seconds), "sh", "-c", f"until {condition}; do sleep 0.2; done"])


def until_jobs_end(server, seconds=60):
    """Old workers finish what they were at, and the next run forgets them."""
    deadline = time.monotonic() + seconds
    while server.host.pids("job[.]py"):
        assert time.monotonic() < deadline, "a job does not end"
        time.sleep(0.5)
    server.apply()


def lines(server, name):
    return server.host.read(f"{WORK}/{name}").splitlines()


def test_worker_finishes_its_job_in_its_old_release(server):
    restore(server)
    server.host.write(f"{SOURCE}/job.py", JOB)
    server.host.write(f"{SOURCE}/clock.py", CLOCK)
    configure(server, "first", WORKERS)
    server.apply()
    wait(server, f"grep -q 'began first' {WORK}/jobs")
    configure(server, "second", WORKERS)
    outcome = server.apply()
    assert "guestbook: processes run" in outcome.changed
    words = [line.rpartition(" ")[0] for line in lines(server, "jobs")]
    assert words == ["began first", "began second"], "the old one works, too"
    comment = outcome.comment("guestbook: old releases are gone")
    assert "Still finishing their work: guestbook.jobs." in comment
    old = [line.split()[-1] for line in lines(server, "jobs") if "first" in line][-1]
    server.run(f"touch {WORK}/may-finish")
    wait(server, f"! kill -0 {old} 2>/dev/null")
    words = [line.rpartition(" ")[0] for line in lines(server, "jobs")]
    assert words[-1] == "finished first", "it was not cut off"
    ended = server.apply()
    assert ended.changed == ["guestbook: old releases are gone"]
    server.assert_settled()


def test_single_process_never_runs_twice(server):
    assert "two at once" not in lines(server, "clock")
    assert lines(server, "clock") == ["began first", "ended first", "began second"]


# Restart and scale


def programs(server, process):
    shown = server.call("django.status")["guestbook"]["processes"]
    return [name for name in shown if name.split(".")[1].startswith(process)]


def test_restart_exchanges_the_web_process(server):
    before, instance = pids(server), server.live()[1]
    with no_failed_request(server):
        server.call("django.restart", "guestbook")
    assert not before & pids(server)
    assert server.live()[0] == instance.partition("-")[0], "of the same release"
    wait(server, "test $(pgrep -fc 'job[.]py') = 1")
    server.apply()
    server.assert_settled()


def test_restart_of_one_process(server):
    before, clock = pids(server), lines(server, "clock")
    told = server.call("django.restart", "guestbook", "clock")
    assert told == {"restarted": programs(server, "clock")}
    wait(server, f"test $(wc -l <{WORK}/clock) = {len(clock) + 2}")
    assert lines(server, "clock")[len(clock) :] == ["ended second", "began second"]
    assert pids(server) == before
    server.assert_settled()


def test_scale_for_the_moment(server):
    workers = len(pids(server)) - 1
    with no_failed_request(server):
        told = server.call("django.scale", "guestbook", "web", str(workers + 2))
        assert told == {"web": {"old": workers, "new": workers + 2}}
        assert len(pids(server)) == workers + 3
        server.call("django.scale", "guestbook", "web", str(workers))
    assert len(pids(server)) == workers + 1

    assert len(server.call("django.scale", "guestbook", "idle", "3")["started"]) == 2
    assert len(programs(server, "idle")) == 3
    outcome = server.apply()
    assert outcome.changed == ["guestbook: processes run"], outcome.told()
    assert len(programs(server, "idle")) == 1
    server.assert_settled()


def test_single_process_is_not_scaled(server):
    done = server.run("salt-call django.scale guestbook clock 2", check=False)
    assert done.returncode != 0
    assert "clock is single" in done.stdout + done.stderr


def test_another_process_manager(server):
    """The same processes by the other one, and back, without a gap and without leftovers."""
    count, manager = len(pids(server)), server.manager
    for other in ({"systemd": "supervisord", "supervisord": "systemd"}[manager], manager):
        server.manager = other
        configure(server, "second")
        with no_failed_request(server):
            server.apply()
        assert len(pids(server)) == count
        until_jobs_end(server)
        server.assert_settled()
