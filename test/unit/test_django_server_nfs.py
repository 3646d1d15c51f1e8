"""The server of a fleet's uploads: what it gives to whom, and how the others mount it."""

import pytest
from pillars import SOURCE, assert_nothing_to_do

HOSTS = {
    "nas1": {"address": "10.0.0.31", "roles": ["media"]},
    "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
    "work1": {"address": "10.0.0.12", "roles": ["worker"]},
    "db1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
}
PROJECT = {
    "source": SOURCE,
    "uid": 900,
    "domains": ["shop.example.org"],
    "secrets": {"SECRET_KEY": "s" * 50},
    "database": {"password": "x" * 12},
    "cache": {"password": "y" * 12},
}


def fleet(hosts=HOSTS, **changes):
    project = {key: value for key, value in {**PROJECT, **changes}.items() if value is not None}
    return {"hosts": hosts, "firewall": {}, "projects": {"shop": project}}


def test_exports_and_clients_follow_from_the_map(resolve):
    config = resolve(fleet(media={"private": {}}), id="nas1")
    assert config["nfs"] == {
        "address": "10.0.0.31",
        "port": 2049,
        "clients": ["10.0.0.11", "10.0.0.12"],
        "exports": [
            {
                "project": "shop",
                "id": 900,
                "owner": 900,
                "path": "/srv/media/shop",
                "folders": ["/srv/media/shop/media", "/srv/media/shop/private"],
            }
        ],
    }
    assert {"nfs-ganesha", "nfs-ganesha-vfs"} <= set(config["packages"])
    assert "django.media.nfs" in config["tiers"] and "django.app.project" not in config["tiers"]
    assert config["projects"]["shop"]["secret_specs"] == {}
    (rule,) = (rule for rule in config["firewall"]["rules"] if rule["ports"] == [2049])
    assert rule["from"] == ["10.0.0.11", "10.0.0.12"]


def test_hosts_that_run_the_project_mount_it(resolve):
    for name in ("web1", "work1"):
        config = resolve(fleet(), id=name)
        project = config["projects"]["shop"]
        assert project["media"]["mount"]["device"] == "10.0.0.31:/shop"
        assert project["media"]["mount"]["type"] == "nfs4"
        options = set(project["media"]["mount"]["options"].split(","))
        assert {"softerr", "nosuid", "nodev", "noexec", "_netdev"} <= options, "it never hangs"
        assert project["paths"]["media"] == "/srv/django/shop/share/media"
        assert "nfs-common" in config["packages"] and config["nfs"] == {}
    hosts = {**HOSTS, "nas1": {**HOSTS["nas1"], "address": "fd00::31"}}
    share = resolve(fleet(hosts), id="web1")["projects"]["shop"]["media"]["mount"]
    assert share["device"] == "[fd00::31]:/shop"


@pytest.mark.parametrize(
    "media",
    [
        {"mount": "nas.example.org:/export/shop"},
        {"s3": {"bucket": "shop-media", "region": "eu-central-1"}},
    ],
)
def test_uploads_that_are_elsewhere_are_not_given_out(resolve, media):
    assert resolve(fleet(media=media), id="nas1")["nfs"] == {}
    share = resolve(fleet(media=media), id="web1")["projects"]["shop"]["media"]["mount"]
    assert share.get("device") == media.get("mount")


def test_without_such_a_host_uploads_are_where_they_were(resolve):
    hosts = {name: host for name, host in HOSTS.items() if name not in ("nas1", "work1")}
    config = resolve(fleet(hosts), id="web1")
    assert config["projects"]["shop"]["media"]["mount"] == {}
    assert config["projects"]["shop"]["paths"]["media"] == "/srv/django/shop/shared/media"
    assert "media" not in resolve({"projects": {"shop": {"source": SOURCE}}})["host"]["roles"]


def test_project_inside_apache_is_known_by_the_number_of_www_data(resolve):
    change = {"uid": None, "app": {"server": "mod_wsgi", "mode": "embedded"}}
    (error,) = resolve(fleet(**change), id="nas1")["errors"]
    assert error.startswith("django:projects:shop:app:server: expected another server"), error
    hosts = {name: item for name, item in HOSTS.items() if name != "work1"}
    config = resolve(fleet(hosts, **change), id="nas1")
    assert config["valid"], config["errors"]
    assert config["nfs"]["exports"][0]["owner"] == config["nfs"]["exports"][0]["id"] == 33


@pytest.mark.parametrize(
    ("django", "grains", "told"),
    [
        (
            fleet(uid=None),
            {},
            "shop:uid: expected a number such as 900, since its uploads are on nas1",
        ),
        (
            fleet({**HOSTS, "nas1": {**HOSTS["nas1"], "roles": ["media", "worker"]}}),
            {},
            "django:hosts:nas1:roles: expected media on another host than app and worker",
        ),
        (
            fleet({**HOSTS, "nas2": {"address": "10.0.0.32", "roles": ["media"]}}),
            {},
            "django:hosts: expected one host with the role media, got nas1, nas2",
        ),
        (
            fleet(),
            {"init": "unknown"},
            "django:hosts:nas1:roles: expected media on a host that systemd runs",
        ),
    ],
)
def test_what_cannot_be_is_told(resolve, django, grains, told):
    config = resolve(django, id="nas1", **grains)
    assert_nothing_to_do(config)
    assert any(told in error for error in config["errors"]), config["errors"]
