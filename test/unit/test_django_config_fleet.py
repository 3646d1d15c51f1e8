"""The resolver: what a map of hosts comes to on each of them."""

import pytest
from pillars import SOURCE

WEB, DATABASE = ["app", "web", "worker"], ["database", "cache"]
FLEET = {
    "web1": {"address": "10.0.0.11", "roles": WEB},
    "db1": {"address": "10.0.0.21", "roles": DATABASE},
}
SHARED = {"secrets": {}, "database": {"password": "x" * 12}, "cache": {"password": "y" * 12}}


def test_fleet_each_host_gets_its_tiers_and_neighbours(resolve):
    django = {"hosts": FLEET, "projects": {"shop": {"source": SOURCE, **SHARED}}}
    web, database = resolve(django), resolve(django, id="db1")
    assert web["tiers"] == [
        "django.valid",
        "django.host",
        "django.process.supervisord",
        "django.app.project",
        "django.web.nginx",
        "django.app.departed",
    ]
    assert database["tiers"] == [
        "django.valid",
        "django.host",
        "django.database.postgresql",
        "django.cache.redis",
        "django.app.departed",
    ]
    assert web["projects"]["shop"]["databases"]["default"]["host"] == "10.0.0.21"
    assert database["projects"]["shop"]["databases"]["default"]["host"] == "127.0.0.1"
    assert "10.0.0.11/32" in {line["address"] for line in database["postgresql"]["hba"]}
    assert database["postgresql"]["settings"]["listen_addresses"] == "localhost,10.0.0.21"
    assert database["redis"]["instances"][0]["bind"] == ["127.0.0.1", "10.0.0.21"]
    assert set(database["projects"]["shop"]["secret_specs"]) == {
        "cache.password",
        "database.default.password",
    }
    assert "nginx" not in database["packages"] and "postgresql-15" not in web["packages"]


def test_single_processes_and_timers_are_on_one_host(resolve):
    hosts = {
        "w1": {"address": "10.0.0.1", "roles": ["app", "worker"]},
        "w2": {"address": "10.0.0.2", "roles": ["app", "worker"]},
        "db1": FLEET["db1"],
    }
    project = {
        "source": SOURCE,
        **SHARED,
        "secrets": {"SECRET_KEY": "x" * 50},
        "processes": {
            "beat": {"command": "celery beat", "single": True},
            "w": {"command": "celery"},
            "z": {"flower": "shop"},
        },
        "broker": {"engine": "none"},
        "timers": {"t": {"manage": "x", "schedule": "hourly"}},
    }
    django = {"hosts": hosts, "projects": {"shop": project}}
    one, two = (resolve(django, id=name)["projects"]["shop"] for name in ("w1", "w2"))
    assert (list(one["processes"]), list(one["timers"])) == (["beat", "w", "z"], ["t"])
    assert (list(two["processes"]), list(two["timers"])) == (["w"], [])
    assert (list(one["web"]["locations"]), list(two["web"]["locations"])) == (["/flower/"], [])


@pytest.mark.parametrize(
    ("django", "message"),
    [
        (
            {"hosts": {"web2": FLEET["web1"], "db1": FLEET["db1"]}},
            "django:hosts: expected an entry for this minion, web1; got db1, web2 (did you",
        ),
        (
            {"hosts": {"web1": {"address": "10.0.0.1", "roles": ["webb"]}}},
            "django:hosts:web1:roles:0: expected one of app, web, worker, static, database,"
            " replica, cache, media, balancer, backup or monitor, got 'webb' (did you mean web?)",
        ),
        (
            {"hosts": {"web1": {"address": "10.0.0.1", "roles": ["app"]}}},
            "django:hosts: expected a host with the role database, got none",
        ),
        (
            {"hosts": {**FLEET, "db2": {"address": "10.0.0.22", "roles": ["database"]}}},
            "django:hosts: expected one host with the role database, got db1, db2",
        ),
        (
            {"hosts": {**FLEET, "db2": {"address": "10.0.0.21", "roles": ["app"]}}},
            "django:hosts:db2:address: expected an address of its own, 10.0.0.21 is that of db1",
        ),
        (
            {"hosts": {**FLEET, "lb1": {"address": "10.0.0.9", "roles": ["web"]}}},
            "django:hosts:lb1:roles: expected app beside web on the same host",
        ),
        (
            {"hosts": None},
            "django:hosts: expected a map from a minion id such as web1 to settings, got",
        ),
    ],
)
def test_hosts_that_do_not_fit(resolve, django, message):
    config = resolve({**django, "projects": {"shop": {"source": SOURCE, **SHARED}}})
    assert not config["valid"]
    assert any(text.startswith(message) for text in config["errors"]), config["errors"]


def test_secrets_that_several_hosts_need_have_to_be_given(resolve):
    hosts = {**FLEET, "web2": {"address": "10.0.0.12", "roles": ["app"]}}
    project = {"source": SOURCE, "broker": {"engine": "redis"}, "superuser": {"username": "eve"}}
    errors = resolve({"hosts": hosts, "projects": {"shop": project}})["errors"]
    each = "django:projects:shop:{}: expected a value, since {} need the same one"
    assert errors == [
        each.format("secrets:SECRET_KEY", "web1 and web2"),
        each.format("broker:password", "db1 and web1 and web2"),
        each.format("cache:password", "db1 and web1 and web2"),
        each.format("database:password", "db1 and web1 and web2"),
        each.format("superuser:password", "web1 and web2"),
    ]


def test_host_needs_the_secrets_of_its_roles_alone(resolve):
    hosts = {
        "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
        "web2": {"address": "10.0.0.12", "roles": ["app", "web", "worker"]},
        "db1": {"address": "10.0.0.21", "roles": ["database"]},
        "cache1": {"address": "10.0.0.22", "roles": ["cache"]},
    }
    common = {
        "source": SOURCE,
        "env": {"TOKEN": "@{secrets.API_TOKEN}"},
        "processes": {"jobs": {"celery": "shop"}},
        "superuser": {"username": "eve"},
    }
    given = {
        "database": {"database": {"password": "database-pass"}},
        "cache": {"cache": {"password": "cache-password"}},
        "broker": {"broker": {"password": "broker-password"}},
        "key": {"secrets": {"SECRET_KEY": "k" * 50, "API_TOKEN": "token-of-api"}},
        "superuser": {"superuser": {"username": "eve", "password": "superuser-password"}},
    }
    needs = {"web1": [*given], "web2": [*given], "db1": ["database"], "cache1": ["cache", "broker"]}
    for name, needed in needs.items():
        project = common | {key: value for each in needed for key, value in given[each].items()}
        config = resolve({"hosts": hosts, "projects": {"shop": project}}, id=name)
        assert config["errors"] == [], name
        specs = config["projects"]["shop"]["secret_specs"]
        assert not any("generate" in spec for spec in specs.values()), (name, specs)
        for missing in needed:
            project = common | {
                key: value
                for each in needed
                for key, value in given[each].items()
                if each != missing
            }
            errors = resolve({"hosts": hosts, "projects": {"shop": project}}, id=name)["errors"]
            assert errors, f"{name} without {missing}"


def test_broker_of_a_fleet_is_on_the_host_of_the_cache(resolve):
    project = {
        "source": SOURCE,
        "secrets": {},
        "database": {"password": "x" * 12},
        "cache": {"engine": "none"},
        "broker": {"password": "z" * 12},
        "processes": {"jobs": {"celery": "shop"}},
    }
    django = {"hosts": FLEET, "projects": {"shop": project}}
    web, server = resolve(django), resolve(django, id="db1")
    assert web["errors"] == server["errors"] == []
    assert web["redis"] == {}
    assert web["projects"]["shop"]["broker"]["host"] == FLEET["db1"]["address"]
    [instance] = server["redis"]["instances"]
    assert instance["bind"] == ["127.0.0.1", FLEET["db1"]["address"]]
    assert "broker.password" in server["projects"]["shop"]["secret_specs"]
    alone = {"db1": {**FLEET["db1"], "roles": ["database"]}, "web1": FLEET["web1"]}
    errors = resolve({"hosts": alone, "projects": {"shop": project}})["errors"]
    assert errors == ["django:hosts: expected a host with the role cache, got none"]
