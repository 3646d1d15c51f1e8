"""
The example site behind Apache: as the front door of Gunicorn, in place of Nginx, and inside of it
by mod_wsgi: releases under load, refused ones, faults, and back.
"""

import pytest

from test.hosts import boot

from .crowd import Crowd
from .guestbook import INDEX, ROOT, SOURCE, change, develop, no_failed_request, restore, whoami
from .machines import SITE, ensure
from .server import Browser, Server, put_checkout

VALID = "the pillar is valid"
GUNICORN, MOD_WSGI = ["zero"], ["one", "two", "three", "four", "five"]
REQUESTS = 500
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "front door",
        "Apache before Gunicorn and uWSGI",
        "releases under load, from Gunicorn to uWSGI, back by a rollback: no request dropped, "
        "no reload",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "application server",
        "mod_wsgi in Apache",
        "five releases under load, no request dropped; refused ones, rollback, killed runs, a boot",
        on=["Debian 12", "Debian 13 without systemd"],
    ),
    pytest.mark.proves(
        "combinations",
        "Apache × uWSGI × MariaDB × Memcached, by init scripts",
        "comes as `--test` said, takes releases without a failed request, goes over to mod_wsgi",
        on=["Debian 13 without systemd"],
    ),
    pytest.mark.proves(
        "application server",
        "mod_wsgi embedded in Apache's own processes",
        "five releases under load, each a graceful restart, no request dropped; refused ones, "
        "rollback, a killed run, a boot, from and to Gunicorn",
        on=["Debian 12"],
    ),
]
PILLAR = """\
django:
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      app: {server: %s, workers: 2, threads: 8}
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
        server.pillar(PILLAR % (SOURCE, "gunicorn"))
        predicted = server.predict()
        made = server.apply()
        assert predicted.changed == made.changed
        assert "other servers have left their ports to Apache" in made.changed
        yield server


def released(server, names):
    """Make releases, one for each name; the ids of those that served."""
    deployed = [server.live()[0]]
    for name in names:
        restore(server)
        change(server, INDEX, "It works.", f"Release {name}.")
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
    before = processes_of_apache(server)
    assert_nothing_fails(server, tmp_path, GUNICORN)
    assert processes_of_apache(server) >= before


def test_uwsgi_takes_over_and_a_rollback_goes_back_over_it(server):
    """By HTTP behind Apache, so that neither is noticed and nothing is reloaded."""
    before, gunicorn = processes_of_apache(server), server.live()
    server.pillar(PILLAR % (SOURCE, "uwsgi"))
    with no_failed_request(server):
        server.apply()
        uwsgi = server.live()
        seen = whoami(server)
        server.call("django.rollback", "guestbook")
        assert server.live() == gunicorn
        server.apply()
        server.call("django.release_allow", "guestbook")
        server.apply()
        assert server.live() == uwsgi
        server.pillar(PILLAR % (SOURCE, "gunicorn"))
        server.apply()
        assert server.live() == gunicorn
    assert processes_of_apache(server) >= before
    assert uwsgi != gunicorn
    assert seen["remote_addr"] == seen["forwarded_for"] != "127.0.0.1"


def assert_nothing_fails(server, folder, names):
    """No request fails while releases are made, and none is answered by a mixture of two."""
    with Crowd(server, folder, REQUESTS, leisure=10) as crowd:
        deployed = released(server, names)
    crowd.assert_all_served()
    assert len(set(deployed)) == len(names) + 1
    assert set(crowd.report["releases"]) == set(deployed)


def processes_of_apache(server):
    """Apache's own processes, with those of slots left out."""
    asked = 'ps -o pid=,user= --ppid "$(cat /run/apache2/apache2.pid)"'
    lines = [line.split() for line in server.run(["sh", "-c", asked]).stdout.splitlines()]
    return {pid for pid, user in lines if user == "www-data"}


# Inside of Apache


def test_mod_wsgi_takes_over(server):
    server.pillar(PILLAR % (SOURCE, "mod_wsgi"))
    predicted = server.predict()
    made = server.apply()
    assert predicted.changed == made.changed
    server.assert_settled()
    seen = whoami(server)
    assert seen["user"] == "guestbook" and seen["settings_module"] == "config.settings"
    assert seen["python_prefix"].startswith(f"{ROOT}/slots/")
    assert seen["remote_addr"] == seen["forwarded_for"] != "127.0.0.1"
    assert server.call("django.health", "guestbook") == {"healthy": True, "problem": None}
    assert "gunicorn" not in server.run("ps -eo args").stdout


def test_no_secret_is_in_what_apache_reads(server):
    key = server.secret("guestbook", "SECRET_KEY")
    done = server.run(["grep", "-rlF", key, "/etc/apache2", f"{ROOT}/slots"], check=False)
    assert (done.returncode, done.stdout) == (1, "")
    main = server.host.read("/run/apache2/apache2.pid").strip()
    assert key not in server.run(["cat", f"/proc/{main}/environ"]).stdout
    live = server.live()[1]
    assert server.mode(f"{ROOT}/instances/{live}/environment") == "400 guestbook:guestbook"


def test_releases_by_mod_wsgi_drop_no_request_and_reload_nothing(server, tmp_path):
    before = processes_of_apache(server)
    assert_nothing_fails(server, tmp_path, MOD_WSGI)
    assert processes_of_apache(server) >= before


def test_releases_that_must_not_go_live_leave_the_old_one_serving(server):
    """One whose entry point takes other settings than the pillar's, and one that does not load."""
    before, entry = server.live(), "config/wsgi.py"
    text = server.host.read(f"{SOURCE}/{entry}")
    said = {
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'config.other'": "and not those that are meant",
        "raise OSError('no such luck')": "no such luck",
    }
    server.host.write(f"{SOURCE}/config/other.py", "from .settings import *\n")
    with no_failed_request(server):
        for line, words in said.items():
            server.host.write(f"{SOURCE}/{entry}", f"import os\n{line}\n{text}")
            outcome = server.apply(check=False)
            assert "guestbook: release is live" in outcome.failed, outcome.told()
            assert words in outcome.comment("guestbook: release is live")
            assert server.live() == before
    restore(server)
    server.apply()


def test_rollback_is_the_same_switch(server):
    new = server.live()[0]
    with no_failed_request(server):
        server.call("django.rollback", "guestbook")
    assert server.live()[0] != new
    assert whoami(server)["release"] == server.live()[0]
    server.call("django.release_allow", "guestbook")
    server.apply()
    assert server.live()[0] == new


def test_run_that_is_killed_is_continued_by_the_next(server):
    """Killed when the free slot has the new instance and its processes do not run it yet."""
    before = server.live()[0]
    (free,) = {"a", "b"} - {server.run(["readlink", f"{ROOT}/web.slot"]).stdout.strip()[-1]}
    change(server, INDEX, "It works.", "Killed.")
    script = (
        f"salt-call state.apply >/dev/null 2>&1 & run=$!; "
        f"until test -e {ROOT}/slots/{free}/entry.json; do kill -0 $run || exit 1; done; "
        "kill -KILL $run"
    )
    with no_failed_request(server):
        server.run(["sh", "-c", script])
        assert server.live()[0] == before
        server.apply()
    assert whoami(server)["release"] == server.live()[0] != before


def test_processes_that_die_come_back_and_a_boot_brings_all_back(server):
    server.run(["sh", "-c", "kill -KILL $(ps -o pid= -u guestbook)"])
    server.assert_settled()
    assert whoami(server)["release"] == server.live()[0]
    server.host.power_cut()
    server.host.power_on()
    server.assert_settled()
    assert whoami(server)["release"] == server.live()[0]


def test_gunicorn_takes_over_again(server):
    server.pillar(PILLAR % (SOURCE, "gunicorn"))
    server.apply()
    assert whoami(server)["release"] == server.live()[0]
    assert "WSGIDaemonProcess" not in server.host.read("/etc/apache2/django.d/guestbook.conf")
    server.assert_settled()


# In Apache's own processes

EMBEDDED = (PILLAR % (SOURCE, "mod_wsgi")).replace("workers: 2, threads: 8", "mode: embedded")


def test_embedded_takes_over(server):
    server.pillar(EMBEDDED)
    predicted = server.predict()
    made = server.apply()
    assert predicted.changed == made.changed
    server.assert_settled()
    seen, live = whoami(server), server.live()
    assert seen["user"] == "www-data" and seen["settings_module"] == "config.settings"
    assert seen["python_prefix"] == f"{ROOT}/instances/{live[1]}/python"
    assert seen["remote_addr"] == seen["forwarded_for"] != "127.0.0.1"
    assert server.call("django.health", "guestbook") == {"healthy": True, "problem": None}
    assert server.mode(f"{ROOT}/instances/{live[1]}/environment") == "400 www-data:www-data"
    key = server.secret("guestbook", "SECRET_KEY")
    assert server.run(["grep", "-rlF", key, "/etc/apache2"], check=False).returncode == 1
    assert private_apaches(server) == ""


def private_apaches(server):
    return server.run(["pgrep", "-f", "/run/django-formula/embedded"], check=False).stdout


def test_embedded_cannot_become_the_daemon_mode_at_once(server):
    """Apache has the configuration of one: told before anything changes, and nobody notices."""
    before = server.live()
    server.pillar(PILLAR % (SOURCE, "mod_wsgi"))
    with no_failed_request(server):
        outcome = server.apply(check=False)
    assert "app:mode: expected embedded, by which the site serves" in outcome.comment(VALID)
    assert (outcome.changed, server.live()) == ([], before)
    server.pillar(EMBEDDED)


def test_embedded_releases_drop_no_request(server, tmp_path):
    """Each is a graceful restart: connections that wait for their next request are closed."""
    assert_nothing_fails(server, tmp_path, MOD_WSGI)
    assert private_apaches(server) == ""


def test_embedded_release_that_must_not_go_live_is_told_by_a_private_apache(server):
    before, main = server.live(), server.host.read("/etc/apache2/embedded.conf")
    text = server.host.read(f"{SOURCE}/config/wsgi.py")
    said = {
        "raise OSError('no such luck')": "no such luck",
        "import time; time.sleep(600)": "not healthy",
    }
    server.pillar(EMBEDDED.replace("/healthz/}", "/healthz/, timeout: 10s}"))
    with no_failed_request(server):
        for line, words in said.items():
            server.host.write(f"{SOURCE}/config/wsgi.py", f"{line}\n{text}")
            outcome = server.apply(check=False)
            assert "guestbook: release is live" in outcome.failed, outcome.told()
            assert words in outcome.comment("guestbook: release is live")
            assert server.live() == before
            assert server.host.read("/etc/apache2/embedded.conf") == main
            assert private_apaches(server) == ""
    restore(server)
    server.pillar(EMBEDDED)
    server.apply()


def test_embedded_rollback_and_a_run_that_is_killed(server):
    change(server, INDEX, "It works.", "Before the way back.")
    server.apply()
    new = server.live()[0]
    with no_failed_request(server):
        server.call("django.rollback", "guestbook")
        assert whoami(server)["release"] == server.live()[0] != new
        server.call("django.release_allow", "guestbook")
        script = (
            "salt-call state.apply >/dev/null 2>&1 & run=$!; "
            "until pgrep -f /run/django-formula/embedded; do kill -0 $run || exit 1; done; "
            "kill -KILL $run"
        )
        server.run(["sh", "-c", script])
        assert server.live()[0] != new
        server.apply()
    assert whoami(server)["release"] == server.live()[0] == new
    assert private_apaches(server) == ""


def test_embedded_project_is_back_after_a_boot_and_leaves_for_gunicorn(server):
    server.host.power_cut()
    server.host.power_on()
    server.assert_settled()
    assert whoami(server)["release"] == server.live()[0]
    server.pillar(PILLAR % (SOURCE, "gunicorn"))
    server.apply()
    server.assert_settled()
    assert whoami(server)["user"] == "guestbook"
    assert not server.host.exists("/etc/apache2/embedded.conf")


# On a bare server

# uWSGI, MariaDB and Memcached; with mod_wsgi in the end
BARE = """\
      database: {engine: mysql}
      cache: {engine: memcached}
      python: {requirements: [requirements-mysql.txt, requirements-memcached.txt]}
"""


def test_bare_server_without_systemd():
    """Debian 13, whose mod_wsgi and Python are others; what a test says is what a run does."""
    with boot("int-apache13", image=ensure("trixie-ready"), systemd=False) as host:
        put_checkout(host)
        bare = Server(host)
        develop(bare)
        bare.bootstrap_as_predicted(PILLAR % (SOURCE, "uwsgi") + BARE)
        browser = Browser(host)
        assert browser.submit("/", {"name": "Ada", "message": "Hello."}).status_code == 302
        page = browser.get("/").text
        assert "Hello." in page and "MariaDB" in page and "Memcached" in page
        release_as_predicted(bare, "Release zero.")
        bare.run(["service", "apache2", "stop"])
        bare.assert_mended("Apache runs")

        bare.pillar(PILLAR % (SOURCE, "mod_wsgi") + BARE)
        predicted = bare.predict()
        made = bare.apply()
        assert made.changed == predicted.changed
        assert "guestbook: slots for mod_wsgi are there" in made.changed
        bare.assert_settled()
        assert whoami(bare)["python_version"].startswith("3.13")
        release_as_predicted(bare, "Release one.")
        assert "Hello." in browser.get("/").text


def release_as_predicted(server, text):
    """Let pages say something else: what was predicted is made, and no request fails."""
    restore(server)
    change(server, INDEX, "It works.", text)
    before = server.live()[0]
    with no_failed_request(server):
        predicted = server.predict()
        assert server.apply().changed == predicted.changed
    assert whoami(server)["release"] == server.live()[0] != before
