"""What ./bootstrap looks at and says on a host with the role balancer."""

import sys

import pytest
from pillars import ROOT

sys.path.insert(0, str(ROOT / "bootstrap.d"))
from masterless import preflight, report

HOSTS = {
    "lb1": {"address": "10.0.0.5", "roles": ["balancer"]},
    "web1": {"address": "10.0.0.11", "roles": ["app", "web", "database", "cache"]},
}
PROJECT = {
    "source": {"path": "/srv/src"},
    "settings": "shop.settings",
    "domains": ["shop.example.org"],
    "secrets": {"SECRET_KEY": "s" * 50},
    "database": {"password": "x" * 12},
    "cache": {"password": "y" * 12},
    "superuser": {"username": "boss", "password": "correct-horse-1"},
    "web": {"tls": {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/shop.key"}},
}


@pytest.fixture
def config(resolve):
    django = {"hosts": HOSTS, "haproxy": {"statistics": {}}, "projects": {"shop": PROJECT}}
    found = resolve(django, id="lb1")
    assert found["errors"] == []
    return found


def test_the_ports_of_the_balancer_are_wanted(config):
    assert preflight.wanted(config) == [
        (80, "the balancer (HAProxy)", ("haproxy",)),
        (443, "the balancer (HAProxy with TLS)", ("haproxy",)),
        (8404, "HAProxy's statistics", ("haproxy",)),
    ]


@pytest.mark.parametrize(
    ("server", "name", "programs"),
    [("nginx", "Nginx", ("nginx",)), ("varnish", "Varnish", ("varnishd", "cache-main"))],
)
def test_other_balancers_want_the_port_too(resolve, server, name, programs):
    shop = {**PROJECT, "web": {}}
    django = {"hosts": HOSTS, "balancer": {"server": server}, "projects": {"shop": shop}}
    config = resolve({**django, "haproxy": {"port": 8080}}, id="lb1")
    assert config["errors"] == []
    assert preflight.wanted(config) == [(8080, f"the balancer ({name})", programs)]
    assert report.stack(config) == name


def test_a_front_door_may_take_the_ports_of_the_balancer_that_was_there(tmp_path):
    (tmp_path / "ours").write_text("# Written by django-formula; the next run replaces changes.\n")
    servers = {"nginx": (("nginx",), ""), "haproxy": (("haproxy",), f"{tmp_path}/ours")}
    assert preflight.holders("nginx", servers) == ("nginx", "haproxy")


def test_a_conclusion_names_nothing_that_a_balancer_does_not_have(config):
    lines = report.conclusion(report.summary({}), config, {}, 72, "salt-call", "/p/site.sls")
    text = "\n".join(lines)
    assert "https://shop.example.org/   passed on to web1" in text
    assert "running     HAProxy" in text
    where = "/etc/django-formula/secrets/haproxy.statistics.json"
    assert f"http://127.0.0.1:8404/   admin, password: password in {where}" in text
    for word in ("/srv/django", "shop.json", "django-manage", "boss", "/var/log/django"):
        assert word not in text
