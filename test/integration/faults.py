"""
Faults in a run of Salt: it is killed, or a command is carried out, right before a thing that it
does. And the example site that such runs release.
"""

import json

from .guestbook import INDEX, ROOT, SOURCE, change, develop, whoami
from .server import Server, put_checkout

MANAGERS = ("supervisord", "systemd")
FOLDER = "/root/faults"
LOG = "/run/fault.log"
PIP = "/etc/pip.conf"
SERVICES = ("postgresql", "redis-server@guestbook")
# What the pillar says where a test has not told otherwise.
WORDS = {"health": "/healthz/", "token": "one", "notes": "one", "build": "true", "admin": "admin"}
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
      release: {keep: 2}
      writable: [{link: guestbook/notes, path: %(notes)s}]
      files:
        /etc/guestbook.ini: {content: {release: {marker: '%(marker)s'}}}
      superuser: {username: %(admin)s}
"""
MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "%s")]
%s    operations = [
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


# What the site's process tells of itself, besides.
TOLD = '''            "typing": importlib.metadata.version("typing_extensions"),
            "notes": os.readlink(settings.BASE_DIR / "guestbook/notes"),
            "token": os.environ["API_TOKEN"],
            "pid": os.getpid(),
            "user"'''


def prepared(host, manager):
    """The host as a server that has a release to begin with."""
    put_checkout(host)
    server = Server(host)
    develop(server)
    host.write(f"{FOLDER}/sitecustomize.py", SITECUSTOMIZE)
    views = "guestbook/diagnostics.py"
    change(server, views, '            "pid": os.getpid(),\n            "user"', TOLD)
    change(server, views, "import hashlib\n", "import hashlib\nimport importlib.metadata\n")
    server.number, server.headline, server.parent = 0, "It works.", "0003_heartbeat"
    server.pip = server.run(f"cat {PIP}", check=False).stdout
    server.written = {**WORDS, "manager": manager}
    release(server, packages=True)
    server.apply()
    return server


def write(server, **words):
    """Write the pillar, with these words changed."""
    server.written |= words
    server.pillar(PILLAR % {**server.written, "build": json.dumps(server.written["build"])})


def release(server, packages=False, migration=None, **words):
    """
    Prepare another release: code and environment of its own and, if asked for, other packages and
    a migration that runs ``before`` or ``after`` the switch.
    """
    server.number += 1
    number = server.number
    change(server, INDEX, server.headline, f"Release {number}.")
    server.headline = f"Release {number}."
    if migration:
        name = f"{number + 3:04}_fault"
        late = "    after_switch = True\n" if migration == "after" else ""
        text = MIGRATION % (server.parent, late, number, number)
        server.host.write(f"{SOURCE}/guestbook/migrations/{name}.py", text)
        server.parent = name
    if packages:
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
    command = f"exec salt-call {words} --log-file={LOG} --log-file-level=info 2>&1"
    done = server.run(f"rm -f {LOG}; {command}", check=False, env=environment, timeout=200)
    assert server.host.exists("/run/fault"), f"{event} {at} never came:\n{done.stdout[-3000:]}"
    return done


def paused(server, event, at, delay, seconds):
    """A release in the background that waits before a thing that it does."""
    server.run("rm -f /run/fault")
    fault = {"event": event, "at": at, "count": 1, "delay": delay, "command": f"sleep {seconds}"}
    environment = {"PYTHONPATH": FOLDER, "FAULT": json.dumps(fault)}
    process = server.host.start("salt-call state.apply >/dev/null 2>&1", env=environment)
    server.run("until test -e /run/fault; do sleep 0.05; done", timeout=200)
    return process


def is_well(server):
    """Whether visitors get the release that was prepared last."""
    try:
        return (
            server.headline in server.host.get("/").text
            and whoami(server)["release_marker"] == server.written["marker"]
        )
    except (OSError, ValueError):
        return False


def mend(server):
    """A release that serves, whatever a test that failed has left behind."""
    if not server.host.is_on:
        server.host.power_on()
    server.run("pkill -9 salt-call; rm -f /srv/fill", check=False)
    server.run(["systemctl", "start", *SERVICES])
    server.host.write(PIP, server.pip)
    server.run(f"{server.git} checkout -q v1 requirements.txt")
    server.run("salt-call django.release_allow guestbook", check=False)
    release(server, packages=True, **WORDS)
    server.apply()


def assert_is_live(server):
    """The release that was prepared last is what visitors get, and a run changes nothing."""
    marker = server.written["marker"]
    assert server.headline in server.host.get("/").text
    answer = whoami(server)
    assert answer["release_marker"] == marker
    assert answer["release"] == server.live()[0]
    assert f"marker = {marker}" in server.host.read("/etc/guestbook.ini")
    served = json.loads(server.host.read(f"{ROOT}/history.json"))["entries"]
    assert served[-1]["instance"] == server.live()[1], "that it serves is noted"
    again = server.apply()
    assert again.changed == [], again.told()
