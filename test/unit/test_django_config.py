"""The resolver: what a pillar and a host's facts come to."""

import json
import re

import django_config
import django_manual
import django_tuning
import pytest
import yaml
from pillars import GRAINS, SOURCE, read_parameters


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
    assert config["host"]["roles"] == [*django_config.ROLES]
    assert config["postgresql"]["version"] == "15"
    assert list(config["nginx"]["sites"]) == ["shop"]
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
        """name user group process_manager paths writable above_writable links source python
        system_packages settings manage pythonpath environment secrets secret_specs files build
        tasks domains allowed_hosts csrf_trusted_origins url catch_all databases cache app
        processes timers static static_site static_only aws cdn uid media broker web health release
        steps superuser fixtures logs migrate backup""".split()
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
        {"mem_total": 8192},
        processes={
            "mail": {"celery": {"app": "shop", "queues": ["mail"]}, "count": 2},
            "few": {"celery": {"app": "shop", "concurrency": 1}, "stop_timeout": "1h"},
            "more": {"celery": {"app": "shop", "autoscale": [1, 8]}},
            "alone": {"celery": {"app": "shop", "pool": "solo"}},
            "tick": {"celery_beat": "shop"},
            "quick": {"rq": ["high", "default"]},
            "later": {"rq_scheduler": {}},
            "own": {"manage": "listen"},
        },
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


@pytest.mark.parametrize(
    ("cores", "memory", "projects", "shared", "workers"),
    [(2, 4096, 1, True, 5), (1, 1024, 1, True, 3), (1, 512, 1, True, 1), (16, 4096, 1, True, 12),
     (16, 65536, 1, True, 33), (4, 4096, 2, False, 9), (4, 1024, 8, True, 2)],
)  # fmt: skip
def test_workers_follow_cores_within_memory(cores, memory, projects, shared, workers):
    assert django_tuning.workers(cores, memory, projects, shared) == workers


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


@pytest.mark.parametrize(
    ("pillar", "told"),
    [
        ({"djnago": {}}, "got nothing (did you mean it by 'djnago'?)"),
        ({"projects": {}}, "got nothing (the key projects belongs below it)"),
        ({"users": {}, 3: 4}, "got nothing"),
        ({"django": None, "projects": {}}, "got nothing"),
    ],
)
def test_pillar_that_says_nothing_to_us(pillar, told):
    config = django_config.load(pillar, GRAINS, read_parameters)
    assert config["errors"] == [f"django: expected a map with the key projects, {told}"]


def test_pillar_of_which_something_could_not_be_read_is_not_valid():
    """What was read of it may well be valid: Salt leaves out a file that it does not find."""
    pillar = {
        "django": {"projects": {"shop": {"source": SOURCE}}},
        "_errors": [
            "Specified SLS 'secrets' in environment 'base' is not available on the salt master",
            "Rendering SLS 'site' failed. Please see master log for details.",
            "Rendering SLS 'more' failed, render error:\nmapping values\n---\npw: hunter2  <====",
        ],
    }
    config = django_config.load(pillar, GRAINS, read_parameters)
    assert config["valid"] is False
    assert config["errors"] == [
        "pillar: Specified SLS 'secrets' in environment 'base' is not available",
        "pillar: Rendering SLS 'site' failed. Salt's log says where.",
        "pillar: Rendering SLS 'more' failed, render error: mapping values",
    ]
