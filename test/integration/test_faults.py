"""
Runs that are killed before each thing that they do, power cuts, and services that fail on the way:
visitors notice nothing, and one more run mends all.
"""

import http.client
import json
import time

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
      release: {keep: 2}
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


# What the site's process tells of itself, besides.
TOLD = '''            "typing": importlib.metadata.version("typing_extensions"),
            "notes": os.readlink(settings.BASE_DIR / "guestbook/notes"),
            "token": os.environ["API_TOKEN"],
            "pid": os.getpid(),
            "user"'''


@pytest.fixture(scope="module", params=MANAGERS)
def server(request):
    """The example site under a process manager, with a release to begin with."""
    with boot(f"int-faults-{request.param}", image=ensure(SITE)) as host:
        yield prepared(host, request.param)


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
    server.written = {"manager": manager, "health": "/healthz/", "token": "token-one"}
    server.written |= {"marker": "m0", "build": "true", "notes": "one"}
    release(server)
    server.apply()
    return server


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

# Checks are the first of a release, then come static files and migrations.
PROJECT_TASK = r"bin/python', '-'\]"
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
    ("subprocess.Popen", PROJECT_TASK, {"count": 1, "delay": 0.2}),
    ("os.rename", "/instance.json'", {"count": 2}),
    ("subprocess.Popen", PROJECT_TASK, {"count": 2, "delay": 0.2}),
    ("subprocess.Popen", PROJECT_TASK, {"count": 3, "delay": 0.9}),
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


def test_release_killed_before_each_thing_it_does_until_it_is_built(server):
    kill_releases(server, share(server, POINTS[:16]))


def test_release_killed_before_each_thing_it_does_until_it_serves(server):
    kill_releases(server, share(server, POINTS[16:]))


def kill_releases(server, points):
    """Kill releases, by turns the run alone and all that it has started with it."""
    assert len(points) >= 7
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
            served = json.loads(server.host.read(f"{ROOT}/history.json"))["entries"]
            assert served[-1]["instance"] == server.live()[1]
        except AssertionError as error:
            raise AssertionError(f"killed at {event} {at} {options}: {error}") from error


def test_rollback_killed_before_each_thing_it_does(server):
    points = share(
        server,
        (
            ("os.rename", "/refused.json'"),
            ("os.rename", "guestbook.web.*(conf|service)'"),
            ("os.symlink", "/.web.sock"),
            ("os.symlink", "/.current"),
            ("os.rename", "/live'"),
            ("os.remove", "guestbook.web.*(conf|service)'"),
        ),
    )
    for number, (event, at) in enumerate(points):
        headline, marker = server.headline, server.written["marker"]
        release(server, build="true")
        server.apply()
        try:
            with no_failed_request(server):
                words = "django.rollback guestbook"
                kill(server, event, at, words, tree=bool(number % 2))
                server.apply()
            if "refused" in at:
                assert_is_live(server)
            else:
                assert headline in server.host.get("/").text
                assert whoami(server)["release_marker"] == marker
                assert server.apply().changed == []
        except AssertionError as error:
            raise AssertionError(f"killed at {event} {at}: {error}") from error
    assert len(points) == 3


# Without power


def test_power_cut_during_a_release(server):
    points = (
        ("subprocess.Popen", "'pip', 'install'", 0.2),
        ("os.symlink", "/.web.sock", 0),
        ("os.symlink", "/.current", 0),
        ("os.remove", "guestbook.web.*(conf|service)'", 0),
    )
    for event, at, delay in share(server, points):
        old = server.live()[0]
        release(server)
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


def paused(server, event, at, delay, seconds):
    """A release in the background that waits before a thing that it does."""
    server.run("rm -f /run/fault")
    fault = {"event": event, "at": at, "count": 1, "delay": delay, "command": f"sleep {seconds}"}
    environment = {"PYTHONPATH": FOLDER, "FAULT": json.dumps(fault)}
    process = server.host.start("salt-call state.apply >/dev/null 2>&1", env=environment)
    server.run("until test -e /run/fault; do sleep 0.05; done", timeout=200)
    return process


def answer_after_boot(server):
    """The first answer of the site, which nobody helps."""
    end = time.monotonic() + 60
    while True:
        try:
            return whoami(server)
        except (OSError, http.client.HTTPException, ValueError):
            assert time.monotonic() < end, "the site does not answer by itself"
            time.sleep(0.2)


# What a release needs is away


def fails(server, first, *said, **fault):
    """A run that fails, in words, at a state, while visitors notice nothing."""
    live = server.live()
    with no_failed_request(server):
        if fault:
            done = run_with(server, **fault, words="state.apply --out json")
            output = done.stdout
            assert done.returncode not in (0, -9)
        else:
            outcome = server.apply(check=False)
            output = outcome.output
            assert outcome.returncode != 0
            assert outcome.failed[0] == first
    for words in said:
        assert words in output, output[-6000:]
    assert "release_allow" not in output
    assert "salt/state.py" not in output
    assert server.live() == live


@only("supervisord")
def test_registry_that_is_away(server):
    release(server)
    server.run(f"echo idna==3.6 >>{SOURCE}/requirements.txt")
    kept = server.run("cat /etc/pip.conf", check=False).stdout
    server.host.write("/etc/pip.conf", "[global]\nindex-url = http://127.0.0.1:9/simple\n")
    fails(server, "guestbook: packages are installed", "The packages cannot be installed", "idna")
    server.host.write("/etc/pip.conf", kept)
    server.apply()
    assert_is_live(server)


@only("systemd")
def test_database_that_stops(server):
    """Before checks, before migrations, before the switch."""
    command = "systemctl stop postgresql"
    for event, at, count in (
        ("subprocess.Popen", PROJECT_TASK, 1),
        ("subprocess.Popen", PROJECT_TASK, 3),
        ("os.rename", "guestbook.web.*service'", 1),
    ):
        release(server)
        fails(server, None, "guestbook: ", event=event, at=at, count=count, command=command)
        server.apply()
        assert_is_live(server)


@only("supervisord")
def test_cache_that_stops(server):
    release(server)
    command = "systemctl stop redis-server@guestbook"
    fails(server, None, "503", event="os.rename", at="guestbook.web.*conf'", command=command)
    server.apply()
    assert_is_live(server)


def test_full_disk():
    """Whatever fills it, while packages are installed or by the build itself."""
    with boot("int-faults-disk", image=ensure(SITE), disk="1G") as host:
        server = prepared(host, "supervisord")
        release(server)
        command = "fallocate -l $(($(df --output=avail -B1 /srv | tail -1) - 20000000)) /srv/fill"
        fails(
            server,
            None,
            "No space left on device",
            event="subprocess.Popen",
            at="'pip', 'install'",
            command=command,
        )
        server.run("rm /srv/fill")
        server.apply()
        assert_is_live(server)
        release(server, build="cat /dev/zero >zeros")
        fails(server, "guestbook: release is built", "No space left on device")
        release(server, build="true")
        server.apply()
        assert_is_live(server)


# Processes prove what they run


def assert_proven(server, **expected):
    """The site tells it, and each process has it in its environment and works in its release."""
    answer = whoami(server)
    assert {key: answer[key] for key in expected} == expected
    release_id, instance = server.live()
    assert answer["release"] == release_id
    source = f"{ROOT}/releases/{release_id}/source"
    venv = server.run(["readlink", "-f", f"{ROOT}/current/venv"]).stdout.strip()
    assert answer["python_prefix"] in (venv, f"{ROOT}/releases/{release_id}/venv")
    pids = [*server.host.pids(f"instances/{instance}/"), *server.host.pids("^sleep 1000")]
    assert len(pids) > 2
    for pid in pids:
        assert server.run(["readlink", f"/proc/{pid}/cwd"]).stdout.strip() == source
        environ = server.host.read(f"/proc/{pid}/environ").split("\0")
        assert f"RELEASE_MARKER={server.written['marker']}" in environ
        assert f"API_TOKEN={server.written['token']}" in environ


def test_each_kind_of_change_reaches_every_process(server):
    release(server)
    server.apply()
    before = server.live()
    typing = whoami(server)["typing"]
    other = {"4.15.0": "4.16.0", "4.16.0": "4.15.0"}[typing]
    server.run(
        f"sed -i s/typing_extensions=={typing}/typing_extensions=={other}/ "
        f"{SOURCE}/requirements.txt"
    )
    with no_failed_request(server):
        server.apply()
    assert_proven(server, typing=other)
    assert server.live()[0] != before[0]

    before = server.live()
    write(server, marker="another")
    with no_failed_request(server):
        server.apply()
    assert_proven(server, release_marker="another")
    assert server.live()[0] == before[0] and server.live()[1] != before[1]

    write(server, token="token-two")
    with no_failed_request(server):
        server.apply()
    assert_proven(server, token="token-two")
    assert server.live()[0] == before[0]

    write(server, notes="two")
    with no_failed_request(server):
        server.apply()
    assert_proven(server, notes=f"{ROOT}/shared/two")
    assert server.live()[0] != before[0]
    assert server.apply().changed == []


# Going back in trouble


@only("systemd")
def test_rollback_while_the_database_is_stopped(server):
    release(server, health="/whoami/")
    server.apply()
    marker = server.written["marker"]
    release(server)
    server.apply()
    server.run("systemctl stop postgresql")
    with no_failed_request(server):
        told = server.call("django.rollback", "guestbook")
    assert told["database_is_ahead_by"] == "unknown, it does not answer"
    assert whoami(server)["release_marker"] == marker
    server.apply()
    server.assert_settled()
    assert whoami(server)["release_marker"] == marker
    server.call("django.release_allow", "guestbook")
    release(server, health="/healthz/")
    server.apply()
    assert_is_live(server)


@only("supervisord")
def test_rollback_to_a_release_whose_environment_is_damaged(server):
    listing = f"ls -l /etc/supervisor/conf.d {ROOT} {ROOT}/instances /run/django/guestbook"
    for damage in ("rm {}/bin/python", "rm -r {}/lib/python3*/*/redis-*.dist-info", "rm -r {}"):
        old = server.live()
        venv = server.run(["readlink", "-f", f"{ROOT}/current/venv"]).stdout.strip()
        release(server)
        server.apply()
        server.run(damage.format(venv))
        before = server.run(listing).stdout
        done = server.run("salt-call django.rollback guestbook 2>&1", check=False)
        assert done.returncode != 0
        assert f"Release {old[0]} cannot serve: its environment {venv}" in done.stdout
        assert "Nothing was changed" in done.stdout
        assert server.run(listing).stdout == before
        assert_is_live(server)


# Records and links that are lost


@only("systemd")
def test_lost_history(server):
    for loss in ("rm", "truncate -s 7"):
        old = server.live()[0]
        release(server)
        server.apply()
        server.run(f"{loss} {ROOT}/history.json")
        assert server.apply().changed == []
        told = server.call("django.rollback", "guestbook", "test=True")
        assert told["changes"]["release"] == {"old": server.live()[0], "new": old}


@only("systemd")
def test_lost_refusals(server):
    release(server)
    server.apply()
    server.call("django.rollback", "guestbook")
    server.run(f"truncate -s 7 {ROOT}/refused.json")
    with no_failed_request(server):
        server.apply()
    assert_is_live(server)


@only("supervisord")
def test_lost_record_of_what_serves(server):
    release(server)
    server.apply()
    record = f"{ROOT}/live/instance.json"
    server.run(f"truncate -s 7 {record}")
    with no_failed_request(server):
        server.apply()
    assert_is_live(server)
    release(server)
    server.apply()
    server.call("django.rollback", "guestbook")
    held = server.live()
    server.run(f"truncate -s 7 {record}")
    with no_failed_request(server):
        failed = server.apply(check=False)
    assert failed.failed[0] == "guestbook: release is live"
    assert "django.release_allow" in failed.comment("guestbook: release is live")
    assert server.live() == held
    server.call("django.release_allow", "guestbook")
    with no_failed_request(server):
        server.apply()
    assert_is_live(server)


def test_lost_links(server):
    for damage in ("ln -sfn instances/none {}/live", "rm {}/live {}/current"):
        server.run(damage.replace("{}", ROOT))
        with no_failed_request(server):
            server.apply()
        assert_is_live(server)


def test_lost_sockets(server):
    server.run("rm -r /run/django /run/lock/django-formula-*")
    server.apply()
    assert_is_live(server)


# Others on the host


@only("supervisord")
def test_lock_that_another_holds(server):
    lock = "/run/lock/django-formula-guestbook.lock"
    server.run(["sh", "-c", f"setsid flock {lock} sleep 6 >/dev/null 2>&1 & sleep 0.5"])
    started = time.monotonic()
    assert server.apply().changed == []
    assert time.monotonic() - started > 4


@only("supervisord")
def test_operator_who_is_in_an_old_release(server):
    folder = server.run(["readlink", "-f", f"{ROOT}/current/source"]).stdout.strip()
    server.run(["sh", "-c", f"cd {folder} && setsid sleep 4715 >/dev/null 2>&1 &"])
    for _ in range(2):
        release(server)
        server.apply()
    assert server.host.exists(f"{folder}/manage.py")
    server.host.kill("sleep 4715")
    assert server.apply().changed == ["guestbook: old releases are gone"]
    assert not server.host.exists(folder)


@only("systemd")
def test_rollback_waits_for_a_run(server):
    marker = server.written["marker"]
    release(server)
    with no_failed_request(server):
        process = paused(server, "os.symlink", "/.web.sock", 0, 4)
        server.call("django.rollback", "guestbook")
        process.wait(60)
    assert whoami(server)["release_marker"] == marker
    assert server.apply().changed == []
