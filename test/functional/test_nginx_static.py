"""Static files at domains of their own, by a real Nginx: who serves them, and nothing else."""

import gzip

import django_static
import pytest
from front import PROJECT, certificate, fill
from test_nginx import running

PASSWORD = {"password": "x" * 20}
OF_A_FLEET = {
    **PROJECT,
    "static": {"domains": ["static.shop.test"]},
    "secrets": {"SECRET_KEY": "y" * 50},
    "database": PASSWORD,
    "cache": PASSWORD,
}
HOSTS = {
    "host1": {"address": "10.0.0.11", "roles": ["static"]},
    "host2": {"address": "10.0.0.12", "roles": ["app", "web", "worker", "database", "cache"]},
}
STATIC = "static.shop.test"


@pytest.fixture(scope="module")
def static_site(minion_opts, tmp_path_factory):
    """A host that serves static files alone."""
    root = tmp_path_factory.mktemp("static")
    root.chmod(0o755)
    with running(minion_opts, root, OF_A_FLEET, hosts=HOSTS) as site:
        fill(root / "srv/shop")
        yield site


def test_static_hosts_serve_static_files(static_site):
    hashed = static_site.ask("/static/css/site.0123456789ab.css", host=STATIC)
    assert hashed.getheader("Cache-Control") == "public, max-age=31536000, immutable"
    plain = static_site.ask("/static/css/site.css", host=STATIC, Accept_Encoding="gzip")
    assert plain.getheader("Cache-Control") == "public, max-age=3600"
    assert plain.getheader("Content-Encoding") == "gzip"
    assert gzip.decompress(plain.text).startswith(b"body")
    assert plain.getheader("X-Note") == "it's a value"


def test_pages_of_any_site_may_use_what_static_hosts_serve(static_site):
    for name in ("letter.woff2", "css/site.css"):
        answer = static_site.ask(f"/static/{name}", host=STATIC)
        assert (answer.status, answer.getheader("Access-Control-Allow-Origin")) == (200, "*")


@pytest.mark.parametrize(
    "path, status",
    [
        ("/", 404),
        ("/media/page.html", 404),
        ("/favicon.ico", 404),
        ("/static/.hidden", 404),
        ("/static/gone.css", 404),
        ("/static/", 403),
        ("/static/other.txt", 403),
    ],
)
def test_static_hosts_serve_nothing_else(static_site, path, status):
    assert static_site.ask(path, host=STATIC).status == status


def test_static_hosts_are_well_once_files_are_published(static_site):
    """A balancer leaves out a host whose first release failed."""
    assert static_site.ask("/-/health", host=STATIC).status == 503
    published = static_site.root / "srv/shop/static"
    django_static.publish(published, published, [django_static.PROBE])
    answer = static_site.ask("/-/health", host=STATIC)
    assert (answer.status, answer.text) == (200, b"")


@pytest.mark.parametrize("host", ["shop.test", "www.wild.test", "other.test", "127.0.0.1"])
def test_static_hosts_know_the_static_domains_alone(static_site, host):
    assert static_site.ask("/static/css/site.css", host=host).status == 421


def test_a_server_that_is_alone_serves_both(minion_opts, tmp_path):
    tmp_path.chmod(0o755)
    tls = certificate(tmp_path)
    project = {**OF_A_FLEET, "static": {"domains": [STATIC], "tls": {**tls, "hsts": "1d"}}}
    with running(minion_opts, tmp_path, project) as site:
        fill(tmp_path / "srv/shop")
        assert site.passed_on("/")["Host"] == "shop.test"
        assert site.ask("/static/css/site.css").status == 200, "pages from before have this address"
        moved = site.ask("/static/css/site.css", host=STATIC)
        expected = f"https://{STATIC}:{site.tls_port}/static/css/site.css"
        assert (moved.status, moved.getheader("Location")) == (308, expected)
        answer = site.ask_securely(STATIC, STATIC)
        assert b"HTTP/1.1 404" in answer and b"max-age=86400" in answer
