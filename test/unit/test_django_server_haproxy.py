"""What a balancer knows of the projects and of the hosts behind it."""

import django_config
import pytest
from pillars import SOURCE, assert_nothing_to_do

HOSTS = {
    "lb1": {"address": "10.0.0.5", "roles": ["balancer"]},
    "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
    "web2": {"address": "fd00::12", "roles": ["app", "web"]},
    "db1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
}
SHARED = {
    "lb1": {"address": "10.0.0.5", "roles": ["balancer", "database", "cache"]},
    "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
}
TLS = {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/private/shop.key", "hsts": "30d"}
PROJECT = {
    "source": SOURCE,
    "domains": ["shop.example.org", "*.shop.example.net"],
    "secrets": {"SECRET_KEY": "s" * 50},
    "database": {"password": "146d3146edc9" * 12},
    "cache": {"password": "y" * 12},
}


def fleet(**changes):
    return {"hosts": HOSTS, "firewall": {}, "projects": {"shop": {**PROJECT, **changes}}}


def test_members_names_and_health_come_from_the_pillar(resolve):
    web = {"trusted_proxies": ["192.0.2.1"], "https": True, "read_timeout": "90s"}
    config = resolve(fleet(web=web, health={"path": "/up/", "status": [200, 204]}), id="lb1")
    assert config["haproxy"] == {
        "port": 80,
        "tls_port": 443,
        "connections": 8192,
        "statistics": {},
        "projects": [
            {
                "name": "shop",
                "known": ["shop.example.org", ".shop.example.net"],
                "names": ["shop.example.org", "shop.example.net"],
                "suffixes": [".shop.example.net"],
                "host": "shop.example.org",
                "path": "/up/",
                "status": "200,204",
                "scheme": "https",
                "trusted": ["192.0.2.1"],
                "sticky": "",
                "tls": {},
                "timeout": 95,
                "members": [
                    {
                        "name": "web1",
                        "address": "10.0.0.11:80",
                        "host": "10.0.0.11",
                        "cookie": "659a7fb2af47",
                        "port": 80,
                    },
                    {
                        "name": "web2",
                        "address": "[fd00::12]:80",
                        "host": "fd00::12",
                        "cookie": "146d3146edc9",
                        "port": 80,
                    },
                ],
            }
        ],
    }
    assert config["projects"]["shop"]["secret_specs"] == {}
    assert "haproxy" in config["packages"] and "nginx" not in config["packages"]
    assert "django.balancer.haproxy" in config["tiers"]
    assert "django.app.project" not in config["tiers"]


def test_balancer_is_where_the_map_says_alone(resolve):
    assert resolve(fleet(), id="web1")["haproxy"] == {}
    alone = {name: host for name, host in HOSTS.items() if name != "lb1"}
    assert (
        resolve({**fleet(), "hosts": alone}, id="web1")["projects"]["shop"]["web"][
            "trusted_proxies"
        ]
        == []
    )
    assert "balancer" not in resolve({"projects": {"shop": {"source": SOURCE}}})["host"]["roles"]


def test_web_hosts_believe_and_let_in_the_balancer(resolve):
    config = resolve(fleet(web={"trusted_proxies": ["192.0.2.1"]}), id="web1")
    assert config["projects"]["shop"]["web"]["trusted_proxies"] == ["192.0.2.1", "10.0.0.5"]
    doors = [rule for rule in config["firewall"]["rules"] if rule["ports"] == [80]]
    assert [rule["from"] for rule in doors] == [["10.0.0.5"]]
    balancer = resolve(fleet(), id="lb1")["firewall"]["rules"]
    assert [rule["from"] for rule in balancer if rule["ports"] == [80]] == [[]]


def test_address_of_the_site_is_that_of_the_balancer(resolve):
    django = {**fleet(), "haproxy": {"port": 8080}, "nginx": {"port": 8000}}
    project = resolve(django, id="web1")["projects"]["shop"]
    assert project["url"] == "http://shop.example.org:8080"
    member = resolve(django, id="lb1")["haproxy"]["projects"][0]["members"][0]
    assert member["address"] == "10.0.0.11:8000"


def test_certificates_are_the_balancers(resolve):
    django = {**fleet(web={"tls": TLS}), "haproxy": {"tls_port": 8443}}
    (project,) = resolve(django, id="lb1")["haproxy"]["projects"]
    assert project["tls"] == {
        "certificate": "/etc/ssl/shop.pem",
        "key": "/etc/ssl/private/shop.key",
        "link": "/etc/haproxy/tls/shop.pem",
        "server_names": ["shop.example.org", "*.shop.example.net", "shop.example.net"],
        "redirect": True,
        "hsts": 30 * 86400,
    }
    assert project["scheme"] == "https"
    rules = resolve(django, id="lb1")["firewall"]["rules"]
    assert {"for": "balancer", "protocol": "tcp", "ports": [80, 8443], "from": []} in rules
    behind = resolve(django, id="web1")
    assert behind["projects"]["shop"]["web"]["tls"] == {}
    assert behind["projects"]["shop"]["web"]["https"] is True
    assert behind["projects"]["shop"]["url"] == "https://shop.example.org:8443"
    assert [rule["ports"] for rule in behind["firewall"]["rules"]] == [[22], [80]]


@pytest.mark.parametrize(
    ("web", "secure"),
    [({"tls": TLS}, True), ({"tls": {**TLS, "redirect": False}}, False), ({}, False)],
)
def test_cookies_go_by_https_alone_where_all_goes_by_it(resolve, web, secure):
    (project,) = resolve(fleet(web={**web, "sticky": True}), id="lb1")["haproxy"]["projects"]
    assert ("secure" in project["sticky"]) == secure


def test_the_password_of_statistics_is_masked_and_its_port_opened(resolve):
    statistics = {"password": "a-password-of-ours", "from": ["192.0.2.0/24"]}
    config = resolve({**fleet(), "haproxy": {"statistics": statistics}}, id="lb1")
    assert config["haproxy"]["statistics"]["password"] == "a-password-of-ours"
    assert "a-password-of-ours" not in str(django_config.public(config))
    opened = {"for": "statistics", "protocol": "tcp", "ports": [8404], "from": ["192.0.2.0/24"]}
    assert opened in config["firewall"]["rules"]
    alone = resolve({**fleet(), "haproxy": {"statistics": {}}}, id="lb1")
    assert "8404" not in str(alone["firewall"])


def test_a_header_of_the_pillar_is_not_written_over(resolve):
    web = {"tls": TLS, "headers": {"strict-transport-security": "max-age=1"}}
    (project,) = resolve(fleet(web=web), id="lb1")["haproxy"]["projects"]
    assert project["tls"]["hsts"] == 0


@pytest.mark.parametrize(
    ("django", "told"),
    [
        (fleet(domains=[]), "shop:domains: expected a list of domain names, by which the balancer"),
        (
            {**fleet(web={"tls": TLS}), "haproxy": {"port": 443}},
            "django:haproxy:tls_port: expected another port than 443, which is that of"
            " django:haproxy:port",
        ),
        (
            {**fleet(), "haproxy": {"port": 22}},
            "django:haproxy:port: expected another port than 22, which is that of SSH",
        ),
        (
            {**fleet(), "haproxy": {"statistics": {"port": 5432}}, "hosts": SHARED},
            "haproxy:statistics:port: expected another port than 5432, which is that of PostgreSQL",
        ),
        (
            {
                **fleet(cache={"password": "y" * 12, "port": 6400}),
                "haproxy": {"port": 6400},
                "hosts": SHARED,
            },
            "haproxy:port: expected another port than 6400, which is that of the cache of shop",
        ),
        (
            {
                **fleet(),
                "hosts": {**HOSTS, "lb1": {**HOSTS["lb1"], "roles": ["balancer", "app", "web"]}},
            },
            "django:hosts:lb1:roles: expected balancer on another host than web",
        ),
        (
            {
                **fleet(),
                "hosts": {
                    **HOSTS,
                    "web1": {**HOSTS["web1"], "roles": ["app"]},
                    "web2": {**HOSTS["web2"], "roles": ["app"]},
                },
            },
            "django:hosts: expected a host with the role web, got none",
        ),
    ],
)
def test_what_a_balancer_cannot_do_is_told(resolve, django, told):
    config = resolve(django, id="lb1")
    assert_nothing_to_do(config)
    assert any(told in error for error in config["errors"]), config["errors"]
