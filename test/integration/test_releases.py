"""New releases while visitors come: live without a failed request, or not at all."""

import http.client
import json
import socket
import threading
import time

import pytest

from .guestbook import ROOT, SOURCE, change, develop, no_failed_request, restore, whoami

pytestmark = pytest.mark.proves(
    "releases",
    "new releases",
    "live without a failed request, or the old one serves on",
    on=["Debian 12"],
)

PILLAR = """\
django:
  projects:
    guestbook:
      source: {%s}
      settings: config.settings
      health: {path: /healthz/}
      superuser: {username: admin}
      env: {RELEASE_MARKER: '%s', DJANGO_TEST_ENDPOINTS: '1'}
"""
FAILING_MIGRATION = """\
from django.db import migrations


def fail(apps, editor):
    raise RuntimeError("the flux is not compensated")


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [migrations.RunPython(fail)]
"""


@pytest.fixture(scope="module")
def server(site):
    """The example site, its source in a folder and in a git repository of the host."""
    develop(site)
    site.pillar(PILLAR % (f"path: {SOURCE}", "first"))
    site.apply()
    return site


def assert_refused(server, *words):
    """A run fails in words, and what served before still serves."""
    before, answer = server.live(), whoami(server)
    with no_failed_request(server):
        outcome = server.apply(check=False)
    assert outcome.returncode != 0
    assert outcome.failed
    comment = outcome.comment(outcome.failed[0])
    for word in words:
        assert word in comment, comment
    assert "salt/state.py" not in outcome.output, outcome.output
    assert server.live() == before
    assert whoami(server)["release"] == answer["release"]
    return outcome


# What succeeds


def test_changed_source_becomes_a_new_release(server):
    old = server.live()
    change(server, "guestbook/templates/guestbook/index.html", "It works.", "It works anew.")
    predicted = server.predict()
    assert "guestbook: release is live" in predicted.changed
    assert server.live() == old
    with no_failed_request(server) as visitors:
        outcome = server.apply()
    assert outcome.changed == predicted.changed
    new = server.live()
    assert new[0] != old[0]
    assert "It works anew." in server.host.get("/").text
    assert {json.loads(text)["release"] for text in visitors.answers} == {old[0], new[0]}
    assert server.host.exists(f"{ROOT}/releases/{old[0]}/source/manage.py"), "the old one is kept"
    assert not server.host.pids(f"web-{old[1]}"), "its processes are gone"
    server.assert_settled()


def test_way_back_is_the_release_that_was(server):
    kept = set(server.run(f"ls {ROOT}/releases").stdout.split())
    restore(server)
    with no_failed_request(server):
        server.apply()
    assert set(server.run(f"ls {ROOT}/releases").stdout.split()) == kept
    assert "It works anew." not in server.host.get("/").text
    server.assert_settled()


def test_environment_reaches_the_processes_without_a_new_release(server):
    release, instance = server.live()
    server.pillar(PILLAR % (f"path: {SOURCE}", "second"))
    predicted = server.predict()
    with no_failed_request(server):
        outcome = server.apply()
    assert outcome.changed == predicted.changed
    assert server.live()[0] == release
    assert server.live()[1] != instance
    assert whoami(server)["release_marker"] == "second"
    server.assert_settled()


def test_git_tag_and_branch(server):
    server.pillar(PILLAR % (f"git: {SOURCE}, rev: v1", "second"))
    with no_failed_request(server):
        server.apply()
    first = server.live()
    server.assert_settled()

    change(server, "guestbook/templates/guestbook/index.html", "It works.", "Tagged.")
    server.run(f"{server.git} commit -qam two && {server.git} tag v2")
    assert server.apply().changed == [], "a tag stays what it is"
    server.pillar(PILLAR % (f"git: {SOURCE}, rev: v2", "second"))
    with no_failed_request(server):
        server.apply()
    assert "Tagged." in server.host.get("/").text
    assert server.live()[0] != first[0]

    server.pillar(PILLAR % (f"git: {SOURCE}", "second"))
    assert server.apply().changed == [], "the branch is at the same commit"
    server.run(f"{server.git} reset -q --hard v1")
    with no_failed_request(server):
        server.apply()
    assert server.live()[0] == first[0]
    server.assert_settled()


def test_going_back_while_git_is_away(server):
    """Also a second time, and held to over runs; starting anew needs no source either."""
    change(server, "guestbook/templates/guestbook/index.html", "It works.", "Newer.")
    server.run(f"{server.git} commit -qam newer")
    server.apply()
    newer = server.live()
    server.run(f"mv {SOURCE} {SOURCE}.away")
    server.call("django.restart", "guestbook")
    assert server.live()[0] == newer[0]
    with no_failed_request(server):
        server.call("django.rollback", "guestbook")
    older = server.live()[0]
    assert older != newer[0]
    server.assert_settled()
    assert server.live()[0] == older
    assert "cannot reach" not in server.run("salt-call django.status guestbook").stdout
    server.run(f"mv {SOURCE}.away {SOURCE}")
    assert server.apply().changed == [], "it is still what was gone back from"
    server.run(f"{server.git} reset -q --hard v1")
    server.apply()


def test_supervisord_that_is_away(server):
    """What can be told is told, and nothing is noted of what was not done."""
    live = server.live()
    server.run("systemctl stop supervisor")
    told = server.call("django.status")["guestbook"]
    assert told["release"] == live[0] and told["healthy"] is False
    assert "supervisord does not answer" in told["problem"]
    done = server.run("salt-call django.rollback guestbook", check=False)
    assert done.returncode != 0
    assert "supervisord does not answer" in done.stdout + done.stderr
    assert server.live() == live
    server.run("systemctl start supervisor")
    server.apply()
    assert server.live() == live
    server.assert_settled()


def test_slow_request_is_finished_by_the_old_release(server):
    """One that is being answered while the new release takes over is answered to its end."""
    got = []

    def visit():
        try:
            got.append(server.host.get("/slow/?seconds=8", timeout=60).status)
        except (OSError, http.client.HTTPException) as error:
            got.append(repr(error))

    visitor = threading.Thread(target=visit)
    server.pillar(PILLAR % (f"git: {SOURCE}", "third"))
    switched = threading.Thread(target=server.apply)
    switched.start()
    time.sleep(1)
    visitor.start()
    switched.join()
    visitor.join()
    assert got == [200]
    assert whoami(server)["release_marker"] == "third"


def test_new_requirement_is_a_new_environment(server):
    server.pillar(PILLAR % (f"path: {SOURCE}", "third"))
    server.apply()
    before = server.run(f"ls {ROOT}/venvs").stdout.split()
    server.run(f"echo idna==3.10 >>{SOURCE}/requirements.txt")
    with no_failed_request(server):
        server.apply()
    assert len(server.run(f"ls {ROOT}/venvs").stdout.split()) == len(before) + 1
    server.run(["django-manage", "guestbook", "shell", "-c", "import idna"])
    restore(server)
    server.apply()
    server.assert_settled()


# What fails


def test_source_that_cannot_be_imported(server):
    change(
        server, "guestbook/views.py", "import logging\n", "import logging\nimport antigravitate\n"
    )
    assert_refused(server, "antigravitate")
    restore(server)
    server.apply()
    server.assert_settled()


def test_settings_that_cannot_be_imported(server):
    change(
        server, "config/settings.py", "import os\n", "import os\nraise ValueError('no cheese')\n"
    )
    assert_refused(server, "no cheese")
    restore(server)
    server.apply()
    server.assert_settled()


def test_migration_that_fails(server):
    server.host.write(f"{SOURCE}/guestbook/migrations/0004_fails.py", FAILING_MIGRATION)
    assert_refused(server, "0004_fails", "the flux is not compensated")
    again = server.apply(check=False)
    assert again.failed, "a migration that failed is tried again"
    restore(server)
    server.apply()
    server.assert_settled()


def test_release_that_is_not_healthy(server):
    change(server, "guestbook/views.py", "status=200 if ok else 503", "status=503")
    assert_refused(server, "503", "/healthz/")
    assert not server.host.pids(f"web-(?!{server.live()[1]})"), "the sick one was stopped"
    restore(server)
    server.apply()
    server.assert_settled()


def test_start_that_hangs(server):
    server.pillar(
        PILLAR.replace("/healthz/}", "/healthz/, timeout: 6s}") % (f"path: {SOURCE}", "third")
    )
    server.apply()
    server.run(f"sed -i '1i import time; time.sleep(600)' {SOURCE}/config/wsgi.py")
    outcome = assert_refused(server, "no answer on /run/django", "(waited 6 s)")
    assert outcome.failed[0] == "guestbook: release is live"
    assert not server.host.pids(f"web-(?!{server.live()[1]})"), "it is not left behind"
    restore(server)
    server.apply()
    server.assert_settled()


def test_settings_that_are_not_fit_to_go_live(server):
    server.run(
        f"echo 'DEBUG = True; SECRET_KEY = \"django-insecure-x\"' >>{SOURCE}/config/settings.py"
    )
    outcome = assert_refused(server, "DEBUG is on in config.settings", "SECRET_KEY")
    assert outcome.failed[0] == "guestbook: release is checked"
    restore(server)
    server.apply()


def test_package_that_does_not_exist(server):
    server.run(f"echo 'no-such-package-anywhere==1.0' >>{SOURCE}/requirements.txt")
    assert_refused(server, "no-such-package-anywhere")
    restore(server)
    server.apply()
    server.assert_settled()


def test_source_that_is_gone(server):
    server.pillar(PILLAR % ("path: /srv/src/none", "third"))
    assert_refused(server, "/srv/src/none does not exist")
    server.pillar(PILLAR % (f"git: {SOURCE}, rev: v99", "third"))
    assert_refused(server, "no branch or tag 'v99'")
    server.pillar(PILLAR % (f"path: {SOURCE}", "third"))
    server.apply()


def test_old_releases_are_pruned(server):
    server.pillar(PILLAR % (f"path: {SOURCE}", "third") + "      release: {keep: 2}\n")
    for number in range(3):
        change(
            server,
            "guestbook/templates/guestbook/index.html",
            "It works." if not number else f"Number {number - 1}.",
            f"Number {number}.",
        )
        server.apply()
    releases = server.run(f"ls {ROOT}/releases").stdout.split()
    assert len(releases) == 2
    assert server.live()[0] in releases
    server.assert_settled()


def test_nobody_waits_on_a_dead_socket(server):
    """The socket of the live instance is the only one left."""
    sockets = server.run("ls /run/django/guestbook").stdout.split()
    assert [name for name in sockets if name.startswith("web-")] == [f"web-{server.live()[1]}.sock"]
    with socket.create_connection((server.host.address, 80), 5):
        assert server.host.get("/").status == 200
