"""Secrets of the pillar are nowhere but where they must be: canaries are put in and looked for."""

import json

import pytest

from .server import CHECKOUT

pytestmark = pytest.mark.proves(
    "projects",
    "secrets",
    "found in no output, log, cache, process list or file that others read",
    on=["Debian 12"],
)

CANARIES = {
    "key": "canary0key0" + "k" * 50,
    "database": "canary0database0'\"$%\\@:/",
    "token": "canary0token0 with spaces $HOME",
    "private": "canary0private0",
    "password": "canary0superuser0Pw9",
}
PILLAR = f"""\
django:
  projects:
    guestbook:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      health: {{path: /healthz/}}
      superuser: {{username: admin, password: '{CANARIES["password"]}'}}
      secrets:
        SECRET_KEY: '{CANARIES["key"]}'
        API_TOKEN: '{CANARIES["token"]}'
        private: {{value: '{CANARIES["private"]}', export: false}}
      database: {{password: {json.dumps(CANARIES["database"])}}}
      files:
        config/local.json: {{content: {{token: "@{{secrets.private}}"}}, format: json}}
"""
# Looks at every process's words twenty times a second, and keeps those that hold a canary.
WATCH = """\
import glob, time
seen = set()
end = time.monotonic() + 600
while time.monotonic() < end:
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            words = open(path, "rb").read()
        except OSError:
            continue
        if b"canary" + b"0" in words:
            seen.add(words.replace(b"\\0", b" ").decode(errors="replace"))
            open("/run/leaks", "w").write("\\n".join(sorted(seen)))
    time.sleep(0.005)
"""
TELLING = """\
import os

from django.db import migrations


def tell(apps, editor):
    raise RuntimeError("the token is " + os.environ["API_TOKEN"])


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [migrations.RunPython(tell)]
"""
PLACES = "/var /etc /srv /opt /run /tmp /usr/local /root /home"


@pytest.fixture(scope="module")
def runs(site):
    """What Salt printed in a run with these secrets, by the way it was called."""
    site.host.write("/run/watch.py", WATCH)
    site.run(["sh", "-c", "setsid python3 /run/watch.py >/dev/null 2>&1 &"])
    said = {}
    site.pillar(PILLAR)
    calls = {
        "test": "salt-call state.apply test=True",
        "debug": "salt-call state.apply -l debug",
        "again": "salt-call state.apply --out json -l debug",
        "config": "salt-call django.config",
        "items": "salt-call django.status -l debug",
        "bootstrap": f"cd {CHECKOUT} && ./bootstrap --verbose",
    }
    for name, command in calls.items():
        done = site.run(f"{command} 2>&1", check=False, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:]
        said[name] = done.stdout
    site.host.kill("/run/watch.py")
    said["leaks"] = site.run("touch /run/leaks; cat /run/leaks; rm /run/leaks /run/watch.py").stdout
    return said


@pytest.mark.parametrize("call", ["test", "debug", "again", "config", "items", "bootstrap"])
def test_output_holds_no_secret(runs, call):
    assert runs[call]
    leaks = [line for line in runs[call].splitlines() if "canary0" in line]
    assert not leaks, "\n".join(leaks[:10])


def test_command_lines_held_no_secret(runs):
    assert not runs["leaks"]


def test_logs_and_caches_hold_no_secret(site, runs):
    found = site.run("grep -rla canary0 /var/log /var/cache /var/tmp /tmp", check=False).stdout
    assert found == ""
    assert "canary0" not in site.run("journalctl --no-pager").stdout


def test_others_read_no_file_with_a_secret(site, runs):
    """Each file that holds one can be read by root, and by the project's user where it must."""
    found = site.run(
        f"grep -rlsa canary0 {PLACES} --exclude-dir={CHECKOUT.rsplit('/', 1)[-1]}", check=False
    ).stdout.split()
    assert any(path.endswith("/environment") for path in found)
    for path in found:
        assert site.host.run(["cat", path], user="nobody", check=False).returncode != 0, path
        assert site.mode(path).split()[0][-1] == "0", f"{path}: {site.mode(path)}"


def test_secrets_reach_the_project(site, runs):
    code = (
        "import os, json; from django.conf import settings;"
        " print(json.dumps([settings.SECRET_KEY, os.environ['API_TOKEN'],"
        " settings.DATABASES['default']['PASSWORD'], os.environ.get('private')]))"
    )
    said = site.run(["django-manage", "guestbook", "shell", "-c", code]).stdout
    assert json.loads(said.splitlines()[-1]) == [
        CANARIES["key"],
        CANARIES["token"],
        CANARIES["database"],
        None,
    ]
    local = site.host.read("/srv/django/guestbook/current/source/config/local.json")
    assert CANARIES["private"] in local
    assert site.host.get("/").status == 200


def test_failing_task_does_not_tell_secrets(site, runs):
    """Not even when a command prints them before it fails."""
    site.pillar(PILLAR + "      tasks: [{name: leaky, command: 'sh -c \"env; exit 3\"'}]\n")
    done = site.run("salt-call state.apply -l debug 2>&1", check=False, timeout=300)
    assert done.returncode != 0
    assert "leaky" in done.stdout
    assert not [line for line in done.stdout.splitlines() if "canary0" in line]
    log = site.host.read("/var/log/django/guestbook/tasks.log")
    assert "DJANGO_SETTINGS_MODULE=" in log
    assert "canary0" not in log
    site.run("salt-call django.release_allow guestbook")
    site.pillar(PILLAR)
    site.assert_settled()


def test_release_that_fails_with_a_secret_does_not_tell_it(site, runs):
    """Neither when it fails nor later, when every run tells why it is not tried again."""
    path = f"{CHECKOUT}/examples/guestbook/guestbook/migrations/0004_tells.py"
    site.host.write(path, TELLING)
    for call in ("state.apply -l debug", "state.apply -l debug", "django.status"):
        said = site.run(f"salt-call {call} 2>&1", check=False).stdout
        assert "the token is **********" in said
        assert "canary0" not in said
    refused = site.host.read("/srv/django/guestbook/refused.json")
    assert "the token is **********" in refused
    assert "canary0" not in refused
    site.run(["rm", path])
    site.assert_settled()


def test_mistake_beside_a_secret_does_not_tell_it(site, runs):
    site.pillar(PILLAR.replace("private: {value: ", "private: {valeu: "))
    done = site.run("salt-call state.apply -l debug 2>&1", check=False)
    assert done.returncode != 0
    assert "did you mean value?" in done.stdout
    assert "canary0" not in done.stdout
    site.pillar(PILLAR + "   - broken: [\n")
    done = site.run("salt-call state.apply 2>&1", check=False)
    assert done.returncode != 0
    assert "canary0" not in done.stdout
    site.pillar(PILLAR)
    site.assert_settled()
