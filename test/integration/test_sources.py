"""Where the code comes from: archives by HTTP, whole and harmful; a Redis that keeps running."""

import hashlib

import pytest

from .server import CHECKOUT

pytestmark = pytest.mark.proves(
    "releases", "archives", "whole ones are served, harmful ones refused", on=["Debian 12"]
)

PORT = 8099
URL = f"http://127.0.0.1:{PORT}"
PROJECT = """\
    {name}:
      source: {{archive: '{url}', hash: 'sha256:{hash}'}}
      settings: config.settings
      domains: [{name}.example.org]
      database: {{engine: sqlite}}
      cache: {{engine: locmem}}
      health: {{path: /healthz/}}
"""


@pytest.fixture(scope="module")
def server(site):
    """The example site, and archives of it that the host itself serves."""
    site.run("mkdir /srv/archives")
    site.run(f"tar -C {CHECKOUT}/examples -czf /srv/archives/one.tar.gz guestbook")
    site.run(f"cd {CHECKOUT}/examples/guestbook && python3 -m zipfile -c /srv/archives/two.zip *")
    site.run(f"cd {CHECKOUT}/examples && tar -Pczf /srv/archives/evil.tar.gz ../examples/guestbook")
    serve = f"python3 -m http.server --bind 127.0.0.1 --directory /srv/archives {PORT}"
    site.run(f"setsid {serve} >/dev/null 2>&1 </dev/null &")
    site.pillar(pillar(site))
    site.apply()
    return site


def checksum(server, name):
    return server.run(f"sha256sum /srv/archives/{name}").stdout.split()[0]


def pillar(server, first="one.tar.gz", digest=None):
    """Two projects, the first of an archive of that name."""
    text = "django:\n  projects:\n"
    for name, file in (("first", first), ("second", "two.zip")):
        found = digest if digest and name == "first" else checksum(server, file)
        text += PROJECT.format(name=name, url=f"{URL}/{file}", hash=found)
    return text


def test_archives_are_served_with_and_without_a_top_folder(server):
    for name in ("first", "second"):
        assert server.host.get("/healthz/", host=f"{name}.example.org").status == 200
    server.assert_settled()


@pytest.mark.parametrize("case", ["checksum", "member"])
def test_archive_that_is_refused_leaves_what_serves(server, case):
    before = server.live("first")
    if case == "checksum":
        wrong = hashlib.sha256(b"").hexdigest()
        server.pillar(pillar(server, digest=wrong))
        words = ["django:projects:first:source:hash:", wrong, checksum(server, "one.tar.gz")]
    else:
        server.pillar(pillar(server, "evil.tar.gz"))
        words = ["leads out of it"]
    outcome = server.apply(check=False)
    comment = outcome.comment(outcome.failed[0])
    assert all(word in comment for word in words), comment
    assert server.live("first") == before
    assert server.host.get("/healthz/", host="first.example.org").status == 200
    server.pillar(pillar(server))
    server.apply()
    server.assert_settled()


def test_redis_setting_that_is_none_leaves_redis_running(server):
    with_redis = pillar(server).replace("cache: {engine: locmem}", "cache: {engine: redis}")
    server.pillar(with_redis)
    server.apply()
    before = server.host.pids("redis-server ")
    assert before
    for setting in ("tcp-keepaliv: 60", "tcp-keepalive: soon"):
        server.pillar(f"{with_redis}  redis: {{settings: {{{setting}}}}}\n")
        outcome = server.apply(check=False)
        assert setting.split(":")[0] in outcome.comment(outcome.failed[0])
        assert server.host.pids("redis-server ") == before
    server.pillar(with_redis)
    server.assert_settled()
