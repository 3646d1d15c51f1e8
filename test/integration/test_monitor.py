"""The role monitor: Prometheus knows hosts and sites of a map, and what is wrong with them."""

import json
import urllib.parse

import pytest

from .server import CHECKOUT, wait_for

pytestmark = pytest.mark.proves(
    "backups and monitoring",
    "monitoring by Prometheus",
    "hosts, health pages and backups of a map are seen, with rules for alerts",
    on=["Debian 12"],
)

PILLAR = """\
django:
  hosts:
    %(name)s: {address: %(address)s, roles: [app, web, worker, database, cache%(monitor)s]}
  backup: {repository: /mnt/backup, password: a-password-kept-elsewhere}
  projects:
    guestbook:
      source: {path: %(checkout)s/examples/guestbook}
      settings: config.settings
      health: {path: /healthz/, status: [200]}
      domains: [shop.example.org]
"""
PAGE = "http://127.0.0.1:9090/api/v1"
GET = """\
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())
"""


@pytest.fixture(scope="module")
def server(site):
    """The example site, watched by the same host."""
    site.pillar(pillar(site, ", backup, monitor"))
    predicted = site.predict()
    done = site.apply()
    # Cron is started as predicted, by its own package.
    expected = [each for each in predicted.changed if each != "backups are made"]
    assert done.changed == expected, f"{predicted.told()}\n\n{done.told()}"
    assert site.apply().changed == []
    return site


def pillar(site, monitor):
    words = {
        "name": site.call("grains.get", "id"),
        "address": site.host.address,
        "monitor": monitor,
        "checkout": CHECKOUT,
    }
    return PILLAR % words


def get(server, url):
    """What an address says on the server."""
    return server.run(["python3", "-c", GET, url]).stdout


def ask(server, query):
    """Values (dict of str by instance or project) that Prometheus has for a query."""
    answer = get(server, f"{PAGE}/query?query={urllib.parse.quote(query)}")
    found = json.loads(answer)["data"]["result"]
    return {
        each["metric"].get("project", each["metric"].get("job")): each["value"][1] for each in found
    }


def test_hosts_sites_and_backups_are_seen(server):
    server.call("django.backup", "guestbook")
    wait_for(lambda: ask(server, "up{job='hosts'}") == {"hosts": "1"}, 90)
    wait_for(lambda: ask(server, "probe_success") == {"guestbook": "1"}, 90)
    wait_for(lambda: int(ask(server, "django_backup_good_seconds").get("guestbook", 0)) > 0, 90)
    rules = json.loads(get(server, f"{PAGE}/rules"))["data"]["groups"][0]["rules"]
    assert {"HostDown", "SiteDown", "DiskFull", "CertificateExpires", "BackupOverdue"} == {
        rule["name"] for rule in rules
    }
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
    overdue = "django_backup_good_seconds - 40 * 3600"  # what the rule compares, 40 hours later
    query = f"time() - ({overdue}) > on(instance) group_left() django_backup_patience_seconds"
    assert list(ask(server, query)) == ["guestbook"]


def test_a_site_that_is_not_healthy_is_seen(server):
    door = f"http://{server.host.address}:80/healthz/"
    probe = f"http://127.0.0.1:9115/probe?module=guestbook&target={door}"
    assert "\nprobe_success 1\n" in get(server, probe)
    server.run("systemctl stop supervisor")
    assert "\nprobe_success 0\n" in get(server, probe)
    server.run("systemctl start supervisor")


def test_nobody_else_is_answered(server):
    listening = server.run("ss -Hltn").stdout
    address = server.host.address
    for place in ("127.0.0.1:9090", "127.0.0.1:9115", f"{address}:9100"):
        assert place in listening
    assert not [port for port in (9090, 9115, 9100) if f"*:{port}" in listening]


def test_without_the_role_nothing_of_it_runs(server):
    server.pillar(pillar(server, ", backup"))
    assert server.apply().changed == ["projects that left the pillar do not run"]
    listening = server.run("ss -Hltn").stdout
    assert not [port for port in (9090, 9115, 9100) if f":{port} " in listening]
