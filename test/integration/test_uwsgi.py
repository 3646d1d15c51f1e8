"""The example site under uWSGI: other servers, releases, another manager, a hanging start."""

import time

import pytest

from test.hosts import boot

from .crowd import Crowd
from .guestbook import INDEX, SOURCE, change, develop, no_failed_request
from .machines import SITE, ensure
from .server import Server, put_checkout

REQUESTS = 1_000
NGINX = "/etc/nginx/django.d/guestbook.conf"
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "application server",
        "uWSGI behind Nginx",
        "from and to Gunicorn, back by a rollback, another process manager: no request dropped",
        on=["Debian 12"],
    ),
]
PILLAR = """\
django:
  process_manager: {manager}
  projects:
    guestbook:
      source: {{path: {source}}}
      settings: config.settings
      app: {{server: {server}, workers: 2, threads: 8}}
      health: {{path: /healthz/, timeout: {timeout}}}
      env: {{DJANGO_TEST_ENDPOINTS: '1'}}
"""


def put_pillar(server, app, manager="supervisord", timeout="120s"):
    server.pillar(PILLAR.format(server=app, manager=manager, source=SOURCE, timeout=timeout))


def speaks(server):
    """What Nginx speaks with the application first, and which links there are."""
    first = "uwsgi" if "  uwsgi_pass" in nginx_root(server) else "http"
    links = server.run("cd /srv/django/guestbook && ls -d web.*").stdout.split()
    return first, links


def nginx_root(server):
    """The location that passes requests to the application."""
    return server.host.read(NGINX).partition("    location / {")[2].partition("}")[0]


@pytest.fixture(scope="module")
def server():
    """The example site under Gunicorn, on a host that lets few connections wait."""
    with boot("int-uwsgi", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        host.run("sysctl -qw net.core.somaxconn=128 || echo 128 >/proc/sys/net/core/somaxconn")
        develop(server)
        put_pillar(server, "gunicorn")
        server.apply()
        yield server


@pytest.fixture(scope="module")
def seen(server, tmp_path_factory):
    """
    What visitors saw of a change to uWSGI, the way back and forth by a rollback, a release under
    uWSGI, another process manager and the change back to Gunicorn.
    """
    steps = {}
    with Crowd(server, tmp_path_factory.mktemp("load"), REQUESTS, leisure=10) as crowd:
        gunicorn = server.live()
        put_pillar(server, "uwsgi")
        server.apply()
        steps["changed"] = speaks(server)
        uwsgi = server.live()
        server.call("django.rollback", "guestbook")
        assert server.live() == gunicorn
        steps["rolled back"] = speaks(server)
        steps["healthy"] = server.call("django.health", "guestbook")
        server.apply()
        steps["settled"] = speaks(server)
        server.call("django.release_allow", "guestbook")
        server.apply()
        assert server.live() == uwsgi
        steps["again"] = speaks(server)
        change(server, INDEX, "It works.", "Release 1.")
        server.apply()
        put_pillar(server, "uwsgi", manager="systemd")
        server.apply()
        put_pillar(server, "gunicorn", manager="systemd")
        server.apply()
        steps["back"] = speaks(server)
        put_pillar(server, "uwsgi", manager="systemd")
        server.apply()
    return {"crowd": crowd, "steps": steps}


def test_no_request_is_dropped(seen):
    seen["crowd"].assert_all_served()
    assert len(seen["crowd"].report["releases"]) > 2


def test_nginx_follows_the_server(seen):
    uwsgi, http = ("uwsgi", ["web.uwsgi"]), ("http", ["web.sock"])
    assert seen["steps"] == {
        "changed": uwsgi,
        "rolled back": ("uwsgi", ["web.sock"]),  # it finds the other link until the next run
        "healthy": {"healthy": True, "problem": None},
        "settled": http,
        "again": uwsgi,
        "back": http,
    }


def test_uwsgi_has_a_unix_socket_only(server, seen):
    assert server.call("django.health", "guestbook") == {"healthy": True, "problem": None}
    assert "uwsgi" not in server.run("ss -Hltnp").stdout


def test_nothing_restarts_by_itself(server, seen):
    """After the change of process managers there is nothing left to do, and no unit comes back."""
    asked = "systemctl list-units --plain --no-legend 'guestbook.web.*' | cut -d' ' -f1"
    (unit,) = server.run(["sh", "-c", asked]).stdout.split()
    main = server.run(["systemctl", "show", "-pMainPID,NRestarts", unit]).stdout
    server.assert_settled()
    time.sleep(3)  # longer than a unit that fails waits before it comes back
    assert server.run(["systemctl", "show", "-pMainPID,NRestarts", unit]).stdout == main
    assert "NRestarts=0" in main


def test_start_that_hangs_leaves_the_old_release_serving(server, seen):
    before = server.live()
    put_pillar(server, "uwsgi", manager="systemd", timeout="10s")
    with no_failed_request(server):
        change(server, "config/wsgi.py", "import os\n", "import os, time\ntime.sleep(600)\n")
        outcome = server.apply(check=False)
    assert "guestbook: release is live" in outcome.failed, outcome.told()
    assert "not healthy" in outcome.comment("guestbook: release is live")
    assert server.live() == before
