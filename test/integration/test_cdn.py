"""Static files behind a CDN: what its origin answers, and what it is told to forget."""

import pytest

from test.hosts import boot

from . import depot
from .machines import SITE, ensure
from .server import Browser, Server, put_checkout

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "static files and uploads",
        "CDN (CloudFront's API by moto)",
        "STATIC_URL, cache headers; told what changed under the same name, again after a failure",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "static files and uploads",
        "WhiteNoise",
        "static files by the project itself",
        on=["Debian 12"],
    ),
]
CDN = "https://d111111abcdef8.cloudfront.net"
PILLAR = """\
django:
  projects:
    depot:
      source: {path: %(source)s}
      settings: depot.settings
      database: {engine: sqlite}
      cache: {engine: locmem}
      app: {workers: 1}
%(more)s
"""
STATIC = """\
      static:
        cdn:
          url: %(cdn)s/
          distribution: %(distribution)s
          endpoint: %(api)s
          access_key: %(access_key)s
          secret_key: "%(secret_key)s"
"""
STATE = "depot: CDN forgets what changed"


def pillar(server, more):
    server.pillar(PILLAR % {"source": depot.SOURCE, "more": more})


@pytest.fixture(scope="module")
def server():
    """The depot behind a distribution of the emulator; `server.first` is the first run."""
    with boot("int-cdn", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        depot.put_source(server)
        depot.install_emulator(server)
        depot.start_emulator(server)
        distribute(server)
        server.first = server.apply()
        yield server


def distribute(server):
    """Make a distribution, and name it in the pillar."""
    server.distribution = depot.at_emulator(
        server,
        """
origin = {"Id": "o", "DomainName": "depot.test", "CustomOriginConfig":
    {"HTTPPort": 80, "HTTPSPort": 443, "OriginProtocolPolicy": "http-only"}}
made = client("cloudfront").create_distribution(DistributionConfig={"CallerReference": "d",
    "Origins": {"Quantity": 1, "Items": [origin]}, "Comment": "", "Enabled": True,
    "DefaultCacheBehavior": {"TargetOriginId": "o", "ViewerProtocolPolicy": "allow-all"}})
answer = made["Distribution"]["Id"]
""",
    )
    values = {"cdn": CDN, "distribution": server.distribution, "api": depot.API}
    keys = {"access_key": depot.ACCESS_KEY, "secret_key": depot.SECRET_KEY}
    pillar(server, STATIC % {**values, **keys})


def invalidated(server):
    """Paths of each invalidation that the distribution has, the oldest first."""
    return depot.at_emulator(
        server,
        f"""
cdn, answer = client("cloudfront"), []
listed = cdn.list_invalidations(DistributionId={server.distribution!r})["InvalidationList"]
for item in sorted(listed.get("Items", []), key=lambda item: item["CreateTime"]):
    one = cdn.get_invalidation(DistributionId={server.distribution!r}, Id=item["Id"])
    answer.append(one["Invalidation"]["InvalidationBatch"]["Paths"]["Items"])
""",
    )


def style(server):
    """Path at the origin of the style sheet that pages name."""
    url = Browser(server.host).get("/").json()["style"]
    assert url.startswith(f"{CDN}/static/site.")
    return url.removeprefix(CDN)


def test_pages_name_files_at_the_cdn_and_the_origin_has_them(server):
    answer = Browser(server.host).get(style(server))
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for path in (style(server), "/static/letter.woff2", "/static/robots.txt"):
        headers = Browser(server.host).get(path).headers
        assert headers["Access-Control-Allow-Origin"] == "*", path
    plain = Browser(server.host).get("/static/robots.txt")
    assert plain.headers["Cache-Control"] == "public, max-age=3600"


def test_a_cdn_whose_past_is_not_known_forgets_all_of_it_once(server):
    assert STATE in server.first.changed
    assert invalidated(server) == [["/static/*"]]
    server.assert_settled()
    assert invalidated(server) == [["/static/*"]]


def test_a_release_is_told_by_the_names_that_changed(server):
    old = style(server)
    depot.write(server, "assets/site.css", "body { color: black }\n")
    depot.write(server, "assets/new.txt", "new\n")
    server.apply()
    new = style(server)
    assert new != old
    for path in (old, new):
        assert Browser(server.host).get(path).status_code == 200, "both releases have their own"
    assert invalidated(server)[1:] == [["/static/site.css"]]


def test_what_could_not_be_told_is_told_by_the_next_run(server):
    before, told = server.live("depot"), invalidated(server)
    depot.name_emulator(server, "127.0.0.2")  # where nobody listens
    depot.write(server, "assets/robots.txt", "User-agent: nobody\n")
    outcome = server.apply(check=False)
    assert outcome.failed == [STATE], outcome.told()
    assert "the next run tells it again" in outcome.comment(STATE)
    assert server.distribution in outcome.comment(STATE)
    assert depot.SECRET_KEY not in outcome.output
    assert server.live("depot") != before
    assert "nobody" in Browser(server.host).get("/static/robots.txt").text
    depot.name_emulator(server, "127.0.0.1")
    server.assert_mended(STATE)
    assert invalidated(server) == [*told, ["/static/robots.txt"]]


def test_the_secret_is_seen_nowhere(server):
    for name in ("/etc/nginx", "/etc/supervisor", "/var/log", "/var/cache/salt", "/srv/django"):
        found = server.run(["grep", "-rlF", depot.SECRET_KEY, name], check=False)
        assert found.stdout == "", name
    assert "AWS_" not in server.host.read("/srv/django/depot/live/environment")


def test_a_project_that_serves_its_static_files_itself(server):
    pillar(
        server,
        "      static: {serve: false}\n"
        "      python: {packages: [whitenoise==6.9.0]}\n"
        "      env: {WHITENOISE: '1'}\n",
    )
    server.apply()
    assert "location ^~ /static/" not in server.host.read("/etc/nginx/django.d/depot.conf")
    path = Browser(server.host).get("/").json()["style"]
    answer = Browser(server.host).get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        200,
        'text/css; charset="utf-8"',
    )
    assert "immutable" in answer.headers["Cache-Control"]
    server.assert_settled()
