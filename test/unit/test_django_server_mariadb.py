"""Engine mysql: what the MariaDB server of a host is told, and how projects reach it."""

import django_namespace
import django_tuning
import pytest

SOURCE = {"path": "/srv/src/shop"}
SHOP = {"source": SOURCE, "database": {"engine": "mysql"}}
SECRETS = {"database.default.password": "p/w@"}
FLEET = {
    "db1": {"address": "10.0.0.21", "roles": ["database", "cache", "worker"]},
    "host1": {"address": "10.0.0.11", "roles": ["app", "web"]},
}


def fleet_project():
    password = {"password": "x" * 20}
    return {
        "source": SOURCE,
        "database": {"engine": "mysql", **password},
        "cache": password,
        "secrets": {"SECRET_KEY": "y" * 50},
    }


def test_one_host_has_mariadb_on_loopback_and_no_postgresql(resolve):
    config = resolve({"projects": {"shop": SHOP}})
    assert config["errors"] == [] and config["postgresql"] == {}
    assert "django.database.mariadb" in config["tiers"] and "mariadb-server" in config["packages"]
    settings = config["mariadb"]["settings"]
    assert settings["bind_address"] == "127.0.0.1" and settings["skip_name_resolve"] == "ON"
    assert "STRICT_TRANS_TABLES" in settings["sql_mode"].split(",")
    assert config["mariadb"]["databases"] == [
        {
            "project": "shop",
            "alias": "default",
            "name": "shop",
            "user": "shop",
            "hosts": ["127.0.0.1"],
        }
    ]


def test_names_for_settings(resolve):
    config = resolve({"projects": {"shop": SHOP}})
    names = django_namespace.namespace(config["projects"]["shop"], config["host"], SECRETS)
    assert names["database.url"] == "mysql://shop:p%2Fw%40@127.0.0.1:3306/shop?charset=utf8mb4"
    assert names["database.engine"] == "mysql" and names["database.port"] == 3306


def test_the_pillar_wins(resolve):
    given = {"port": 3307, "max_connections": 33, "settings": {"long_query_time": 1}}
    config = resolve({"mariadb": given, "projects": {"shop": SHOP}})
    found = config["mariadb"]["settings"]
    assert (found["port"], found["max_connections"], found["long_query_time"]) == (3307, 33, 1)
    assert config["projects"]["shop"]["databases"]["default"]["port"] == 3307


def test_hosts_of_a_fleet_reach_it_by_its_address(resolve):
    pillar = {"hosts": FLEET, "projects": {"shop": fleet_project()}}
    config = resolve(pillar, id="db1")
    assert config["errors"] == []
    assert config["mariadb"]["settings"]["bind_address"] == "10.0.0.21"
    assert config["mariadb"]["databases"][0]["hosts"] == ["10.0.0.11", "10.0.0.21"]
    assert config["projects"]["shop"]["databases"]["default"]["host"] == "10.0.0.21"
    assert resolve(pillar, id="host1")["mariadb"] == {}


def test_both_servers_on_one_host(resolve):
    config = resolve(
        {"projects": {"shop": SHOP, "blog": {"source": SOURCE, "domains": ["b.example.org"]}}}
    )
    assert config["errors"] == []
    assert config["postgresql"]["databases"][0]["project"] == "blog"
    assert config["mariadb"]["databases"][0]["project"] == "shop"


@pytest.mark.parametrize(
    "database, error",
    [
        ({"extensions": ["pg_trgm"]}, "extensions: expected only with engine postgresql"),
        ({"encoding": "LATIN1"}, "encoding: expected only with engine postgresql"),
        ({"locale": "de_DE.UTF-8"}, "locale: expected only with engine postgresql"),
        ({"template": "mine"}, "template: expected only with engine postgresql"),
        ({"name": "mysql"}, "name: expected another name, MariaDB has mysql itself"),
        ({"user": "root"}, "user: expected another name, MariaDB has root itself"),
        ({"file": "a.sqlite3"}, "file: expected only with engine sqlite"),
        ({"host": "db.example.net"}, "password: expected a value, since the database is external"),
    ],
)
def test_what_mariadb_cannot_do_is_told(resolve, database, error):
    project = {"source": SOURCE, "database": {"engine": "mysql", **database}}
    errors = resolve({"projects": {"shop": project}})["errors"]
    assert f"django:projects:shop:database:{error}" in errors


@pytest.mark.parametrize("memory", [256, 1024, 16384, 262144])
def test_memory_stays_within_what_there_is(memory):
    found = django_tuning.mariadb(8, memory)
    assert int(found["innodb_buffer_pool_size"].rstrip("M")) <= memory * 3 // 4
