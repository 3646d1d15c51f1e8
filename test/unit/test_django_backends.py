"""The hosts behind a balancer of somebody else: the list, who tells it, and what is wrong."""

import django_config
import pytest
from pillars import SOURCE

HOSTS = {
    "web2": {"address": "fd00::12", "roles": ["app", "web"]},
    "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
    "db1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
}
LB1 = {"lb1": {"address": "10.0.0.5", "roles": ["balancer"]}}
PROJECT = {
    "source": SOURCE,
    "domains": ["*.example.org", "example.org"],
    "secrets": {"SECRET_KEY": "s" * 50},
    "database": {"password": "d" * 20},
    "cache": {"password": "c" * 20},
    "health": {"path": "/up/", "status": [200, 204]},
}
TLS = {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/private/shop.key"}
FROM = ["10.0.1.0/24"]
ARN = "arn:aws:elasticloadbalancing:eu-central-1:123456789012:targetgroup/shop/73e2d6bc24d8a067"


def fleet(hosts=HOSTS, external=None, **project):
    found = {"hosts": hosts, "firewall": {}, "projects": {"shop": {**PROJECT, **project}}}
    return {**found, **({"balancer": {"external": external}} if external else {})}


def test_the_list_is_the_same_on_each_host(resolve):
    found = [resolve(fleet(), id=name)["backends"] for name in HOSTS]
    assert found == [
        {
            "shop": {
                "domains": ["*.example.org", "example.org"],
                "servers": [
                    {"name": "web1", "address": "10.0.0.11", "port": 80, "scheme": "http"},
                    {"name": "web2", "address": "fd00::12", "port": 80, "scheme": "http"},
                ],
                "health": {
                    "host": "example.org",
                    "path": "/up/",
                    "status": [200, 204],
                    "by_address": None,
                },
            }
        }
    ] * len(HOSTS)


def test_hosts_with_a_certificate_are_reached_by_https(resolve):
    django = fleet(external={"from": FROM}, web={"tls": TLS})
    entry = resolve({**django, "nginx": {"port": 81, "tls_port": 444}})["backends"]["shop"]
    assert (entry["servers"][0]["scheme"], entry["servers"][0]["port"]) == ("https", 444)
    assert entry["health"]["by_address"] == {"port": 81, "path": "/-/health/shop"}


def test_a_project_without_domains_is_asked_by_its_address_anyway(resolve):
    health = resolve(fleet(domains=[]))["backends"]["shop"]["health"]
    assert health["host"] is None and health["by_address"] == {"port": 80, "path": "/up/"}


def test_whoever_balances_is_believed_and_let_in_alone(resolve):
    config = resolve(fleet(external={"from": FROM}, web={"trusted_proxies": ["192.0.2.1"]}))
    web = config["projects"]["shop"]["web"]
    assert web["trusted_proxies"] == ["192.0.2.1", *FROM]
    (rule,) = (rule for rule in config["firewall"]["rules"] if rule["for"] == "front door")
    assert rule["from"] == FROM
    assert config["probes"]["shop"] == {
        "path": "/-/health/shop",
        "from": ["192.0.2.1", *FROM],
        "url": "http://127.0.0.1:80/up/",
        "host": "example.org",
    }


def test_https_before_us_is_no_doubt_where_the_balancer_is_known(resolve):
    assert resolve(fleet(external={"from": FROM}, web={"https": True}))["warnings"] == []
    assert resolve(fleet(external={"hook": "/bin/tell"}, web={"https": True}))["warnings"] != []


def test_without_one_everybody_may_come_and_nobody_is_believed(resolve):
    config = resolve(fleet())
    (rule,) = (rule for rule in config["firewall"]["rules"] if rule["for"] == "front door")
    assert rule["from"] == [] and config["probes"] == {} and config["external"] == {}
    assert "django.balancer.external" not in config["tiers"]


def test_a_balancer_of_the_map_knows_hosts_by_name(resolve):
    django = fleet({**HOSTS, **LB1}, web={"trusted_proxies": ["192.0.2.1"]})
    config = resolve(django)
    assert config["probes"] == {}
    assert [each["name"] for each in config["backends"]["shop"]["servers"]] == ["web1", "web2"]


@pytest.mark.parametrize(
    ("given", "host"), [({}, "web1"), ({"host": "web2"}, "web2"), ({"host": "db1"}, "db1")]
)
def test_one_host_tells(resolve, given, host):
    external = {"hook": {"command": "/bin/tell -v", **given}}
    hooks = {name: resolve(fleet(external=external), id=name)["external"]["hook"] for name in HOSTS}
    assert [name for name, hook in hooks.items() if hook["here"]] == [host]
    assert hooks[host] == {
        "command": ["/bin/tell", "-v"],
        "host": host,
        "timeout": 60,
        "here": True,
    }


@pytest.mark.parametrize(
    ("hosts", "external", "message"),
    [
        (
            {**HOSTS, **LB1},
            {"from": FROM},
            "django:balancer:external: expected no host with the role balancer beside it, got lb1",
        ),
        (
            {"web1": {"address": "10.0.0.11", "roles": ["app", "database", "cache"]}},
            {"from": FROM},
            "django:balancer:external: expected a host with the role web behind it, got none",
        ),
        (
            HOSTS,
            {"hook": {"command": "/bin/tell", "host": "web3"}},
            "django:balancer:external:hook:host: expected a host of the map, got 'web3'"
            " (did you mean web",
        ),
        (
            HOSTS,
            {"hook": {"host": "web1"}},
            "django:balancer:external:hook:command: expected a command (text, or a list of words),"
            " got nothing",
        ),
        (
            HOSTS,
            {"aws": {"target_groups": [ARN], "access_key": "AKIA1"}},
            "django:balancer:external:aws:secret_key: expected beside the other key, got nothing",
        ),
        (
            HOSTS,
            {"aws": {"target_groups": [ARN], "access_key": "AKIA1", "secret_key": "*" * 10}},
            "django:balancer:external:aws:secret_key: expected the secret itself, got the mask",
        ),
        (
            HOSTS,
            {"aws": [ARN.replace("targetgroup", "loadbalancer")]},
            "django:balancer:external:aws:target_groups:0: expected the ARN of a target group",
        ),
        (HOSTS, {"from": "10.0.0.1"}, "django:balancer:external:from: expected a list"),
    ],
)
def test_mistakes_are_told(resolve, hosts, external, message):
    config = resolve(fleet(hosts, external))
    assert not config["valid"] and [text for text in config["errors"] if message in text]


def test_a_server_that_is_alone_may_be_behind_one(resolve):
    django = {"balancer": {"external": {"from": FROM, "hook": "/bin/tell"}}}
    django["projects"] = {"shop": {"source": SOURCE, "domains": ["shop.test"]}}
    config = resolve(django)
    assert config["valid"] and config["external"]["hook"]["here"]
    assert django_config.public(config)["external"]["members"] == {"web1": "10.0.0.11"}


def test_web_hosts_are_targets_and_the_secret_is_shown_nowhere(resolve):
    aws = {"target_groups": [ARN], "access_key": "AKIA1", "secret_key": "a-secret-of-aws"}
    django = fleet(external={"aws": aws}, web={"tls": TLS})
    config = resolve(django)
    assert config["external"]["targets"]["secret_key"] == "a-secret-of-aws"
    assert config["external"]["ports"] == [80, 443]
    assert "a-secret-of-aws" not in str(django_config.public(config))
    assert resolve(django, id="db1")["external"]["targets"] == {}
    assert "a-secret-of-aws" not in str(resolve(django, id="db1"))


def test_a_target_group_may_stand_alone(resolve):
    targets = resolve(fleet(external={"aws": [ARN]}))["external"]["targets"]
    assert targets == {
        "target_groups": [ARN],
        "exclusive": False,
        "access_key": None,
        "secret_key": None,
        "endpoint": None,
    }
