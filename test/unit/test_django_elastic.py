"""Servers that come and go: what they publish, and what is made of it."""

import django_elastic
import pytest

WEB = {"web*": ["app", "web"]}


def test_roles_are_by_name_and_addresses_by_what_servers_publish():
    published = {
        "web2": ["10.0.0.12", "192.0.2.12"],
        "web1": "10.0.0.11",
        "jobs1": ["10.0.0.31"],
        "db1": ["10.0.0.21"],
    }
    members = {**WEB, "jobs*": ["worker"], "web1": ["worker", "web"]}
    assert django_elastic.hosts(members, published, "10.0.0.0/24") == {
        "jobs1": {"address": "10.0.0.31", "roles": ["worker"]},
        "web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker"]},
        "web2": {"address": "10.0.0.12", "roles": ["app", "web"]},
    }


@pytest.mark.parametrize(
    ("said", "address"),
    [
        (["10.0.0.9", "10.0.0.10"], "10.0.0.9"),
        (["10.0.0.10", "10.0.0.9"], "10.0.0.9"),
        (["127.0.0.1", "10.0.0.9"], "10.0.0.9"),
        (["fd00::9"], None),
        ("10.0.1.9", None),
        ("10.0.0.9, roles: [database]", None),
        ("10.0.0.9\n    db2: {address: 10.0.0.8, roles: [database]}", None),
        (["10.0.0.9/24"], None),
        ({"address": "10.0.0.9", "roles": ["database"]}, None),
        (167772169, None),
        ([], None),
        (None, None),
    ],
)
def test_nothing_but_an_address_of_the_network_counts(said, address):
    published = {"web1": ["10.0.0.1"], "web2": said}
    found = django_elastic.hosts(WEB, published, "10.0.0.0/24")
    assert found.get("web2", {}).get("address") == address
    assert set(found["web1"]) == {"address", "roles"}
    silent = [] if address else ["web2"]
    assert django_elastic.silent(published, "10.0.0.0/24") == silent


def test_without_a_network_any_address_of_a_host_counts():
    published = {"web1": ["::1", "fe80::1", "fd00::9"]}
    assert django_elastic.hosts(WEB, published)["web1"]["address"] == "fd00::9"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((WEB, {}), "members:web.: expected at least 1 servers that publish .* got none"),
        (({"web*": []}, {}), "members:web.: expected a list of roles"),
        (({"web*": "web"}, {}), "members:web.: expected a list of roles"),
        ((["web*"], {}), "members: expected a map"),
        ((WEB, {"web1": "10.0.0.1"}, "10.0.0.1/24"), "network: expected a network such as"),
        ((WEB, {"web1": "10.0.0.1"}, None, "two"), "least: expected a number of servers such as 2"),
        ((WEB, {"web1": "10.0.0.1"}, "10.0.0.0/24", 2), "expected at least 2 servers .* got web1"),
    ],
)
def test_rather_than_a_wrong_map_there_is_none(arguments, message):
    with pytest.raises(django_elastic.Refused, match=message):
        django_elastic.hosts(*arguments)
