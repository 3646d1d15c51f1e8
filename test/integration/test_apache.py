"""The example site behind Apache: as the front door of Gunicorn, in place of Nginx."""

import json
import signal
import subprocess
import sys

import pytest

from test.hosts import boot

from .guestbook import INDEX, SOURCE, change, develop, whoami
from .machines import SITE, ensure
from .server import ROOT, Server, put_checkout

RELEASES = 2
REQUESTS = 500
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "front door",
        "Apache before Gunicorn",
        "releases under load, no request dropped, no reload",
        on=["Debian 12"],
    ),
]
PILLAR = """\
django:
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      app: {workers: 2, threads: 8}
      web: {server: apache}
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
"""


@pytest.fixture(scope="module")
def server():
    """The example site, taken from Nginx to Apache by its pillar."""
    with boot("int-apache", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        server.pillar(PILLAR % SOURCE)
        predicted = server.predict()
        made = server.apply()
        assert predicted.changed == made.changed
        assert "Nginx has left its ports to Apache" in made.changed
        yield server


class Load:
    """Visitors of all kinds until the body has ended, and what they report."""

    def __init__(self, server, path, requests):
        self.path = path
        module = [sys.executable, "-m", "test.integration.load"]
        self.words = [*module, server.host.address, str(path), str(requests), "10"]

    def __enter__(self):
        self.visitors = subprocess.Popen(self.words, cwd=ROOT)
        return self

    def __exit__(self, *_):
        self.visitors.send_signal(signal.SIGTERM)
        self.visitors.wait(300)

    @property
    def report(self):
        return json.loads(self.path.read_text())


def released(server, count):
    """Make releases, one after another; the ids of those that served."""
    deployed = [server.live()[0]]
    for number in range(1, count + 1):
        text = server.host.read(f"{SOURCE}/{INDEX}")
        before = "It works." if "It works." in text else text.partition("Release ")[2]
        before = before if before == "It works." else f"Release {before.partition('.')[0]}."
        change(server, INDEX, before, f"Release {number}.")
        server.apply()
        deployed.append(server.live()[0])
    return deployed


def test_apache_is_in_front_and_nothing_is_left_to_do(server):
    server.assert_settled()
    seen = whoami(server)
    assert seen["remote_addr"] == seen["forwarded_for"] != "127.0.0.1"
    page = server.host.get("/")
    assert (page.status, page.headers["Server"]) == (200, "Apache")
    style = server.host.get("/static/guestbook/guestbook.css")
    assert style.status == 200 and "max-age" in style.headers["Cache-Control"]
    assert server.host.get("/", headers={"Host": "evil.test"}).status == 421
    for path in ("/.git/config", "/cgi-bin/", "/icons/"):
        assert server.host.get(path).status == 404
    assert server.run("systemctl is-enabled nginx", check=False).stdout == "disabled\n"


def test_releases_of_gunicorn_drop_no_request_and_reload_nothing(server, tmp_path):
    main = server.run("cat /run/apache2/apache2.pid; pgrep -P $(cat /run/apache2/apache2.pid)")
    with Load(server, tmp_path / "report.json", REQUESTS) as load:
        deployed = released(server, RELEASES)
    assert load.report["failed"] == load.report["mixed"] == []
    assert load.report["requests"] >= REQUESTS
    assert len(set(deployed)) == RELEASES + 1
    after = server.run("cat /run/apache2/apache2.pid; pgrep -P $(cat /run/apache2/apache2.pid)")
    assert set(main.stdout.split()) <= set(after.stdout.split())
