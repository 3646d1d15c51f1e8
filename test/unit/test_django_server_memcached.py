"""Cache engine memcached: what each project's server is told, and how the project reaches it."""

import django_namespace
import pytest

SHOP = {"source": {"path": "/srv/src/shop"}, "cache": {"engine": "memcached"}}
FLEET = {
    "web1": {"address": "10.0.0.11", "roles": ["app", "web", "cache"]},
    "db1": {"address": "10.0.0.21", "roles": ["database"]},
}


def test_it_listens_on_a_socket_and_nowhere_else(resolve):
    config = resolve({"projects": {"shop": SHOP}})
    assert config["errors"] == [] and config["redis"] == {}
    assert "memcached" in config["packages"] and "redis-server" not in config["packages"]
    assert "django.cache.memcached" in config["tiers"]
    [instance] = config["memcached"]["instances"]
    assert instance["service"] == "memcached@shop" and instance["group"] == "shop"
    assert instance["options"] == [
        "--unix-socket=/run/memcached-shop/memcached.sock",
        "--unix-mask=0660",
        "--udp-port=0",
        "--memory-limit=409",
        "--threads=2",
        "--conn-limit=4096",
        "--disable-dumping",
        "--disable-watch",
    ]


def test_no_secret_is_made_for_it(resolve):
    shop = resolve({"projects": {"shop": SHOP}})["projects"]["shop"]
    assert "cache.password" not in shop["secret_specs"]


def test_its_service_has_another_name_without_systemd(resolve):
    [instance] = resolve({"projects": {"shop": SHOP}}, init="unknown")["memcached"]["instances"]
    assert instance["service"] == "memcached-shop"


@pytest.mark.parametrize(
    ("cache", "location"),
    [
        ({}, "unix:/run/memcached-shop/memcached.sock"),
        ({"host": "cache.example.net"}, "cache.example.net:11211"),
        ({"host": "10.0.0.9", "port": 11300}, "10.0.0.9:11300"),
    ],
)
def test_names_for_settings(resolve, cache, location):
    config = resolve({"projects": {"shop": {**SHOP, "cache": {"engine": "memcached", **cache}}}})
    shop = config["projects"]["shop"]
    names = django_namespace.namespace(shop, config["host"], {})
    assert names["cache.engine"] == "memcached"
    assert names["cache.location"] == location
    assert names["cache.url"] == f"pymemcache://{location.removeprefix('unix:')}"
    assert shop["environment"]["CACHE_URL"] == "@{cache.url}"
    assert shop["environment"]["MEMCACHED_LOCATION"] == "@{cache.location}"
    assert not any(name.startswith("REDIS") for name in shop["environment"])
    assert bool(config["memcached"]) == ("host" not in cache)


def test_memory_follows_the_machine_and_the_pillar(resolve):
    projects = {
        "shop": {**SHOP, "domains": ["a.org"]},
        "blog": {**SHOP, "domains": ["b.org"], "cache": {**SHOP["cache"], "maxmemory": "96M"}},
    }
    given = {"memory_share": 5, "settings": {"max-item-size": "8m", "disable-watch": False}}

    def sizes(memory):
        config = resolve({"memcached": given, "projects": projects}, mem_total=memory)
        return {
            item["project"]: item["memory"] for item in config["memcached"]["instances"]
        }, config

    found, config = sizes(8192)
    assert found == {"blog": 96, "shop": 204}
    assert sizes(256)[0]["shop"] == 32
    assert sizes(65536)[0]["shop"] == 512
    options = config["memcached"]["instances"][0]["options"]
    assert "--max-item-size=8m" in options and "--disable-watch" not in options


def test_workers_have_a_redis_beside_it(resolve):
    shop = {**SHOP, "processes": {"jobs": {"celery": "shop"}}}
    config = resolve({"projects": {"shop": shop}})
    assert config["errors"] == []
    assert [item["name"] for item in config["redis"]["instances"]] == ["shop_broker"]


def test_it_serves_its_own_host_only(resolve):
    secrets = {"database": {"password": "x" * 20}, "secrets": {"SECRET_KEY": "y" * 50}}
    project = {**SHOP, **secrets}

    def errors(hosts, **cache):
        shop = {**project, "cache": {"engine": "memcached", **cache}}
        return resolve({"hosts": hosts, "projects": {"shop": shop}})["errors"]

    assert errors(FLEET) == []
    more = {**FLEET, "web2": {"address": "10.0.0.12", "roles": ["app", "web"]}}
    [error] = errors(more)
    assert error.startswith("django:projects:shop:cache:engine: expected redis, or a host of your")
    assert error.endswith("and web2 runs this one too")
    assert errors(more, host="cache.example.net") == []
