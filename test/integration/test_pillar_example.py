"""pillar.example, applied as it stands: every key at once, on a real server."""

import json

import pytest

from .server import CHECKOUT, ROOT, Browser

pytestmark = pytest.mark.proves(
    "one server", "pillar.example", "every key at once, applied as it stands", on=["Debian 12"]
)

DOMAIN = "guestbook.example.org"


@pytest.fixture(scope="module")
def server(site):
    site.run(f"mkdir -p /srv/src && cp -r {CHECKOUT}/examples/guestbook /srv/src/guestbook")
    site.bootstrap(pillar=(ROOT / "pillar.example").read_text())
    return site


def test_second_run_changes_nothing(server):
    server.assert_settled()


def test_site_answers_at_its_domains(server):
    for name in (DOMAIN, f"www.{DOMAIN}"):
        page = Browser(server.host, name).get("/")
        assert page.status_code == 200
        assert server.live()[0] in page.text


def test_locations(server):
    browser = Browser(server.host, DOMAIN)
    assert browser.get("/favicon.svg").headers["Content-Type"] == "image/svg+xml"
    assert browser.get("/metrics").status_code == 404
    assert browser.get("/protected/checked").status_code == 404
    assert browser.get("/old/", allow_redirects=False).headers["Location"].endswith("/")


def test_files_have_their_values(server):
    release, instance = server.live()
    site = server.host.read(f"/srv/django/guestbook/releases/{release}/source/config/site.json")
    assert json.loads(site) == {
        "domains": [DOMAIN, f"www.{DOMAIN}"],
        "database": {"name": "guestbook", "port": 5432},
    }
    mail = "/etc/django/guestbook/mail.ini"
    assert "password = keep-this-in-an-encrypted-pillar" in server.host.read(mail)
    assert server.mode(mail) == "640 root:guestbook"
    environment = server.host.read(f"/srv/django/guestbook/instances/{instance}/environment")
    assert "TIME_ZONE=Europe/Zurich\n" in environment
    assert "REDIS_PORT" not in environment


def test_databases_and_extensions(server):
    assert server.psql("SELECT extname FROM pg_extension WHERE extname = 'pg_trgm'", "guestbook")
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'guestbook_archive'"
    assert server.psql(owner) == ["guestbook_archive"]


def test_processes_timers_and_tasks(server):
    programs = server.run(["supervisorctl", "status"]).stdout
    assert "guestbook.heartbeat." in programs and "guestbook.web." in programs
    cron = server.host.read("/etc/cron.d/django-guestbook")
    assert "purge_entries --days 30" in cron and "clearsessions" in cron
    assert server.host.exists("/srv/django/guestbook/shared/data/checked")


def test_links_lead_to_what_is_kept(server):
    link = f"/srv/django/guestbook/releases/{server.live()[0]}/source/var/index"
    target = server.run(["readlink", "-f", link]).stdout.strip()
    assert target == "/srv/django/guestbook/shared/search-index"
