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
    "an external PostgreSQL or MariaDB",
    "only used, by TLS; told with the pillar's key: a server that is away or says nothing, a wrong "
    "name, certificate or password, a missing database, missing rights or TLS, another server",
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
        options: {connect_timeout: 5, %s}
"""
MYSQL = """\
      python: {requirements: [requirements-mysql.txt]}
      database:
        engine: mysql
"""
REACHED = "guestbook: external databases answer"
CHECKED = "guestbook: release is checked"
MIGRATED = "guestbook: database is migrated"
CERTIFICATE = "/etc/ssl/certs/ssl-cert-snakeoil.pem"
KEY = "django:projects:guestbook:database"


@pytest.fixture(scope="module")
def provider():
    """A host with PostgreSQL as its operators left it: one database, reached by TLS only."""
    with boot("int-rds", image=ensure("bookworm-ready")) as host:
        host.run("apt-get update -q && apt-get install -qy postgresql ssl-cert nftables")
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


def pillar(provider, host=None, name="shop", password=PASSWORD, options="sslmode: require"):
    return PILLAR % (SOURCE, host or provider.host.address, name, password, options)


@contextlib.contextmanager
def refused(server, state, *words):
    """
    A run in which this state fails with a comment of these words, after which the old instance
    serves as before; what the body brings about comes first.
    """
    before = server.live()
    yield
    with no_failed_request(server):
        outcome = server.apply(check=False)
    assert outcome.failed[0] == state, outcome.told()
    said = outcome.comment(state)
    for word in words:
        assert word in said, said
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
    with refused(server, CHECKED, "password authentication failed", f"{KEY}:password: "):
        server.pillar(pillar(provider, password="not-the-password-1"))


def test_missing_tls_is_told(server, provider):
    """The server does not even look at the password."""
    with refused(server, CHECKED, "no encryption", f"{KEY}:options: "):
        server.pillar(pillar(provider, options="sslmode: disable"))


def test_missing_database_is_told(server, provider):
    with refused(server, CHECKED, 'database "shopp" does not exist', f"{KEY}:name: "):
        server.pillar(pillar(provider, name="shopp"))


def test_missing_rights_are_told(server, provider):
    provider.psql("CREATE DATABASE shut")
    with refused(server, MIGRATED, "permission denied for schema public", f"{KEY}:user: "):
        server.pillar(pillar(provider, name="shut"))


def test_certificate_is_verified_where_asked_for(server, provider):
    """That of Debian's package ssl-cert is its own authority, and for the host's name."""
    address = provider.host.address
    server.host.write("/etc/ssl/provider.pem", provider.host.read(CERTIFICATE), mode=0o644)
    verify = "sslmode: verify-full, sslrootcert: %s"
    with refused(server, CHECKED, "certificate verify failed", f"{KEY}:options: "):
        strange = "/etc/ssl/certs/ca-certificates.crt"
        server.pillar(pillar(provider, options=verify % strange))
    with refused(server, CHECKED, "does not match host name", f"{KEY}:host: "):
        server.pillar(pillar(provider, options=verify % "/etc/ssl/provider.pem"))
    name = provider.run(["hostname"]).stdout.strip()
    with refused(server, REACHED, f"{KEY}:host: {name} is no name that this host can look up"):
        server.pillar(pillar(provider, host=name, options=verify % "/etc/ssl/provider.pem"))
    server.run(f"echo '{address} {name}' >>/etc/hosts")
    server.apply()
    assert Browser(server.host).get("/").status_code == 200
    server.assert_settled()


def test_server_that_says_nothing_is_told(server, provider):
    drop = "table inet cut { chain i { type filter hook input priority 0; tcp dport 5432 drop; }; }"
    provider.run(["nft", drop])
    try:
        with refused(server, REACHED, f"{KEY}:host: ", "does not answer at port 5432 within 5 s"):
            server.pillar(pillar(provider))
            server.host.write(f"{SOURCE}/silent.txt", "new")
    finally:
        provider.run("nft delete table inet cut")


def test_server_that_is_away_is_told_and_makes_no_release_bad(server, provider):
    """The pages without a database are served meanwhile; what failed is released afterwards."""
    server.pillar(pillar(provider))
    server.apply()
    provider.run("systemctl stop postgresql@15-main")
    with refused(server, REACHED, f"{KEY}:port: nobody listens", provider.host.address):
        server.host.write(f"{SOURCE}/new.txt", "new")
    before = server.live()
    provider.run("systemctl start postgresql@15-main")
    server.apply()
    assert server.live() != before
    server.assert_settled()


def test_mariadb_of_somebody_else(server, provider):
    """The same project with another driver; what its database refuses is told likewise."""
    provider.run("apt-get install -qy --no-install-recommends mariadb-server", timeout=300)
    provider.run(
        "printf '[mariadbd]\\nbind_address = 0.0.0.0\\n' >/etc/mysql/mariadb.conf.d/90-own.cnf"
        " && systemctl restart mariadb"
        " && mariadb -e 'CREATE DATABASE shop CHARACTER SET utf8mb4'"
        f""" && mariadb -e "GRANT ALL ON shop.* TO shop IDENTIFIED BY '{PASSWORD}'" """
    )
    with refused(server, CHECKED, "invalid response", f"{KEY}:port: what listens there"):
        text = pillar(provider)
        server.pillar(text.replace("        user:", "        port: 3306\n        user:"))
    with refused(server, CHECKED, "Access denied", f"{KEY}:password: "):
        server.pillar(mysql(provider, password="not-the-password-1"))
    with refused(server, CHECKED, "to database 'shopp'", f"{KEY}:name: "):
        server.pillar(mysql(provider, name="shopp"))
    server.pillar(mysql(provider))
    server.apply()
    browser = Browser(server.host)
    assert browser.submit("/", {"name": "Eve", "message": "Far away, too."}).status_code == 302
    asked = provider.run(["mariadb", "-N", "-e", "SELECT name FROM shop.guestbook_entry"])
    assert asked.stdout == "Eve\n"
    installed = server.run("dpkg-query -W -f '${Package}\\n'").stdout.split()
    assert not [name for name in installed if name.startswith("mariadb-server")]
    server.assert_settled()


def mysql(provider, **given):
    """The pillar with engine mysql."""
    text = pillar(provider, options="charset: utf8mb4", **given)
    return text.replace("      database:\n", MYSQL)
