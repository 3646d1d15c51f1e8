"""
A database that somebody else looks after, as cloud providers offer them: nothing of a server is
installed, TLS is asked for, and what is wrong with it is told while the old release serves on.
"""

import contextlib

import pytest

from test.hosts import boot

from .guestbook import SOURCE, no_failed_request
from .machines import ensure
from .server import CHECKOUT, Browser, Server, put_checkout

pytestmark = pytest.mark.proves(
    "database server",
    "an external PostgreSQL",
    "only used, by TLS; a wrong password, a missing database and a server that is away are told",
    on=["Debian 12"],
)

PASSWORD = "given-by-the-provider"
PILLAR = """\
django:
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
      database:
        host: %s
        name: %s
        user: shop
        password: %s
        options: {sslmode: require, connect_timeout: 5}
"""
CHECKED = "guestbook: release is checked"


@pytest.fixture(scope="module")
def provider():
    """A host with PostgreSQL as its operators left it: one database, reached by TLS only."""
    with boot("int-rds", image=ensure("bookworm-ready")) as host:
        host.run("apt-get update -q && apt-get install -qy postgresql ssl-cert")
        folder = "/etc/postgresql/15/main"
        host.write(f"{folder}/conf.d/own.conf", "listen_addresses = '*'\nssl = on\n", mode=0o644)
        host.run(f"echo 'hostssl all shop 0.0.0.0/0 scram-sha-256' >>{folder}/pg_hba.conf")
        host.run("systemctl restart postgresql@15-main")
        server = Server(host)
        server.psql(f"CREATE ROLE shop LOGIN PASSWORD '{PASSWORD}'")
        server.psql("CREATE DATABASE shop OWNER shop")
        yield server


@pytest.fixture(scope="module")
def server(provider):
    """The host of the site."""
    with boot("int-external", image=ensure("bookworm-ready")) as host:
        put_checkout(host)
        server = Server(host)
        server.run(f"mkdir -p /srv/src && cp -r {CHECKOUT}/examples/guestbook {SOURCE}")
        server.bootstrap(pillar=pillar(provider))
        yield server


def pillar(provider, name="shop", password=PASSWORD):
    return PILLAR % (SOURCE, provider.host.address, name, password)


@contextlib.contextmanager
def refused(server, *words):
    """
    A run that fails with a comment of these words, after which the old instance serves as before;
    what the body brings about comes first.
    """
    before = server.live()
    yield
    with no_failed_request(server):
        outcome = server.apply(check=False)
    assert outcome.failed[0] == CHECKED, outcome.told()
    said = outcome.comment(CHECKED)
    for word in words:
        assert word in said
    assert "Traceback" not in said and PASSWORD not in outcome.output
    assert server.live() == before


def test_it_is_used_and_no_server_is_installed(server, provider):
    installed = server.run("dpkg-query -W -f '${Package}\\n'").stdout.split()
    assert not [name for name in installed if name.startswith(("postgresql", "mariadb-server"))]
    browser = Browser(server.host)
    assert browser.submit("/", {"name": "Ada", "message": "Far away."}).status_code == 302
    assert provider.psql("SELECT name FROM guestbook_entry", "shop") == ["Ada"]


def test_it_is_reached_by_tls(provider, server):
    Browser(server.host).get("/")
    asked = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
    assert provider.psql(f"{asked} WHERE usename = 'shop'") == ["t"]


def test_nothing_is_left_to_do(server):
    server.assert_settled()


def test_wrong_password_is_told(server, provider):
    with refused(server, "password authentication failed"):
        server.pillar(pillar(provider, password="not-the-password-1"))


def test_missing_database_is_told(server, provider):
    with refused(server, 'database "shopp" does not exist'):
        server.pillar(pillar(provider, name="shopp"))


def test_server_that_is_away_is_told_and_makes_no_release_bad(server, provider):
    """The pages without a database are served meanwhile; what failed is released afterwards."""
    server.pillar(pillar(provider))
    server.apply()
    provider.run("systemctl stop postgresql@15-main")
    server.host.write(f"{SOURCE}/new.txt", "new")
    before = server.live()
    outcome = server.apply(check=False)
    assert "Connection refused" in outcome.comment(outcome.failed[0]), outcome.told()
    assert provider.host.address in outcome.comment(outcome.failed[0])
    assert server.live() == before
    provider.run("systemctl start postgresql@15-main")
    server.apply()
    assert server.live() != before
    server.assert_settled()
