"""The address that balancers have between them."""

import pytest

SECRET = {"password": "x" * 20}
SHOP = {"source": {"path": "/srv/src"}, "domains": ["shop.test"], "database": SECRET}
SHOP |= {"cache": SECRET, "secrets": {"SECRET_KEY": "y" * 50}}
INTERFACES = {"ip4_interfaces": {"lo": ["127.0.0.1"], "ens3": ["10.0.0.5", "192.0.2.7"]}}


def pillar(balancers=2, **floating):
    hosts = {
        f"lb{number}": {"address": f"10.0.0.{4 + number}", "roles": ["balancer"]}
        for number in range(1, balancers + 1)
    }
    hosts["web1"] = {"address": "10.0.0.11", "roles": ["app", "web", "database", "cache"]}
    floating = {"address": "10.0.0.100", **floating}
    return {"hosts": hosts, "balancer": {"floating": floating}, "projects": {"shop": SHOP}}


def test_the_first_balancer_has_the_address_as_long_as_it_serves(resolve):
    first = resolve(pillar(), id="lb1", **INTERFACES)["keepalived"]
    assert first == {
        "address": "10.0.0.100",
        "interface": "ens3",
        "router": 51,
        "priority": 200,
        "source": "10.0.0.5",
        "peers": ["10.0.0.6"],
        "port": 80,
    }
    second = resolve(pillar(interface="eth1"), id="lb2")["keepalived"]
    assert (second["priority"], second["interface"]) == (199, "eth1")
    assert second["peers"] == ["10.0.0.5"]


def test_other_hosts_have_none_of_it(resolve):
    config = resolve(pillar(), id="web1", **INTERFACES)
    assert config["errors"] == [] and config["keepalived"] == {}
    assert "keepalived" not in config["packages"]


def test_the_other_balancers_alone_may_say_that_they_have_it(resolve):
    config = resolve({**pillar(), "firewall": {}}, id="lb1", **INTERFACES)
    rules = {rule["for"]: rule for rule in config["firewall"]["rules"]}
    assert rules["floating address"] == {
        "for": "floating address",
        "protocol": "112",
        "ports": [],
        "from": ["10.0.0.6"],
    }


@pytest.mark.parametrize(
    ("given", "host", "told"),
    [
        (pillar(1), "lb1", "floating: expected two hosts with the role balancer, got lb1"),
        (pillar(0), "web1", "floating: expected two hosts with the role balancer, got none"),
        (pillar(address="10.0.0.11"), "lb1", "10.0.0.11 is that of web1"),
        (pillar(), "lb2", "interface: expected the interface of the balancers"),
    ],
)
def test_what_cannot_float_is_told(resolve, given, host, told):
    errors = resolve(given, id=host, **INTERFACES)["errors"]
    assert len([error for error in errors if told in error]) == 1, errors
