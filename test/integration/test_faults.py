"""
Runs that are killed before each thing that they do, power cuts, and services that fail on the way:
visitors notice nothing, and one more run mends all.
"""

import json
import re

import pytest

from test.hosts import boot

from .guestbook import INDEX, ROOT, SOURCE, change, develop, no_failed_request, whoami
from .machines import SITE, ensure
from .server import Server, put_checkout

pytestmark = pytest.mark.timeout(900)

MANAGERS = ("supervisord", "systemd")
FOLDER = "/root/faults"
PILLAR = """\
django:
  process_manager: %(manager)s
  projects:
    guestbook:
      source: {path: /srv/src/guestbook}
      settings: config.settings
      health: {path: %(health)s, timeout: 15s}
      env: {RELEASE_MARKER: '%(marker)s', DJANGO_TEST_ENDPOINTS: '1'}
      build: [{run: %(build)s}]
      processes:
        idle: {command: sleep 1000, start_seconds: 1s}
      tasks:
        - {name: early, command: 'true', when: before}
        - {name: late, command: 'true', when: after}
      secrets: {API_TOKEN: {value: '%(token)s'}}
      writable: [{link: guestbook/notes, path: %(notes)s}]
"""
# Not fit to be done twice in the same tree; a part of it is done by a child of its own.
BUILD = "mkdir built && (sleep 0.6; mkdir built/late) && mv built/late built/done"
MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "%s")]
    operations = [
        migrations.RunSQL(
            "CREATE TABLE fault_%d (number integer); SELECT pg_sleep(0.6)", "DROP TABLE fault_%d"
        )
    ]
"""
# Python loads this by itself. It does what it is told (to kill the run, to run a command) right
# before the run does a thing: renames a file, starts a program, connects to a socket.
SITECUSTOMIZE = """\
import json, os, re, signal, subprocess, sys, threading, time

told = os.environ.pop("FAULT", "")
os.environ.pop("PYTHONPATH", None)


def end(tree):
    if tree:
        listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True).stdout
        parents = dict(map(int, line.split()) for line in listing.splitlines())
        found = {os.getpid()}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        for pid in found - {os.getpid()}:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    os.kill(os.getpid(), signal.SIGKILL)


def act(fault):
    if fault["delay"]:
        time.sleep(fault["delay"])
    open("/run/fault", "w").write("done")
    if fault["command"]:
        subprocess.run(fault["command"], shell=True)
    else:
        end(fault["tree"])


def watch(event, words):
    if event != fault["event"] or not re.search(fault["at"], str(words)):
        return
    fault["count"] -= 1
    if fault["count"]:
        return
    if fault["delay"]:
        threading.Thread(target=act, args=[fault], daemon=True).start()
    else:
        act(fault)


if told and any("salt-call" in word for word in sys.orig_argv):
    fault = json.loads(told)
    sys.addaudithook(watch)
"""


@pytest.fixture(scope="module", params=MANAGERS)
def server(request):
    """The example site under a process manager, with a release to begin with."""
    with boot(f"int-faults-{request.param}", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        host.write(f"{FOLDER}/sitecustomize.py", SITECUSTOMIZE)
        server.number, server.headline, server.parent = 0, "It works.", "0003_heartbeat"
        server.written = {"manager": request.param, "health": "/healthz/", "token": "token-one"}
        server.written |= {"marker": "m0", "build": "'true'", "notes": "one"}
        release(server)
        server.apply()
        yield server


def only(manager):
    """A test that needs to be done under one process manager only."""
    return pytest.mark.parametrize("server", [manager], indirect=True)


def write(server, **words):
    """Write the pillar, with these words changed."""
    server.written |= words
    server.pillar(PILLAR % {**server.written, "build": json.dumps(server.written["build"])})


def release(server, **words):
    """Prepare another release: code, environment, packages and a migration of its own."""
    server.number += 1
    number = server.number
    change(server, INDEX, server.headline, f"Release {number}.")
    server.headline = f"Release {number}."
    name = f"{number + 3:04}_fault"
    text = MIGRATION % (server.parent, number, number)
    server.host.write(f"{SOURCE}/guestbook/migrations/{name}.py", text)
    server.parent = name
    typing = ("4.16.0", "4.15.0")[number % 2]
    server.run(
        f"sed -i 's/^typing_extensions.*/typing_extensions=={typing}  # {number}/' "
        f"{SOURCE}/requirements.txt"
    )
    write(server, marker=f"m{number}", **words)


def run_with(server, event, at, words="state.apply", **fault):
    """A run of Salt with a fault, which must have come; its exit status and what it said."""
    server.run("rm -f /run/fault")
    told = {"event": event, "at": at, "count": 1, "delay": 0, "command": None, "tree": False}
    environment = {"PYTHONPATH": FOLDER, "FAULT": json.dumps({**told, **fault})}
    done = server.run(f"salt-call {words} 2>&1", check=False, env=environment, timeout=200)
    assert server.host.exists("/run/fault"), f"{event} {at} never came:\n{done.stdout[-3000:]}"
    return done


def kill(server, event, at, words="state.apply", **fault):
    """A run of Salt that is killed."""
    done = run_with(server, event, at, words, **fault)
    assert done.returncode in (-9, 137), f"not killed ({done.returncode}):\n{done.stdout[-3000:]}"


def assert_is_live(server):
    """The release that was prepared last is what visitors get, and a run changes nothing."""
    assert server.headline in server.host.get("/").text
    answer = whoami(server)
    assert answer["release_marker"] == server.written["marker"]
    assert answer["release"] == server.live()[0]
    again = server.apply()
    assert again.changed == [], again.told()


# Killed

POINTS = (
    ("os.mkdir", f"{ROOT}/releases/"),
    ("os.rename", "/release.json'", {"count": 1}),
    ("subprocess.Popen", "'venv', '--no-project'"),
    ("subprocess.Popen", "'pip', 'install'", {"delay": 0.3}),
    ("os.rename", "..django-formula.json"),
    ("os.rename", "/venv'"),
    ("os.rename", "/release.json'", {"count": 3}),
    ("subprocess.Popen", "mkdir built", {"delay": 0.3}),
    ("subprocess.Popen", "compileall", {"delay": 0.05}),
    ("os.rename", "/release.json'", {"count": 4}),
    ("os.rename", "/environment'"),
    ("os.rename", "/instance.json'"),
    ("subprocess.Popen", '"do": "inspect"', {"delay": 0.2}),
    ("os.rename", "/instance.json'", {"count": 2}),
    ("subprocess.Popen", '"do": "collectstatic"', {"delay": 0.2}),
    ("subprocess.Popen", '"do": "migrate"', {"delay": 0.9}),
    ("os.rename", "/instance.json'", {"count": 3}),
    ("os.rename", "/tasks.json'"),
    ("os.rename", "guestbook.web.*(conf|service)'"),
    ("socket.connect", "/run/django/guestbook/web-"),
    ("os.symlink", "/.web.sock"),
    ("os.rename", "/web.sock'"),
    ("os.symlink", "/.current"),
    ("os.symlink", "/.live"),
    ("os.rename", "/live'"),
    ("os.remove", "guestbook.web.*(conf|service)'"),
    ("os.remove", "/run/django/guestbook/web-"),
    ("os.rename", "/history.json'"),
    ("os.rename", "guestbook.idle.*(conf|service)'"),
    ("os.rename", "/tasks.json'", {"count": 2}),
)


def share(server, points):
    """Every second point: the other host proves the rest."""
    return points[MANAGERS.index(server.written["manager"]) :: len(MANAGERS)]


def test_release_killed_before_each_thing_it_does(server):
    """By turns the run alone, and all that it has started with it."""
    points = share(server, POINTS)
    for number, (event, at, *more) in enumerate(points):
        options = {**(more[0] if more else {}), "tree": bool(number % 2)}
        release(server, build=BUILD)
        try:
            with no_failed_request(server):
                kill(server, event, at, **options)
                server.apply()
            assert_is_live(server)
            assert server.host.exists(f"{ROOT}/current/source/built/done")
            assert not server.host.exists(f"{ROOT}/current/source/built/late")
            served = server.call("django.history", "guestbook")
            assert [entry["instance"] for entry in served][-1] == server.live()[1]
        except AssertionError as error:
            raise AssertionError(f"killed at {event} {at} {options}: {error}") from error
    assert len(points) == 15
