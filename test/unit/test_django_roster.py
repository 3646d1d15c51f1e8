"""The roster of salt-ssh, worked out of the map of hosts."""

import django_roster
import pytest

MAP = {
    "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
    "web2": {"address": "10.0.0.12", "roles": ["app", "web", "worker"]},
    "db1": {"address": "10.0.0.21", "roles": ["database"]},
}
PILLAR = {"django": {"hosts": MAP, "projects": {}}}


def test_every_server_of_the_map_is_reached_at_its_address():
    found = django_roster.servers(PILLAR)
    assert {name: entry["host"] for name, entry in found.items()} == {
        name: host["address"] for name, host in MAP.items()
    }


def test_a_server_must_have_the_host_key_that_is_known():
    for entry in django_roster.servers(PILLAR).values():
        assert entry["ssh_options"] == ["StrictHostKeyChecking=yes"]


def test_what_is_left_on_a_server_is_in_a_folder_that_only_root_can_make():
    """Where somebody else logs in, Salt's own choice is the one that this user can write to."""
    given = {"web1": {"user": "ada", "sudo": True}}
    found = django_roster.servers(PILLAR, given)
    assert found["web2"]["thin_dir"] == "/var/cache/django-formula/ssh"
    assert "thin_dir" not in found["web1"]
    assert "thin_dir" not in django_roster.servers(PILLAR, user="ada")["web2"]
    assert "thin_dir" not in django_roster.servers(PILLAR, defaults={"user": "ada"})["web2"]


def test_what_is_said_of_a_server_counts_more_than_what_is_said_of_all():
    given = {
        "web1": {"port": 22, "host": "web1.example.org"},
        "db1": "192.0.2.9",
        "old": "10.0.0.9",
    }
    found = django_roster.servers(PILLAR, given, {"port": 2222})
    assert set(found) == set(MAP), "only those of the map"
    assert (found["web1"]["host"], found["web1"]["port"]) == ("web1.example.org", 22)
    assert (found["db1"]["host"], found["db1"]["port"]) == ("192.0.2.9", 2222)
    assert (found["web2"]["host"], found["web2"]["port"]) == ("10.0.0.12", 2222)


@pytest.mark.parametrize(
    ("role", "names"), [("app", ["web1", "web2"]), ("database", ["db1"]), ("balancer", [])]
)
def test_servers_of_a_role(role, names):
    assert django_roster.having(PILLAR, role) == names


ABSENT = (
    "django:hosts: expected a map with each server's address and roles, in a file of the pillar "
    "that all servers get; there is none"
)


@pytest.mark.parametrize(
    ("pillar", "said"),
    [
        ({}, ABSENT),
        ({"django": None}, ABSENT),
        ({"django": {"projects": {}}}, ABSENT),
        (
            {"django": {"hosts": ["web1"]}},
            "django:hosts: expected a map with each server's address and roles",
        ),
        (
            {"_errors": ["Rendering SLS 'site' failed. Please see master log.\n---\nsecret"]},
            "Rendering SLS 'site' failed. Please see master log.",
        ),
        (
            {"django": {"hosts": {"web1": {"roles": ["app"]}, "web2": "10.0.0.12"}}},
            "django:hosts:web1:address: expected the server's address, as text\n"
            "django:hosts:web2:address: expected the server's address, as text",
        ),
    ],
)
def test_a_pillar_without_a_map_is_told(pillar, said):
    with pytest.raises(django_roster.NoRoster) as refusal:
        django_roster.servers(pillar)
    assert str(refusal.value) == said


def test_a_mistake_elsewhere_in_the_pillar_takes_no_server_away():
    assert set(django_roster.servers({**PILLAR, "_errors": ["other"]})) == set(MAP)
