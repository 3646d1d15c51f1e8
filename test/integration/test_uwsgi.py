"""The example site under uWSGI: releases, another process manager, a start that hangs."""

import json
import signal
import subprocess
import sys
import time

import pytest

from test.hosts import boot

from .guestbook import INDEX, SOURCE, change, develop, no_failed_request
from .machines import SITE, ensure
from .server import ROOT, Server, put_checkout

RELEASES = 2
REQUESTS = 1_000
pytestmark = pytest.mark.timeout(600)
PILLAR = """\
django:
  process_manager: %s
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      app: {server: uwsgi, workers: 2, threads: 8}
      health: {path: /healthz/, timeout: %s}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
"""


@pytest.fixture(scope="module")
def server():
    """The example site, taken from Gunicorn to uWSGI by its pillar."""
    with boot("int-uwsgi", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        server.pillar(PILLAR % ("supervisord", SOURCE, "120s"))
        server.apply()
        yield server


def test_nothing_is_left_to_do(server):
    server.assert_settled()
    assert "uwsgi_pass guestbook.web;" in server.host.read("/etc/nginx/django.d/guestbook.conf")
    assert server.call("django.health", "guestbook") == {"healthy": True, "problem": None}
    listeners = server.run("ss -Hltnp").stdout
    assert "uwsgi" not in listeners, "only a Unix socket"


def test_releases_and_another_process_manager_drop_no_request(server, tmp_path):
    path = tmp_path / "report.json"
    module = [sys.executable, "-m", "test.integration.load"]
    words = [*module, server.host.address, str(path), str(REQUESTS), "10"]
    visitors = subprocess.Popen(words, cwd=ROOT)
    try:
        deployed = [server.live()[0]]
        for number in range(1, RELEASES + 1):
            before = "It works." if number == 1 else f"Release {number - 1}."
            change(server, INDEX, before, f"Release {number}.")
            server.apply()
            deployed.append(server.live()[0])
        server.pillar(PILLAR % ("systemd", SOURCE, "120s"))
        server.apply()
    finally:
        visitors.send_signal(signal.SIGTERM)
        visitors.wait(300)
    report = json.loads(path.read_text())
    assert report["failed"] == []
    assert report["mixed"] == []
    assert report["requests"] >= REQUESTS, report["kinds"]
    assert set(report["kinds"]) == {"keep-alive", "new connection", "post", "slow"}
    assert len(set(deployed)) == RELEASES + 1
    rows = server.psql("SELECT name FROM guestbook_entry WHERE name LIKE 'load %'", "guestbook")
    assert sorted(rows) == sorted(report["posted"])


def test_nothing_restarts_by_itself(server):
    """After the change of process managers there is nothing left to do, and no unit comes back."""
    asked = "systemctl list-units --plain --no-legend 'guestbook.web.*' | cut -d' ' -f1"
    (unit,) = server.run(["sh", "-c", asked]).stdout.split()
    main = server.run(["systemctl", "show", "-pMainPID,NRestarts", unit]).stdout
    server.assert_settled()
    time.sleep(3)  # longer than a unit that fails waits before it comes back
    assert server.run(["systemctl", "show", "-pMainPID,NRestarts", unit]).stdout == main
    assert "NRestarts=0" in main


def test_start_that_hangs_leaves_the_old_release_serving(server):
    before = server.live()
    server.pillar(PILLAR % ("systemd", SOURCE, "10s"))
    with no_failed_request(server):
        change(server, "config/wsgi.py", "import os\n", "import os, time\ntime.sleep(600)\n")
        outcome = server.apply(check=False)
    assert "guestbook: release is live" in outcome.failed, outcome.told()
    assert "not healthy" in outcome.comment("guestbook: release is live")
    assert server.live() == before
