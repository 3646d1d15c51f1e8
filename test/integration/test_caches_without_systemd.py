"""Memcached, Varnish and MariaDB on Debian 13 without systemd, by their init scripts."""

import pytest

from test.hosts import boot

from .guestbook import SOURCE, change, develop
from .machines import ensure
from .server import Browser, Server, put_checkout
from .test_caches import PAGES, PAGES_TEXT, PILLAR, look, number, release

pytestmark = [
    pytest.mark.proves(
        "cache and queue servers",
        "Memcached, and Varnish in front, by init scripts",
        "pages are kept, a release forgets them; what was stopped is started",
        on=["Debian 13 without systemd"],
    ),
    pytest.mark.proves(
        "database server",
        "MariaDB by its init script",
        "a first run does what `--test` said; stopped, it is started",
        on=["Debian 13 without systemd"],
    ),
]
DRIVERS = "requirements-memcached.txt"


def pillar(cache):
    """The pillar with these rules for Varnish, and MariaDB."""
    text = (PILLAR % (SOURCE, cache)).replace(DRIVERS, f"{DRIVERS}, requirements-mysql.txt")
    return f"{text}      database: {{engine: mysql}}\n"


@pytest.fixture(scope="module")
def server():
    """A bare server without systemd on which the example site was put, behind both."""
    with boot("int-caches-sysv", image=ensure("trixie-ready"), systemd=False) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        host.write(f"{SOURCE}/{PAGES}", PAGES_TEXT)
        urls = 'path("", include("guestbook.urls")),'
        change(server, "config/urls.py", urls, f'{urls}\n    path("", include("guestbook.pages")),')
        server.bootstrap_as_predicted(pillar("varnish"))
        yield server


def test_pages_are_kept_and_nothing_is_left_to_do(server):
    text, _ = look(server)
    assert look(server) == (text, "hit")
    assert look(server, Cookie="sessionid=x")[1] == "pass"
    assert "Memcached" in Browser(server.host).get("/").text
    assert number(server, "cmd_set") > 0
    server.assert_settled()


def test_release_forgets_pages(server):
    look(server)
    release(server, "one", "two")
    server.apply()
    assert look(server)[0].startswith("two")


def test_what_was_stopped_is_started(server):
    for service in ("memcached-guestbook", "varnish-guestbook", "mariadb"):
        server.run(["service", service, "stop"])
        assert server.run(["service", service, "status"], check=False).returncode != 0
    server.run("rm /etc/rc[2-5].d/S*supervisor")  # those that end it are still there
    programs = ("guestbook: Memcached", "guestbook: Varnish", "Supervisord", "MariaDB")
    server.assert_mended(*(f"{program} runs" for program in programs), exactly=False)
    assert server.run("ls /etc/rc[2-5].d/S*supervisor").stdout.count("supervisor") == 4
    look(server)
    assert look(server)[1] == "hit"


def test_other_rules_and_options_are_taken(server):
    server.pillar(pillar("{ttl: 5m, memory: 64M}"))
    server.assert_mended("guestbook: Varnish runs", "guestbook: Varnish uses its rules")
    text, _ = look(server, "silent/")
    assert look(server, "silent/") == (text, "hit")
