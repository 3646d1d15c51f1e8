"""Mistakes between keys: one case for each sentence that an operator may read."""

import re

import django_checks
import django_config
import django_facts
import pytest
from pillars import GRAINS, SOURCE, assert_nothing_to_do

TLS = {"certificate": "/c.pem", "key": "/k.pem"}
ONE_PROJECT = [
    ({"user": "www-data"}, "user: expected a user of the project's own, www-data is one of"),
    (
        {"env": {"A": "1"}, "secrets": {"A": "x"}},
        "env:A: expected in secrets or in env, not in both",
    ),
    ({"env": {"SECRET_KEY": "abc"}}, "env:SECRET_KEY: expected in secrets, since env is not kept"),
    ({"env": {"DJANGO_RELEASE": "1"}}, "env:DJANGO_RELEASE: expected another name"),
    ({"source": {"archive": "https://x.org/a.zip"}}, "source:hash: expected the archive's sha256"),
    ({"source": {"path": "/a", "rev": "main"}}, "source:rev: expected only beside git"),
    ({"source": {"path": "/a", "git": "/b"}}, "source: expected only one of the keys path, git, "),
    ({"source": {}}, "source: expected one of the keys path, git, archive or pypi, got none"),
    ({"source": {"git": "https://u:p@x.org/a"}}, "source:git: expected an URL without a password"),
    (
        {"source": {"git": "https://token@x.org/a"}},
        "source:git: expected an URL without a password",
    ),
    ({"source": {"git": "ssh://git:pw@x.org/a"}}, "source:git: expected an URL without a password"),
    ({"source": {"git": "--upload-pack=x"}}, "source:git: expected the URL of a git repository"),
    (
        {"source": {"pypi": "wagtail==6.3"}},
        "manage: expected a script or a module, since a package",
    ),
    ({"source": {"pypi": "wagtail>=6"}}, "source:pypi: expected a package with its exact version"),
    ({"manage": {"script": "django-admin"}}, "settings: expected a settings module, since django-"),
    ({"app": {"server": "command"}}, "app:command: expected a command, since server is command"),
    ({"app": {"command": "x"}}, "app:command: expected server: command beside it"),
    (
        {"app": {"server": "uwsgi", "asgi": True, "module": "a.asgi"}},
        "app:asgi: expected false beside server: uwsgi",
    ),
    (
        {"app": {"server": "uwsgi", "worker_class": "gevent"}},
        "app:worker_class: expected only beside server: gunicorn",
    ),
    (
        {"app": {"server": "uwsgi"}, "web": {"websocket": True}},
        "web:websocket: expected false beside server: uwsgi",
    ),
    (
        {"app": {"server": "uwsgi", "options": ["--http-socket=:8000"]}},
        "app:options:0: expected no --http-socket, the formula sets it",
    ),
    (
        {"app": {"server": "uwsgi", "options": ["--offload-threads=1", "--vacuum"]}},
        "app:options:1: expected no --vacuum, the formula sets it",
    ),
    ({"app": {"asgi": True}}, "app:module: expected the ASGI entry point such as shop.asgi"),
    ({"app": {"options": ["--bind=0.0.0.0:80"]}}, "app:options:0: expected no --bind, the formula"),
    ({"processes": {"web": {"command": "x"}}}, "processes:web: expected another name"),
    (
        {"processes": {"w": {}}},
        "processes:w: expected one of the keys command, manage, celery, celery_beat, rq,"
        " rq_scheduler or flower, got none",
    ),
    (
        {"processes": {"w": {"manage": "x", "rq": {}}}},
        "processes:w: expected only one of the keys command, manage, celery, celery_beat, rq,"
        " rq_scheduler or flower, got manage and rq",
    ),
    (
        {"cache": {"engine": "locmem"}, "processes": {"w": {"command": "celery -A x worker"}}},
        "processes:w: expected a broker: one with engine redis, a cache with engine redis, or a",
    ),
    (
        {
            "cache": {"engine": "none"},
            "broker": {"engine": "none"},
            "processes": {"w": {"celery": "shop"}},
        },
        "processes:w: expected a broker",
    ),
    (
        {
            "cache": {"engine": "memcached"},
            "broker": {"engine": "none"},
            "processes": {"w": {"celery": "shop"}},
        },
        "processes:w: expected a broker",
    ),
    (
        {"broker": {"engine": "memcached"}},
        "broker:engine: expected redis or none (Memcached keeps no queue), got 'memcached'",
    ),
    (
        {"cache": {"engine": "memcached"}, "env": {"CELERY_BROKER_URL": "@{cache.url}"}},
        "env:CELERY_BROKER_URL: expected the URL of a Redis such as @{broker.url}; Memcached keeps"
        " no queue",
    ),
    (
        {
            "cache": {"engine": "memcached"},
            "processes": {"w": {"celery": "shop", "env": {"RQ_URL": "x@{cache.url}"}}},
        },
        "processes:w:env:RQ_URL: expected the URL of a Redis",
    ),
    (
        {"cache": {"engine": "memcached", "password": "canary-password"}},
        "cache:password: expected only with engine redis",
    ),
    (
        {"cache": {"engine": "memcached", "persistence": "log"}},
        "cache:persistence: expected only with engine redis",
    ),
    (
        {"cache": {"engine": "memcached", "port": 11211}},
        "cache:port: expected only beside host, since only the project reaches this one",
    ),
    ({"broker": {"port": 7400}}, "broker:port: expected only with engine redis"),
    (
        {"broker": {"engine": "none", "password": "canary-password"}},
        "broker:password: expected only with engine redis",
    ),
    (
        {"broker": {"engine": "redis", "password": "*" * 10}},
        "broker:password: expected the secret itself, got the mask that hides one",
    ),
    (
        {"processes": {"w": {"celery": {}}}},
        "processes:w:celery:app: expected a module such as shop, perhaps with :app, got nothing",
    ),
    (
        {"processes": {"w": {"celery": {"app": "shop", "autoscale": [8, 2]}}}},
        "processes:w:celery:autoscale: expected the least before the most, got 8 and 2 (did you"
        " mean [2, 8]?)",
    ),
    (
        {"processes": {"w": {"celery": {"app": "shop", "autoscale": [8]}}}},
        "processes:w:celery:autoscale: expected two numbers, the least and the most, got 1",
    ),
    (
        {"processes": {"w": {"celery": {"app": "x", "autoscale": [1, 2], "concurrency": 2}}}},
        "processes:w:celery:concurrency: expected autoscale or concurrency, not both",
    ),
    (
        {"processes": {"w": {"celery": {"app": "x", "autoscale": [1, 2], "pool": "threads"}}}},
        "processes:w:celery:autoscale: expected only with the pool prefork, got threads",
    ),
    (
        {"processes": {"w": {"celery": {"app": "x", "pool": "solo", "concurrency": 2}}}},
        "processes:w:celery:concurrency: expected 1, since the pool solo does one job at a time",
    ),
    (
        {"processes": {"w": {"celery": {"app": "x", "options": ["-Ofair", "-B"]}}}},
        "processes:w:celery:options:1: expected no -B, the formula sets it or another key does",
    ),
    (
        {"processes": {"w": {"celery": {"app": "x", "options": ["--x=@{broker.url}"]}}}},
        "processes:w:celery:options: expected no secret on a command line",
    ),
    (
        {"processes": {"b": {"celery_beat": "shop", "single": False}}},
        "processes:b:single: expected true, since a second scheduler would do all twice",
    ),
    (
        {"processes": {"s": {"rq_scheduler": {}, "count": 2}}},
        "processes:s:count: expected 1, since rq_scheduler is a scheduler, got 2",
    ),
    (
        {"processes": {"m": {"flower": "shop", "single": False}}},
        "processes:m:single: expected true, since one Flower is enough",
    ),
    (
        {"processes": {"m": {"flower": "shop", "count": 2}}},
        "processes:m:count: expected 1, since one Flower is enough, got 2",
    ),
    (
        {"processes": {"a": {"flower": "shop"}, "b": {"flower": "blog"}}},
        "processes:b:flower: expected one flower only, a is one already",
    ),
    (
        {"processes": {"m": {"flower": {"app": "shop", "options": ["--port=5555"]}}}},
        "processes:m:flower:options:0: expected no --port, the formula sets it or another key does",
    ),
    (
        {"processes": {"m": {"flower": {"app": "shop", "options": ["--x=@{flower.password}"]}}}},
        "processes:m:flower:options: expected no secret on a command line",
    ),
    (
        {"processes": {"m": {"flower": {"app": "shop", "path": "/flower"}}}},
        "processes:m:flower:path: expected a path below / with a slash at the end, got '/flower'",
    ),
    (
        {"processes": {"m": {"flower": {"app": "shop", "path": "/static/"}}}},
        "processes:m:flower:path: expected another path, static is there",
    ),
    (
        {"processes": {"a": {"celery_beat": "shop"}, "b": {"celery_beat": "shop"}}},
        "processes:b:celery_beat: expected one celery_beat only, a is one already",
    ),
    (
        {"cache": {"engine": "none"}, "processes": {"q": {"manage": "rqworker high"}}},
        "processes:q: expected a broker",
    ),
    (
        {"timers": {"t": {"manage": "x", "every": "7m"}}},
        "timers:t:every: expected an interval that divides an hour or a day evenly such as 15m",
    ),
    ({"timers": {"t": {"manage": "x"}}}, "timers:t: expected one of the keys schedule or every"),
    (
        {"timers": {"t": {"manage": "x", "schedule": "* * * *"}}},
        "timers:t:schedule: expected hourly, daily, weekly, monthly, yearly or cron fields such as"
        " '*/5 * * * *', got '* * * *' (it has 4 fields, not 5)",
    ),
    ({"database": {"host": "db.x.org"}}, "database:name: expected a value, since the database is"),
    ({"database": {"engine": "sqlite", "user": "u"}}, "database:user: expected only with engine p"),
    ({"database": {"file": "x"}}, "database:file: expected only with engine sqlite"),
    ({"database": {"name": "postgres"}}, "database:name: expected another name, PostgreSQL has"),
    ({"database": {"user": "pg_monitor"}}, "database:user: expected another name, PostgreSQL has"),
    ({"databases": {"default": {}}}, "databases:default: expected in database, not here"),
    (
        {"databases": {"replica": {}}, "migrate": {"databases": ["replika"]}},
        "migrate:databases:0: expected the alias of a database, got 'replika' (did you mean",
    ),
    ({"static": {"url": "/s"}}, "static:url: expected a slash at the end, got '/s'"),
    ({"media": {"url": "/static/"}}, "media:url: expected another URL than that of static"),
    (
        {"media": {"private": {"url": "/p"}}},
        "media:private:url: expected a path such as /private-media/",
    ),
    (
        {"media": {"private": {"url": "/media/private/"}}},
        "media:private:url: expected a path outside /media/, where media is for everyone",
    ),
    (
        {"static": {"url": "https://a.test/", "cdn": {"url": "https://b.test"}}},
        "static:url: expected a path such as /static/ beside cdn",
    ),
    (
        {"static": {"serve": False, "cdn": {"url": "https://b.test"}}},
        "static:cdn: expected static files that this server serves",
    ),
    (
        {"static": {"cdn": {"url": "https://b.test", "access_key": "AKIA1"}}},
        "static:cdn:secret_key: expected beside the other key",
    ),
    (
        {"media": {"s3": {"bucket": "shop", "secret_key": "x" * 20}}},
        "media:s3:access_key: expected beside the other key",
    ),
    (
        {"media": {"s3": {"bucket": "shop", "access_key": "A" * 9, "secret_key": "*" * 10}}},
        "media:s3:secret_key: expected the secret itself",
    ),
    (
        {"media": {"private": {}}, "web": {"server": "apache"}},
        "media:private: expected nothing with web:server apache",
    ),
    (
        {"media": {"private": {}}, "web": {"locations": {"/private-media/": {"status": 404}}}},
        "web:locations:/private-media/: expected another path, media:private is there",
    ),
    ({"static": {"url": "/"}}, "static:url: expected more than /, where the application answers"),
    (
        {"web": {"locations": {"/media/": {"status": 404}}}},
        "web:locations:/media/: expected another path, media is there",
    ),
    (
        {"web": {"locations": {"/x { return 1; }": {"status": 404}}}},
        "web:locations:/x { return 1; }: expected the path of an URL",
    ),
    (
        {"app": {"server": "mod_wsgi", "asgi": True, "module": "a.asgi"}},
        "app:asgi: expected false beside server: mod_wsgi",
    ),
    (
        {"app": {"server": "mod_wsgi", "worker_class": "sync"}},
        "app:worker_class: expected only beside server: gunicorn",
    ),
    (
        {"app": {"server": "mod_wsgi", "preload": True}},
        "app:preload: expected false beside server: mod_wsgi",
    ),
    (
        {"app": {"server": "mod_wsgi"}, "web": {"websocket": True}},
        "web:websocket: expected false beside server: mod_wsgi",
    ),
    (
        {"app": {"server": "mod_wsgi"}, "web": {"server": "nginx"}},
        "web:server: expected apache, since mod_wsgi is a part of it",
    ),
    (
        {
            "app": {"server": "mod_wsgi"},
            "web": {"locations": {"/a/": {"application": True, "read_timeout": "1h"}}},
        },
        "web:locations:/a/:read_timeout: expected only for another server than mod_wsgi",
    ),
    (
        {"app": {"server": "mod_wsgi", "options": ["threads=4"]}},
        "app:options:0: expected no threads, the formula sets it",
    ),
    (
        {"app": {"server": "mod_wsgi", "options": ["eviction-timeout=@{release}"]}},
        "app:options:0: expected an option of WSGIDaemonProcess without a reference",
    ),
    ({"app": {"mode": "embedded"}}, "app:mode: expected daemon; only server: mod_wsgi has another"),
    (
        {"app": {"server": "mod_wsgi", "mode": "embedded"}, "user": "seller"},
        "user: expected nothing with mode: embedded, where the project has the rights of www-data",
    ),
    (
        {"app": {"server": "mod_wsgi", "mode": "embedded", "workers": 2}},
        "app:workers: expected nothing with mode: embedded, where Apache's own processes run the "
        "project (see django:apache:max_request_workers)",
    ),
    (
        {"app": {"server": "mod_wsgi", "mode": "embedded", "options": ["queue-timeout=3"]}},
        "app:options: expected nothing with mode: embedded",
    ),
    (
        {"app": {"server": "mod_wsgi"}, "python": {"interpreter": "3.12"}},
        "python:interpreter: expected 3.11 or python3 beside app:server mod_wsgi",
    ),
    (
        {
            "web": {
                "server": "apache",
                "locations": {"/a/": {"alias": "/srv/a", "internal": True}},
            }
        },
        "web:locations:/a/:internal: expected false with web:server apache",
    ),
    (
        {"web": {"server": "apache", "locations": {"/a": {"status": 204}}}},
        "web:locations:/a:status: expected 400 or more with web:server apache",
    ),
    ({"domains": ["a.org;}"]}, "domains:0: expected a domain name such as shop.example.org, got"),
    ({"domains": ["a.org\nb.org"]}, "domains:0: expected a domain name"),
    ({"files": {"../x": {"content": ""}}}, "files:../x: expected a path such as"),
    (
        {"files": {"/srv/django/shop/x": {"content": "a"}}},
        "files:/srv/django/shop/x: expected a path outside /srv/django, which the formula",
    ),
    ({"files": {"/etc/django/b/x": {"content": "a"}}}, "files:/etc/django/b/x: expected a path be"),
    *(
        (
            {"files": {path: {"content": "a"}}},
            f"files:{path}: expected a path of the project's own, {top} is the system's",
        )
        for path, top in (
            ("/etc/passwd", "/etc/passwd"),
            ("/etc/shadow-", "/etc/shadow-"),
            ("/etc/sudoers.d/shop", "/etc/sudoers.d"),
            ("/etc/ssh/sshd_config", "/etc/ssh"),
            ("/etc/salt/minion", "/etc/salt"),
            ("/etc/systemd/system/x.service", "/etc/systemd"),
            ("/etc/nginx/django.d/shop.conf", "/etc/nginx"),
            ("/etc/cron.d/shop", "/etc/cron.d"),
            ("/var/lib/dpkg/status", "/var/lib/dpkg"),
        )
    ),
    *(
        ({"files": {path: {"content": "a"}}}, f"files:{path}: expected a path below /etc, /home, ")
        for path in ("/usr/bin/shop", "/root/.bashrc", "/proc/x", "/x", "/home/a/.ssh/config")
    ),
    ({"files": {"/var/lib/x": {"content": "a"}}}, "files:/var/lib/x: expected a path in a folder"),
    ({"files": {"a.ini": {"content": {"k": "v"}}}}, "files:a.ini:content: expected a map of sect"),
    ({"files": {"a.py": {"content": {"a-b": 1}}}}, "files:a.py:content: expected names of letters"),
    ({"files": {"a.toml": {"content": {"a": None}}}}, "files:a.toml:content: expected no null"),
    ({"files": {"a": {"content": ["x"]}}}, "files:a:content: expected text"),
    (
        {"python": {"requirements": ["a/../../x.txt"]}},
        "python:requirements:0: expected a path inside the source, got 'a/../../x.txt'",
    ),
    ({"build": [{"run": "x", "directory": ".."}]}, "build:0:directory: expected a path inside the"),
    ({"writable": ["../x"]}, "writable:0:path: expected a relative path, got '../x' (it may not"),
    ({"process_manager": "systemd"}, "process_manager: expected supervisord, since this host does"),
    ({"secrets": {"A": "**********"}}, "secrets:A: expected the secret itself, got the mask"),
    (
        {"env": {"A": "@{databse.url}"}},
        "env:A: unknown reference @{databse.url} (did you mean @{data",
    ),
    (
        {"files": {"a.py": {"content": {"A": ["@{x}"]}}}},
        "files:a.py:content: unknown reference @{x}",
    ),
    (
        {"processes": {"w": {"command": "celery -b @{redis.url1}"}}},
        "processes:w:command: expected no secret on a command line, where every user can read it,"
        " got @{redis.url1} (put it into env)",
    ),
    (
        {"tasks": [{"name": "a", "manage": "x"}, {"name": "a", "manage": "y"}]},
        "tasks:1:name: expected every name once, got a again",
    ),
    ({"python": {"packages": ["--index-url=x"]}}, "python:packages:0: expected a requirement such"),
    ({"python": {"interpreter": 3.1}}, "python:interpreter: expected a version in quotes such as"),
    ({"domains": "a.org"}, "domains: expected a list, each entry a domain name such as shop"),
    (
        {"domains": None},
        "domains: expected a list, each entry a domain name such as shop.example.org, got nothing",
    ),
    ({"app": {"workers": "many"}}, "app:workers: expected a whole number between 1 and 1024, got"),
    ({"workers": 3}, "workers: unknown key (did you mean app:workers?)"),
]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/shop.ini",
        "/etc/shop/passwd",
        "/etc/django/shop/x.cfg",
        "/etc/ssl/private/shop.key",
        "/opt/shop/local.py",
        "/srv/shop/x.env",
        "/usr/local/etc/shop.ini",
        "/var/lib/shop/x.json",
    ],
)
def test_a_file_on_the_host_may_be_where_projects_have_theirs(resolve_project, path):
    assert resolve_project(files={path: {"content": "a"}})["errors"] == []


@pytest.mark.parametrize(("keys", "message"), ONE_PROJECT)
def test_a_mistake_in_one_project_is_told(resolve_project, keys, message):
    config = resolve_project({"init": "unknown"}, **keys)
    assert config["errors"][0].startswith(f"django:projects:shop:{message}"), config["errors"]
    assert_nothing_to_do(config)


@pytest.mark.parametrize("pillar", [None, {}, [], "x", {"django": None}, {"django": ["projects"]}])
def test_a_pillar_without_django_is_told(pillar, schema):
    parameters = {"schema": schema, "os": {"supported": []}, "release": {}}
    config = django_config.resolve(pillar, django_facts.facts(GRAINS), parameters)
    assert config["errors"][0].startswith("django: expected a map with the key projects, got ")
    assert_nothing_to_do(config)


def test_an_unsupported_system_is_told_with_the_supported_ones(resolve_project):
    config = resolve_project({"os": "Fedora", "osrelease": "41"})
    assert config["errors"] == [
        "this host: expected one of Debian-12, Debian-13, Ubuntu-22.04, Ubuntu-24.04, got Fedora 41"
    ]


def test_a_broker_elsewhere_is_a_broker(resolve_project):
    config = resolve_project(
        cache={"engine": "locmem"},
        env={"CELERY_BROKER_URL": "amqp://mq.example.org/"},
        processes={"w": {"command": "celery -A x worker"}},
    )
    assert config["errors"] == []


def test_doubts_are_warnings_and_do_not_stop(resolve_project):
    config = resolve_project(
        processes={"beat": {"command": "celery -A x beat", "count": 2}},
        env={"PAYMENT_TOKEN": "hunter2"},
        web={"https": True},
    )
    assert config["valid"]
    assert [
        text.split(": ")[0].removeprefix("django:projects:shop:") for text in config["warnings"]
    ] == [
        "env:PAYMENT_TOKEN",
        "processes:beat",
        "processes:beat:count",
        "web:trusted_proxies",
    ]
    assert not any("hunter2" in text for text in config["warnings"])


def test_all_messages_have_the_house_form(resolve):
    projects = {
        "blog": {"source": SOURCE, "env": {"A": "@{x}"}, "app": {"timeout": "abc", "prot": 1}},
        "shop": {"sorce": SOURCE, "domains": 3},
    }
    errors = resolve({"projects": projects, "hots": {}})["errors"]
    assert len(errors) == 6
    for text in errors:
        assert re.fullmatch(r"django(:[^\s:]+)+: [^\n]+", text), text


def test_every_secret_in_a_specification_has_a_pillar_key(resolve_project):
    specs = resolve_project(superuser={}, databases={"b": {}})["projects"]["shop"]["secret_specs"]
    assert {django_checks.secret_key(name) for name in specs} == {
        "secrets:SECRET_KEY",
        "database:password",
        "databases:b:password",
        "cache:password",
        "superuser:password",
    }


@pytest.mark.parametrize("entry", [{"value": "short"}, {"generate": 31}])
def test_a_secret_key_that_a_release_would_be_refused_for_is_told_before(resolve_project, entry):
    errors = resolve_project(secrets={"SECRET_KEY": entry, "OTHER": {"generate": 8}})["errors"]
    (key,) = entry
    assert errors == [
        f"django:projects:shop:secrets:SECRET_KEY:{key}: expected at least 32 characters, as a "
        "release with less is refused"
    ]
    assert resolve_project(secrets={"SECRET_KEY": {"value": "x" * 32}})["valid"]
