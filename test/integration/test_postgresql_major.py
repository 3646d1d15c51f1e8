"""
Another major version of PostgreSQL, as a new Debian brings one: refused while the data is in the
old one, and taken after the upgrade that docs/operations.md describes.
"""

import pytest

from test.hosts import boot

from .machines import ensure
from .server import CHECKOUT, Browser, Server, documented, put_checkout

pytestmark = pytest.mark.proves(
    "database server",
    "another major version of PostgreSQL",
    "refused before anything changes; taken once the data was upgraded as documented",
    on=["Debian 13"],
)
PILLAR = f"""\
django:
  %s
  projects:
    guestbook:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      health: {{path: /healthz/}}
"""
OLD, NEW = "postgresql: {version: '15'}", "postgresql: {}"
KEPT = "PostgreSQL is the one with the data"
ENTRY = "Written in PostgreSQL 15."


@pytest.fixture(scope="module")
def server():
    """The example site with its data in the PostgreSQL of the Debian before."""
    with boot("int-major", image=ensure("trixie-ready")) as host:
        put_checkout(host)
        server = Server(host)
        server.run(
            "cd /etc/apt/sources.list.d"
            " && cat *.sources | sed 's/trixie/bookworm/g' >/b && mv /b older.sources"
            " && printf 'Package: *\\nPin: release n=bookworm\\nPin-Priority: 100\\n'"
            " >/etc/apt/preferences.d/older"
        )
        server.bootstrap(pillar=PILLAR % OLD)
        answer = Browser(host).submit("/", {"name": "Ada", "message": ENTRY})
        assert answer.status_code == 302
        yield server


def versions(server):
    """The versions of PostgreSQL that run."""
    return server.run("pg_lsclusters -h | awk '$4 == \"online\" {print $1}'").stdout.split()


def test_another_version_is_refused_before_anything_changes(server):
    server.pillar(PILLAR % NEW)
    before = server.live()
    for words in (["test=True"], []):
        outcome = server.apply(*words, check=False)
        assert outcome.failed[0] == KEPT, outcome.told()
        said = outcome.comment(KEPT)
        assert "means 17 on this system" in said and "Say version: '15'" in said, said
        assert outcome.changed == [], outcome.told()
    assert server.run(["dpkg-query", "-W", "postgresql-17"], check=False).returncode
    assert (versions(server), server.live()) == (["15"], before)
    assert ENTRY in Browser(server.host).get("/").text


def test_upgrade_as_documented_is_taken(server):
    commands = documented("docs/operations.md", "pg_upgradecluster")
    commands = commands.replace("apt-get install", "apt-get install -qy")
    server.run(["sh", "-ec", commands], timeout=300)
    server.apply()
    assert versions(server) == ["17"]
    assert ENTRY in Browser(server.host).get("/").text
    server.assert_settled()
