"""The resolver: what a pillar and a host's facts come to."""

import json
import re

import django_config
import django_facts
import django_manual
import django_project_broker
import django_project_cache
import django_tuning
import pytest
import yaml
from pillars import SOURCE

WEB, DATABASE = ["app", "web", "worker"], ["database", "cache"]
FLEET = {
    "web1": {"address": "10.0.0.11", "roles": WEB},
    "db1": {"address": "10.0.0.21", "roles": DATABASE},
}
SHARED = {"secrets": {}, "database": {"password": "x" * 12}, "cache": {"password": "y" * 12}}


# ---- one server, small pillar ----


def test_a_small_pillar_gives_a_whole_server(resolve_project):
    config = resolve_project(settings="shop.settings")
    assert config["valid"] and config["errors"] == [] and config["warnings"] == []
    assert config["tiers"] == [
        "django.valid",
        "django.host",
        "django.database.postgresql",
        "django.cache.redis",
        "django.process.supervisord",
        "django.app.project",
        "django.web.nginx",
        "django.app.departed",
    ]
    assert config["host"]["roles"] == ["app", "web", "worker", "database", "cache"]
    assert config["postgresql"]["version"] == "15"
    assert config["nginx"]["sites"] == ["shop"]
    shop = config["projects"]["shop"]
    assert shop["url"] == "http://10.0.0.11"
    assert shop["catch_all"]
    assert shop["app"]["module"] == "shop.wsgi"
    assert shop["python"]["packages"] == ["gunicorn==27.0.1"]
    assert shop["manage"] == {"kind": "file", "value": "manage.py"}
    assert shop["health"]["host"] == "localhost"
    assert set(shop["secret_specs"]) == {
        "SECRET_KEY",
        "database.default.password",
        "cache.password",
    }


def test_project_has_the_sections_that_states_rely_on(resolve_project):
    shop = resolve_project()["projects"]["shop"]
    assert set(shop) == set(
        """name user group process_manager paths writable links source python system_packages
        settings manage pythonpath environment secrets secret_specs files build tasks domains
        allowed_hosts csrf_trusted_origins url catch_all databases cache app processes timers static
        aws cdn uid media broker web health release superuser fixtures logs migrate""".split()
    )


@pytest.mark.parametrize("wanted", ["yaml", "json"])
def test_configuration_is_plain_data(resolve_project, wanted):
    config = resolve_project(superuser={}, timers={"a": {"manage": "x", "every": "15m"}})
    if wanted == "json":
        assert json.loads(json.dumps(config)) == config
    else:
        assert yaml.safe_load(yaml.safe_dump(config)) == config


def test_no_server_that_nobody_needs(resolve_project):
    config = resolve_project(database={"engine": "sqlite"}, cache={"engine": "none"})
    assert config["postgresql"] == {} and config["redis"] == {}
    assert "django.database.postgresql" not in config["tiers"]
    assert "django.cache.redis" not in config["tiers"]
    assert not {"postgresql-15", "redis-server"} & set(config["packages"])
    shop = config["projects"]["shop"]
    assert shop["databases"]["default"]["name"] == "/srv/django/shop/shared/data/default.sqlite3"
    assert shop["writable"] == ["/srv/django/shop/shared/data"]
    assert not any(key.startswith(("REDIS", "CACHE")) for key in shop["environment"])
    assert "DATABASE_USER" not in shop["environment"]


def test_environment_the_pillar_wins_and_null_removes(resolve_project):
    env = {"LANG": None, "STATIC_URL": "/s/", "DEBUG": False, "L": ["a", 1], "M": {"k": [True]}}
    shop = resolve_project(env=env, secrets={"API": {"generate": 20}, "lower": "x"})["projects"][
        "shop"
    ]
    environment = shop["environment"]
    assert "LANG" not in environment
    assert environment["STATIC_URL"] == "/s/"
    assert (environment["DEBUG"], environment["L"], environment["M"]) == (
        "false",
        "a,1",
        '{"k": [true]}',
    )
    assert environment["API"] == "@{secrets.API}"
    assert environment["SECRET_KEY"] == "@{secrets.SECRET_KEY}"
    assert "lower" not in environment
    assert set(environment) - set(env) <= set(django_manual.VARIABLES) | {"API"}


def test_every_documented_variable_is_derived_for_some_project(resolve_project):
    broker = {"engine": "redis"}
    keys = {"access_key": "AKIA1", "secret_key": "x" * 20}
    s3 = {"bucket": "shop", "prefix": "a", "endpoint": "https://s3.test", **keys}
    media = {"private": {}, "s3": s3}
    config = resolve_project(settings="a.settings", pythonpath=["src"], broker=broker, media=media)
    other = resolve_project(cache={"engine": "memcached"})["projects"]["shop"]["environment"]
    environment = {**config["projects"]["shop"]["environment"], **other}
    assert set(environment) == set(django_manual.VARIABLES)


@pytest.mark.parametrize(
    ("keys", "url", "origins", "hosts"),
    [
        (
            {"domains": ["a.org", "b.org"]},
            "http://a.org",
            ["http://a.org", "http://b.org"],
            ["a.org", "b.org"],
        ),
        (
            {"domains": [".a.org"], "web": {"https": True, "trusted_proxies": ["10.0.0.5"]}},
            "https://a.org",
            ["https://a.org", "https://*.a.org"],
            [".a.org"],
        ),
        (
            {
                "domains": ["a.org"],
                "web": {"tls": {"certificate": "/c", "key": "/k", "redirect": False}},
            },
            "https://a.org",
            ["https://a.org", "http://a.org"],
            ["a.org"],
        ),
        (
            {"domains": ["a.org"], "web": {"tls": {"certificate": "/c", "key": "/k"}}},
            "https://a.org",
            ["https://a.org"],
            ["a.org"],
        ),
    ],
)
def test_site_follows_domains_and_tls(resolve_project, keys, url, origins, hosts):
    shop = resolve_project(**keys)["projects"]["shop"]
    assert (shop["url"], shop["csrf_trusted_origins"], shop["allowed_hosts"]) == (
        url,
        origins,
        hosts,
    )
    assert not shop["catch_all"]
    assert shop["health"]["scheme"] == url.split(":")[0]


def test_a_project_without_domains_answers_to_all_names_of_the_server(resolve_project):
    grains = {
        "ipv4": ["127.0.0.1", "10.0.0.9", "192.168.1.2"],
        "ipv6": ["::1", "2001:db8::5", "fe80::1"],
    }
    shop = resolve_project(grains)["projects"]["shop"]
    assert shop["allowed_hosts"] == [
        "web1",
        "web1.example.org",
        "10.0.0.9",
        "192.168.1.2",
        "[2001:db8::5]",
        "localhost",
        "127.0.0.1",
        "[::1]",
    ]


def test_another_port_is_part_of_the_url(resolve):
    project = {"source": SOURCE, "domains": ["a.org"]}
    shop = resolve({"nginx": {"port": 8080}, "projects": {"shop": project}})["projects"]["shop"]
    assert shop["url"] == "http://a.org:8080"
    assert shop["csrf_trusted_origins"] == ["http://a.org:8080"]


@pytest.mark.parametrize(
    ("keys", "module"),
    [
        ({"settings": "shop.settings"}, "shop.wsgi"),
        ({"settings": "config.settings.production"}, "config.wsgi"),
        ({"settings": "shop.conf.live"}, "shop.wsgi"),
        ({"settings": "settings.live"}, None),
        ({}, None),
        ({"settings": "shop.settings", "app": {"asgi": True}}, "shop.asgi"),
        ({"app": {"module": "x.wsgi:app"}}, "x.wsgi:app"),
    ],
)
def test_entry_point(resolve_project, keys, module):
    assert resolve_project(**keys)["projects"]["shop"]["app"]["module"] == module


@pytest.mark.parametrize(
    ("keys", "packages"),
    [
        ({}, ["gunicorn==27.0.1"]),
        ({"app": {"version": "23.0.0"}}, ["gunicorn==23.0.0"]),
        ({"app": {"version": None}}, []),
        ({"python": {"packages": ["Gunicorn[gevent]==22.0"]}}, ["Gunicorn[gevent]==22.0"]),
        (
            {"app": {"asgi": True, "module": "a.asgi"}},
            ["gunicorn==27.0.1", "uvicorn==0.54.0", "uvicorn-worker"],
        ),
        (
            {"app": {"asgi": True, "module": "a.asgi"}, "web": {"websocket": True}},
            ["gunicorn==27.0.1", "uvicorn==0.54.0", "uvicorn-worker", "websockets"],
        ),
        ({"app": {"server": "command", "command": "run @{socket}"}}, []),
        ({"app": {"server": "uwsgi"}}, ["pyuwsgi==2.0.30.post1"]),
        ({"app": {"server": "uwsgi", "uwsgi_version": "2.0.30"}}, ["pyuwsgi==2.0.30"]),
        ({"app": {"server": "uwsgi", "uwsgi_version": None}}, []),
        ({"app": {"server": "uwsgi"}, "python": {"packages": ["uWSGI>=2"]}}, ["uWSGI>=2"]),
    ],
)
def test_application_server_is_installed_once(resolve_project, keys, packages):
    assert resolve_project(**keys)["projects"]["shop"]["python"]["packages"] == packages


def test_pypi_source_is_taken_apart(resolve_project):
    source = {"pypi": "netbox[ldap, s3]==4.1.0"}
    shop = resolve_project(source=source, manage={"script": "netbox"})["projects"]["shop"]
    assert shop["source"]["package"] == "netbox"
    assert shop["source"]["extras"] == ["ldap", "s3"]
    assert shop["source"]["version"] == "4.1.0"


def test_files_their_place_format_and_variable(resolve_project):
    files = {
        "local/conf.py": {"content": {"A": 1}, "variable": "CONF"},
        "/etc/django/shop/x.ini": {"content": {"s": {"k": "v"}}, "mode": "600"},
        "note": {"content": "text"},
    }
    shop = resolve_project(files=files)["projects"]["shop"]
    found = [(item["path"], item["where"], item["format"], item["mode"]) for item in shop["files"]]
    assert found == [
        ("/etc/django/shop/x.ini", "host", "ini", "0600"),
        ("local/conf.py", "release", "python", "0640"),
        ("note", "release", "text", "0640"),
    ]
    assert shop["environment"]["CONF"] == "@{path.project}/local/conf.py"


def test_timers_become_cron_fields(resolve_project):
    timers = {
        "a": {"manage": "x y", "schedule": "daily"},
        "b": {"command": ["z"], "every": "15m"},
    }
    found = resolve_project(timers=timers)["projects"]["shop"]["timers"]
    assert found["b"]["schedule"] == "*/15 * * * *"
    assert re.fullmatch(r"\d+ [1-5] \* \* \*", found["a"]["schedule"])
    assert found["a"]["manage"] == ["x", "y"] and "command" not in found["a"]


def test_adding_a_project_changes_no_identity_of_another(resolve):
    first = {
        "source": SOURCE,
        "domains": ["a.org"],
        "timers": {"t": {"manage": "x", "schedule": "daily"}},
    }
    alone = resolve({"projects": {"shop": first}})["projects"]["shop"]
    other = {"source": SOURCE, "domains": ["b.org"]}
    both = resolve({"projects": {"blog": other, "shop": first}})["projects"]["shop"]
    assert alone == both


def test_the_order_of_the_pillar_does_not_matter(resolve):
    projects = {
        name: {"source": SOURCE, "domains": [f"{name}.org"]} for name in ("blog", "shop", "wiki")
    }
    other = dict(reversed(projects.items()))
    dump = json.dumps(resolve({"projects": projects}))
    assert dump == json.dumps(resolve({"projects": other}))


@pytest.mark.parametrize(
    ("address", "port", "used"),
    [
        ("127.0.0.1", None, True),
        ("localhost", 6379, True),
        ("10.0.0.11", None, True),
        ("127.0.0.1", 6500, False),
        ("10.0.0.12", None, False),
    ],
)
def test_packaged_redis_is_kept_where_a_project_names_it(resolve, address, port, used):
    cache = {"host": address, "password": "password", **({"port": port} if port else {})}
    projects = {
        "shop": {"source": SOURCE, "domains": ["a.org"], "cache": cache},
        "blog": {"source": SOURCE, "domains": ["b.org"]},
    }
    config = resolve({"projects": projects})
    assert config["errors"] == []
    assert config["redis"]["uses_packaged"] is used


def test_redis_ports_are_a_function_of_the_name():
    ports = {django_project_cache.redis_port(name) for name in ("shop", "blog", "wiki", "x")}
    assert len(ports) == 4
    assert all(6380 <= port <= 7379 for port in ports)


def test_ports_of_brokers_are_apart_from_those_of_caches():
    ports = {django_project_broker.broker_port(name) for name in ("shop", "blog", "wiki", "x")}
    assert len(ports) == 4
    assert all(7380 <= port <= 7979 for port in ports)


@pytest.mark.parametrize(
    ("keys", "engine"),
    [
        ({}, "none"),
        ({"processes": {"w": {"manage": "rqworker"}}}, "none"),
        ({"processes": {"w": {"celery": "shop"}}}, "redis"),
        ({"processes": {"b": {"celery_beat": "shop"}}}, "redis"),
        ({"processes": {"w": {"rq": ["high", "default"]}}}, "redis"),
        ({"processes": {"w": {"rq": {}}}, "broker": {"engine": "none"}}, "none"),
        ({"broker": {"engine": "redis"}}, "redis"),
        ({"broker": {"host": "queue.example.net"}}, "redis"),
    ],
)
def test_broker_is_there_where_a_queue_is(resolve_project, keys, engine):
    config = resolve_project(**keys)
    assert config["errors"] == []
    shop = config["projects"]["shop"]
    assert shop["broker"]["engine"] == engine
    managed = [item["name"] for item in config["redis"]["instances"]]
    assert ("shop_broker" in managed) == shop["broker"]["managed"]
    assert ("broker.password" in shop["secret_specs"]) == shop["broker"]["managed"]
    for name in ("BROKER_URL", "CELERY_BROKER_URL", "RQ_REDIS_URL"):
        wanted = "@{broker.url}" if engine == "redis" else None
        assert shop["environment"].get(name) == wanted


def test_broker_keeps_every_job_and_the_cache_does_not_share_its_server(resolve_project):
    cache, broker = resolve_project(broker={"engine": "redis"})["redis"]["instances"]
    assert (broker["policy"], broker["appendonly"]) == ("noeviction", True)
    assert (cache["policy"], cache["appendonly"]) == ("volatile-lru", False)
    for key in ("name", "port", "secret", "config", "directory", "service", "label"):
        assert cache[key] != broker[key], key
    assert broker["service"] == "redis-server@shop_broker"


def test_broker_alone_needs_a_redis(resolve_project):
    config = resolve_project(cache={"engine": "none"}, processes={"w": {"celery": "shop"}})
    assert [item["name"] for item in config["redis"]["instances"]] == ["shop_broker"]
    assert "redis-server" in config["packages"]
    assert "REDIS_URL" not in config["projects"]["shop"]["environment"]


def test_flower_is_behind_a_password_at_a_path_of_the_site(resolve_project):
    processes = {"monitor": {"flower": {"app": "shop", "username": "chief"}}}
    config = resolve_project(processes=processes)
    assert (config["errors"], config["warnings"]) == ([], [])
    shop = config["projects"]["shop"]
    monitor = shop["processes"]["monitor"]
    assert monitor["single"] is True
    assert monitor["environment"] == {"FLOWER_BASIC_AUTH": "chief:@{flower.password}"}
    assert shop["secret_specs"]["flower.password"]["generate"] == 32
    assert shop["secret_specs"]["flower.password"]["export"] is False
    assert "flower==2.2.0" in shop["python"]["packages"]
    proxy = "http://unix:/run/django/shop/monitor.sock"
    assert shop["web"]["locations"] == {"/flower/": {"proxy": proxy, "internal": False}}
    assert shop["broker"]["engine"] == "redis"
    own = {"env": {"FLOWER_BASIC_AUTH": "a:@{secrets.x}"}, "flower": "shop"}
    packages = {"packages": ["flower>=2"]}
    found = resolve_project(processes={"m": own}, python=packages, secrets={"x": "admin"})
    shop = found["projects"]["shop"]
    assert shop["processes"]["m"]["environment"] == {"FLOWER_BASIC_AUTH": "a:@{secrets.x}"}
    assert not [name for name in shop["python"]["packages"] if name.startswith("flower==")]


def test_workers_of_queues_follow_the_machine(resolve_project):
    config = resolve_project(
        processes={
            "mail": {"celery": {"app": "shop", "queues": ["mail"]}, "count": 2},
            "few": {"celery": {"app": "shop", "concurrency": 1}, "stop_timeout": "1h"},
            "more": {"celery": {"app": "shop", "autoscale": [1, 8]}},
            "alone": {"celery": {"app": "shop", "pool": "solo"}},
            "tick": {"celery_beat": "shop"},
            "quick": {"rq": ["high", "default"]},
            "later": {"rq_scheduler": {}},
            "own": {"manage": "listen"},
        }
    )
    assert (config["errors"], config["warnings"]) == ([], [])
    found = config["projects"]["shop"]["processes"]
    assert found["mail"]["celery"]["concurrency"] == config["host"]["cores"]
    assert found["few"]["celery"]["concurrency"] == 1
    assert found["more"]["celery"]["concurrency"] is None
    assert found["alone"]["celery"]["concurrency"] == 1
    assert {key: item["single"] for key, item in found.items() if item["single"]} == {
        "tick": True,
        "later": True,
    }
    assert {key: item["stop_timeout"] for key, item in found.items()} == {
        "mail": 600,
        "few": 3600,
        "more": 600,
        "alone": 600,
        "tick": 60,
        "quick": 600,
        "later": 60,
        "own": 60,
    }
    assert config["projects"]["shop"]["writable"] == ["/srv/django/shop/shared/celery"]


def test_postgresql_lets_every_job_of_a_worker_connect(resolve_project):
    worker = {"celery": {"app": "shop", "concurrency": 200}}
    settings = resolve_project(processes={"w": worker})["postgresql"]["settings"]
    assert settings["max_connections"] > 200


def test_secrets_and_their_names(resolve_project):
    shop = resolve_project(
        source={"git": "git@example.org:a/b.git", "deploy_key": "PEM"},
        secrets={"A": "given-secret", "b": {"generate": 20, "format": "hex", "export": True}},
        databases={"old": {"engine": "postgresql"}},
        superuser={"password": "given-password"},
    )["projects"]["shop"]
    assert shop["secrets"] == ["A", "SECRET_KEY", "b"]
    specs = shop["secret_specs"]
    assert specs["A"] == {"value": "given-secret", "export": True}
    assert specs["b"] == {"generate": 20, "format": "hex", "export": True}
    assert specs["SECRET_KEY"]["generate"] >= 50
    assert specs["superuser.password"] == {"value": "given-password", "export": False}
    assert specs["source.deploy_key"]["value"] == "PEM"
    assert {"database.default.password", "database.old.password", "cache.password"} < set(specs)
    assert shop["source"]["deploy_key"] is True


def test_public_masks_every_secret_and_leaves_the_original(resolve):
    project = {
        "source": {"git": "git@example.org:a/b.git", "deploy_key": "CANARY-1"},
        "secrets": {"A": "CANARY-2", "b": {"value": "CANARY-3"}},
        "database": {"password": "CANARY-4-x"},
        "cache": {"password": "CANARY-5-x"},
        "broker": {"engine": "redis", "password": "CANARY-0-x"},
        "superuser": {"password": "CANARY-6-x"},
        "env": {"MAIL_PASSWORD": "CANARY-7", "BROKER": "amqp://u:CANARY-8@mq/", "OK": "shown"},
        "files": {"a.ini": {"content": {"s": {"k": "CANARY-9"}}}},
    }
    django = {
        "python": {
            "index_url": "https://u:CANARY-a@x.org/",
            "extra_index_urls": ["https://CANARY-b@y.org/"],
        },
        "projects": {"shop": project},
    }
    config = resolve(django)
    assert config["valid"], config["errors"]
    shown = json.dumps(django_config.public(config))
    assert "CANARY" not in shown
    assert "shown" in shown
    assert config["projects"]["shop"]["secret_specs"]["A"]["value"] == "CANARY-2"
    assert [text.split(": ")[0] for text in config["warnings"]] == [
        "django:projects:shop:env:MAIL_PASSWORD"
    ]


# ---- fleets ----


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
            "django:hosts:web1:roles:0: expected one of app, web, worker, database or cache,"
            " got 'webb' (did you mean web?)",
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


# ---- facts and tuning ----


def test_facts_of_odd_grains_are_harmless():
    facts = django_facts.facts({"num_cpus": "many", "ipv4": ["10.0.0.300", "10.0.0.1"]})
    assert facts["cores"] == 1 and facts["memory"] == 1024
    assert facts["addresses"] == ["10.0.0.1"]
    assert facts["init"] == "sysv"
    assert facts["id"] == "localhost"


def test_facts_put_addresses_of_containers_last():
    grains = {
        "ipv4": ["127.0.0.1", "172.17.0.1", "192.168.1.5"],
        "ip4_interfaces": {"eth0": ["192.168.1.5"], "docker0": ["172.17.0.1"], "lo": ["127.0.0.1"]},
    }
    assert django_facts.facts(grains)["addresses"] == ["192.168.1.5", "172.17.0.1"]


@pytest.mark.parametrize(
    ("cores", "memory", "projects", "shared", "workers"),
    [(2, 4096, 1, True, 5), (1, 1024, 1, True, 3), (1, 512, 1, True, 2), (16, 4096, 1, True, 12),
     (16, 65536, 1, True, 33), (4, 4096, 2, False, 9), (4, 1024, 8, True, 2)],
)  # fmt: skip
def test_workers_follow_cores_within_memory(cores, memory, projects, shared, workers):
    assert django_tuning.workers(cores, memory, projects, shared) == workers


def test_apache_is_the_front_door_where_the_pillar_says_so(resolve):
    shop = {"source": SOURCE, "domains": ["*.a.org", "b.org"], "web": {"server": "apache"}}
    pillar = {"apache": {"port": 8080, "max_request_workers": 100}, "projects": {"shop": shop}}
    config = resolve(pillar)
    assert "django.web.apache" in config["tiers"] and config["nginx"] == {}
    assert "apache2" in config["packages"] and "nginx" not in config["packages"]
    assert config["projects"]["shop"]["url"] == "http://a.org:8080"
    apache = config["apache"]
    assert apache["names"] == {"shop": ["a.org", "*.a.org", "b.org"]}
    assert apache["settings"]["MaxRequestWorkers"] == 128, "whole processes"
    assert apache["settings"]["ServerLimit"] > 2 * 128 // 64, "room for those that end"


@pytest.mark.parametrize(
    ("key", "ports", "text"),
    [
        ("tls_port", {"port": 8080, "tls_port": 8080}, "than that of HTTP"),
        ("probe_port", {"port": 8080, "probe_port": 8080}, "than those of sites"),
    ],
)
def test_ports_of_apache_are_apart(resolve, key, ports, text):
    errors = resolve({"apache": ports, "projects": {"shop": {"source": SOURCE}}})["errors"]
    assert errors == [f"django:apache:{key}: expected another port {text}"]


@pytest.mark.parametrize("interpreter", ["python3", "3.11", "python3.11", "/usr/bin/python3.11"])
def test_mod_wsgi_brings_apache_for_the_system_s_python(resolve, interpreter):
    shop = {"source": SOURCE, "app": {"server": "mod_wsgi"}, "python": {"interpreter": interpreter}}
    config = resolve({"projects": {"shop": shop}})
    assert config["errors"] == []
    assert config["projects"]["shop"]["web"]["server"] == "apache" and config["nginx"] == {}
    assert {"apache2", "libapache2-mod-wsgi-py3"} <= set(config["packages"])
    assert config["apache"]["daemons"]["shop"]["a"].startswith("shop.a display-name=a:shop ")
    assert config["projects"]["shop"]["python"]["packages"] == []


@pytest.mark.parametrize(("memory", "workers"), [(512, 128), (4096, 512), (65536, 1024)])
def test_requests_of_apache_follow_memory(memory, workers):
    assert django_tuning.request_workers(memory) == workers


def test_postgresql_memory_follows_the_machine_and_the_pillar_wins(resolve):
    project = {"shop": {"source": SOURCE}}
    small = resolve({"projects": project}, mem_total=1024)["postgresql"]["settings"]
    large = resolve({"projects": project}, mem_total=65536)["postgresql"]["settings"]
    assert (small["shared_buffers"], large["shared_buffers"]) == ("128MB", "8192MB")
    own = {"settings": {"shared_buffers": "1GB"}, "max_connections": 300, "memory_share": 20}
    given = resolve({"projects": project, "postgresql": own})["postgresql"]["settings"]
    assert (given["shared_buffers"], given["max_connections"]) == ("1GB", 300)
    assert given["effective_cache_size"] == "614MB"


def test_postgresql_memory_stays_within_what_there_is():
    for memory in (1024, 4096, 65536, 524288):
        for connections in (100, 500):
            found = django_tuning.postgresql(8, memory, connections)
            megabytes = int(found["shared_buffers"][:-2])
            each = int(found["work_mem"][:-2]) / 1024
            assert megabytes <= max(memory // 4, 32)
            assert each * connections + megabytes <= memory


def test_enough_connections_for_all_workers(resolve):
    project = {"shop": {"source": SOURCE, "app": {"workers": 60, "threads": 4}}}
    assert resolve({"projects": project})["postgresql"]["settings"]["max_connections"] == 260
    project["shop"]["app"] = {"workers": 60, "asgi": True, "module": "shop.asgi"}
    assert resolve({"projects": project})["postgresql"]["settings"]["max_connections"] == 620


def test_asgi_keeps_no_database_connection(resolve_project):
    project = resolve_project(app={"asgi": True, "module": "shop.asgi"})["projects"]["shop"]
    assert project["environment"]["CONN_MAX_AGE"] == "0"
    assert "CONN_MAX_AGE" not in resolve_project()["projects"]["shop"]["environment"]


@pytest.mark.parametrize(
    ("app", "web", "seconds"),
    [
        ({"timeout": "2m"}, {}, 125),
        ({"timeout": "0s"}, {}, 3605),
        ({"timeout": "2m"}, {"websocket": True}, 3605),
        ({"timeout": "2m"}, {"websocket": True, "read_timeout": "5m"}, 300),
    ],
)
def test_how_long_nginx_waits(resolve_project, app, web, seconds):
    found = resolve_project(app=app, web=web)["projects"]["shop"]
    assert found["web"]["read_timeout"] == seconds


@pytest.mark.parametrize(
    ("memory", "share", "instances", "shared", "mebibytes"),
    [
        (4096, 10, 1, True, 409),
        (65536, 10, 1, True, 512),
        (65536, 60, 2, False, 19660),
        (512, 10, 4, True, 32),
    ],
)
def test_redis_memory(memory, share, instances, shared, mebibytes):
    assert django_tuning.cache_maxmemory(memory, share, instances, shared) == mebibytes * 2**20


def test_hba_lines_are_taken_apart(resolve):
    lines = ["hostssl all backup 10.0.0.9/32 cert clientcert=verify-full", "local all all peer"]
    lines.append("host a,b c 10.0.0.0 255.0.0.0 md5")
    hba = resolve({"postgresql": {"hba": lines}, "projects": {"shop": {"source": SOURCE}}})
    first, second, third = hba["postgresql"]["hba"][:3]
    assert (first["type"], first["address"], first["method"]) == ("hostssl", "10.0.0.9/32", "cert")
    assert first["options"] == "clientcert=verify-full"
    assert (second["address"], second["method"]) == ("", "peer")
    assert (third["address"], third["method"]) == ("10.0.0.0 255.0.0.0", "md5")


def test_mistakes_between_projects_are_told_beside_those_of_others(resolve):
    source = {"path": "/srv/src"}
    pillar = {
        "django": {
            "postgresql": {"prot": 5433},
            "projects": {
                "shop": {"source": source, "domains": ["www.example.org"]},
                "blog": {"source": source, "domains": ["www.example.org"]},
                "wiki": {"source": source, "domians": ["wiki.example.org"]},
            },
        }
    }
    errors = resolve(pillar["django"])["errors"]
    assert any(error.startswith("django:postgresql:prot:") for error in errors)
    assert any(error.startswith("django:projects:wiki:domians:") for error in errors)
    assert any("www.example.org" in error for error in errors)
