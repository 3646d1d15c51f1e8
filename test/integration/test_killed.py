"""Runs that are killed at any moment, power cuts, and services that stop during a release."""

import contextlib
import http.client
import json
import re
import subprocess
import time

import pytest

from test.hosts import boot

from .guestbook import INDEX, ROOT, SOURCE, change, develop, no_failed_request, whoami
from .machines import SITE, ensure
from .server import Outcome, Server, put_checkout

pytestmark = pytest.mark.timeout(900)

WATCHER = "/root/kill_when.py"
LOG = "/run/kill.log"
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
      processes:
        idle: {command: sleep 1000, start_seconds: 1s}
      tasks:
        - {name: early, command: sleep 0.3, when: before}
        - {name: late, command: sleep 0.3, when: after}
"""
# Starts a command on the host, and kills it as soon as a condition is met and some time has passed.
KILL_WHEN = """\
import glob, json, os, re, subprocess, sys, time

ROOT, RUN = "/srv/django/guestbook", "/run/django/guestbook"
condition, detail, delay, *command = sys.argv[1:]


def text(path):
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def link(name):
    return os.readlink(f"{ROOT}/{name}")


def venvs():
    return set(os.listdir(f"{ROOT}/venvs"))


def releases():
    return {path: json.loads(text(f"{path}/release.json") or "{}").get("stage")
            for path in glob.glob(f"{ROOT}/releases/*")}


def serving():
    found = [text(path) for path in glob.glob("/proc/[0-9]*/cmdline")]
    found = [re.search("/instances/([^/]+)/", line) for line in found if "bin/gunicorn" in line]
    return {match.group(1) for match in found if match}


def sockets():
    return set(glob.glob(f"{RUN}/web-*.sock"))


def refused():
    return os.path.exists(f"{ROOT}/refused.json") and os.stat(f"{ROOT}/refused.json").st_ino


def look():
    return {"venvs": venvs(), "releases": releases(), "serving": serving(), "refused": refused(),
            "socket": link("web.sock"), "live": link("live"), "current": link("current")}


def new(what):
    return {each for each in what() if each not in first[what.__name__]}


def is_met():
    if condition == "log":
        return detail in text("/run/kill.log")
    if condition == "venv":
        return new(venvs)
    if condition == "source":
        return any(os.path.isdir(f"{path}/source") for path in new(releases))
    if condition == "built":
        stages = releases()
        return any(stages[path] == "built" for path in new(releases))
    if condition == "migrating":
        return os.path.exists(f"{ROOT}/shared/work/{detail}")
    if condition == "second web process":
        return new(serving)
    if condition == "socket":
        return link("web.sock") != first["socket"]
    if condition == "live":
        return link("live") != first["live"]
    if condition == "old web process gone":
        return link("live") != first["live"] and not first["serving"] & serving()
    if condition == "refused":
        return refused() != first["refused"]
    sys.exit(f"no such condition: {condition}")


first = look()
open("/run/kill.log", "w").close()
output = open("/run/kill.out", "w")
process = subprocess.Popen(command, stdout=output, stderr=output)
end = time.monotonic() + 120
while process.poll() is None and time.monotonic() < end:
    if is_met():
        time.sleep(float(delay))
        break
    time.sleep(0.01)
process.kill()
print(json.dumps({"ended": process.wait(), "switched": link("live") != first["live"]}))
"""
MIGRATION = """\
import time

from django.db import migrations


def mark(apps, editor):
    open("/srv/django/guestbook/shared/work/migrating", "w").close()
    time.sleep(1)


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [
        migrations.RunSQL("CREATE TABLE extra (number integer)", "DROP TABLE extra"),
        migrations.RunPython(mark, migrations.RunPython.noop),
    ]
"""
# What a run is killed at: a condition of the watcher, its detail, seconds to let it go on, and what
# the release brings beside its code and environment.
STATES = (
    ("source is fetched", 0, ""),
    ("packages are installed", 0, "idna==3.10"),
    ("release is built", 0, ""),
    ("release is configured", 0, ""),
    ("release is checked", 0.4, ""),
    ("static files are published", 0, ""),
    ("database is migrated", 0.1, "migration"),
    ("first tasks are done", 0, ""),
    ("tasks before the switch are done", 0.1, ""),
    ("superuser is there", 0, ""),
    ("release is live", 0.2, ""),
    ("processes run", 0.4, ""),
    ("what runs is verified", 0, ""),
    ("tasks after the switch are done", 0.1, ""),
    ("old releases are gone", 0, ""),
)
MOMENTS = (
    ("venv", "", 0.3, "idna==3.7"),
    ("source", "", 0, ""),
    ("built", "", 0, ""),
    ("migrating", "migrating", 0.2, "migration"),
    ("second web process", "", 0, ""),
    ("socket", "", 0, ""),
    ("live", "", 0, ""),
    ("old web process gone", "", 0, ""),
)
ROLLBACKS = (
    ("refused", 0, "state.apply"),
    ("second web process", 0, "state.apply"),
    ("refused", 0, "django.rollback"),
    ("live", 0, "state.apply"),
)
MANAGERS = ["supervisord", "systemd"]


@pytest.fixture(scope="module", params=MANAGERS)
def server(request):
    """The example site under a process manager, with a release to begin with."""
    with boot(f"int-killed-{request.param}", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        host.write(WATCHER, KILL_WHEN)
        server.manager, server.number, server.headline = request.param, 0, "It works."
        release(server)
        server.apply()
        yield server


def share(server, points):
    """Every second point: the other host proves the rest."""
    return points[MANAGERS.index(server.manager) :: len(MANAGERS)]


def release(server, extra=""):
    """Prepare another release: its code, its environment and, if told, a package or migration."""
    server.number += 1
    headline = f"Release {server.number}."
    change(server, INDEX, server.headline, headline)
    server.headline = headline
    server.pillar(PILLAR % {"manager": server.manager, "marker": f"m{server.number}"})
    if extra == "migration":
        server.host.write(f"{SOURCE}/guestbook/migrations/0004_extra.py", MIGRATION)
    elif extra:
        server.run(f"{server.git} checkout -q v1 requirements.txt")
        server.run(f"echo {extra} >>{SOURCE}/requirements.txt")


def kill_when(server, condition, detail="", delay=0, words=("state.apply",)):
    """Start a command of Salt and kill it; whether it had switched to another instance."""
    command = ["salt-call", *words, f"--log-file={LOG}", "--log-file-level=info"]
    argv = ["python3", WATCHER, condition, detail, str(delay), *command]
    told = json.loads(server.run(argv, timeout=150).stdout)
    shown = f"{condition} {detail}: {told}\n{server.host.read('/run/kill.out')[-3000:]}"
    assert told["ended"] == -9, f"not killed: {shown}"
    return told["switched"]


def assert_serves(server, headline, marker):
    text = server.host.get("/").text
    assert headline in text, f"not {headline} but {re.findall('Release [0-9]+', text)}"
    assert whoami(server)["release_marker"] == marker
    assert f"marker = {marker}" in server.host.read("/etc/guestbook.ini")
    history = json.loads(server.host.read(f"{ROOT}/history.json"))["entries"]
    assert history[-1]["instance"] == server.live()[1], "that it serves is noted"


def kill_a_release(server, condition, detail, delay, extra):
    """Kill a release; one more run, with nothing done by hand, completes it."""
    point = f"{condition} {detail} {delay} ({server.manager})"
    release(server, extra)
    try:
        with no_failed_request(server):
            kill_when(server, condition, detail, delay)
            server.apply()
        assert_serves(server, server.headline, f"m{server.number}")
        again = server.apply()
        assert again.changed == [], again.told()
    except AssertionError as error:
        raise AssertionError(f"killed at {point}: {error}") from error


def test_release_killed_at_every_state(server):
    points = share(server, STATES)
    for state, delay, extra in points:
        kill_a_release(server, "log", f"Running state [guestbook: {state}]", delay, extra)
    assert len(points) >= 7


def test_release_killed_within_a_step(server):
    points = share(server, MOMENTS)
    for point in points:
        kill_a_release(server, *point)
    assert len(points) == 4


def test_rollback_killed(server):
    headline, marker = server.headline, f"m{server.number}"
    for condition, delay, then in share(server, ROLLBACKS):
        release(server)
        server.apply()
        try:
            with no_failed_request(server):
                kill_when(server, condition, "", delay, ("django.rollback", "guestbook"))
                if then == "django.rollback":
                    server.call("django.rollback", "guestbook")
                else:
                    server.apply()
            assert_serves(server, headline, marker)
            again = server.apply()
            assert again.changed == [], again.told()
        except AssertionError as error:
            point = f"{condition}, then {then} ({server.manager})"
            raise AssertionError(f"rollback killed at {point}: {error}") from error


# Power cuts, and services that stop


def start_a_release(server, state):
    """Begin a run, and wait until it comes to a state."""
    release(server)
    server.run(f"rm -f {LOG}")
    words = f"--log-file={LOG} --log-file-level=info --log-level=warning --out=json"
    process = server.host.start(
        f"exec salt-call state.apply {words}", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    seen = f"grep -qsF 'Running state [guestbook: {state}]' {LOG}"
    server.run(["timeout", "120", "sh", "-c", f"until {seen}; do sleep 0.02; done"])
    return process


def wait_until_it_answers(server, seconds=60):
    """The release marker that visitors get, once they get an answer."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            return whoami(server)["release_marker"]
        time.sleep(0.5)
    raise AssertionError(f"no answer within {seconds} s")


def converge(server):
    """One run is enough, and nothing has to be allowed for it."""
    server.apply()
    assert_serves(server, server.headline, f"m{server.number}")
    again = server.apply()
    assert again.changed == [], again.told()


def test_power_cut_during_a_release(server):
    state = {"supervisord": "release is live", "systemd": "release is checked"}[server.manager]
    process = start_a_release(server, state)
    server.host.power_cut()
    process.communicate()
    server.host.power_on()
    assert wait_until_it_answers(server) in (f"m{server.number - 1}", f"m{server.number}")
    converge(server)


def service_stops(server, service):
    """A service stops while a release is built: the old one answers again once it is back."""
    old = f"m{server.number}"
    process = start_a_release(server, "release is built")
    server.run(["systemctl", "stop", service])
    stdout, stderr = process.communicate(timeout=300)
    log = server.host.read(LOG)
    assert "Traceback" not in stdout + stderr + log
    outcome = Outcome(process.returncode, stdout, stderr)
    server.run(["systemctl", "start", service])
    marker = wait_until_it_answers(server)
    assert marker == (old if outcome.failed else f"m{server.number}"), outcome.told()
    assert server.host.get("/healthz/").status == 200
    assert "release_allow" not in stdout, outcome.told()
    converge(server)
    return outcome


def test_postgresql_stops_during_a_release(server):
    outcome = service_stops(server, "postgresql")
    assert outcome.failed, "a release cannot be migrated without its database"


def test_redis_stops_during_a_release(server):
    service_stops(server, "redis-server@guestbook")
