"""Every SLS renders for every claimed system, to states that hold together, with no secret."""

import inspect
import json
import pathlib
import re
import subprocess
import sys

import django_fleet_deploy
import django_fleet_server
import pytest
import salt.state
from rendering import SYSTEMS, Rendering, grains

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHELLCHECK = pathlib.Path(sys.executable).with_name("shellcheck")
CANARY = "canary-secret-value"
LOW = {"state", "fun", "order", "require", "require_in", "watch", "onchanges", "listen", "prereq"}
KEYS = {"access_key": "AKIA1", "secret_key": CANARY}
PILLARS = {
    "smallest": {"projects": {"shop": {"source": {"path": "/srv/src"}}}},
    "mysql": {
        "mariadb": {"settings": {"long_query_time": 1, "log_bin": False}},
        "projects": {
            "shop": {
                "source": {"path": "/srv/src"},
                "database": {"engine": "mysql", "password": CANARY},
            }
        },
    },
    "apache": {
        "apache": {"settings": {"KeepAliveTimeout": 30}},
        "projects": {
            "shop": {
                "source": {"path": "/srv/src"},
                "env": {"PAYMENT_TOKEN": CANARY},
                "web": {
                    "server": "apache",
                    "tls": {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/shop.key"},
                },
            }
        },
    },
    "mod_wsgi": {
        "projects": {
            "shop": {
                "source": {"path": "/srv/src"},
                "secrets": {"PAYMENT_TOKEN": CANARY},
                "app": {"server": "mod_wsgi"},
            }
        }
    },
    "embedded": {
        "projects": {
            "shop": {
                "source": {"path": "/srv/src"},
                "secrets": {"PAYMENT_TOKEN": CANARY},
                "app": {"server": "mod_wsgi", "mode": "embedded"},
            }
        }
    },
    "full": {
        "firewall": {"ssh": {"from": ["192.0.2.0/24"]}, "allow": [{"port": 9100}]},
        "pull": {
            "interval": "10m",
            "pillar": {"git": "git@git.example.org:pillar.git", "deploy_key": CANARY},
        },
        "backup": {"repository": "/mnt/backup", "password": CANARY, "at": "30 3 * * *"},
        "nginx": {"settings": {"keepalive_timeout": "30s", "worker_priority": -2}},
        "python": {"index_url": f"https://user:{CANARY}@packages.example.org/simple/"},
        "postgresql": {
            "hba": ["hostssl all backup 10.0.0.9/32 scram-sha-256"],
            "settings": {"wal_level": "logical", "log_line_prefix": "%m [%p]"},
        },
        "redis": {"settings": {"tcp-keepalive": 60}},
        "memcached": {"settings": {"max-item-size": "8m"}},
        "projects": {
            "shop": {
                "source": {"git": "git@git.example.org:shop.git", "deploy_key": CANARY},
                "settings": "shop.settings",
                "domains": ["shop.example.org", "*.shop.example.org"],
                "database": {"password": CANARY, "extensions": ["pg_trgm"]},
                "cache": {"password": CANARY, "persistence": "log"},
                "env": {"PAYMENT_TOKEN": CANARY},
                "secrets": {"PEPPER": CANARY, "salt": {"generate": 40}},
                "files": {"shop/local.py": {"content": {"KEY": CANARY}}},
                "superuser": {"password": CANARY},
                "writable": ["data", "index/words"],
                "static": {"cdn": {"url": "https://cdn.test", "distribution": "E1", **KEYS}},
                "media": {"s3": {"bucket": "shop", **KEYS}, "private": {}},
                "broker": {"password": CANARY},
                "processes": {
                    "worker": {"rq": ["high", "default"], "count": 2},
                    "jobs": {"celery": {"app": "shop", "queues": ["mail"]}},
                    "clock": {"celery_beat": "shop"},
                    "monitor": {"flower": "shop"},
                },
                "timers": {
                    "clean_up": {
                        "command": ["echo", "100%", "two words", "@{path.data}", "@{release}"],
                        "schedule": "daily",
                        "env": {"LEVEL": "1"},
                    }
                },
                "web": {
                    "tls": {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/shop.key"},
                    "headers": {"X-Note": "it's a value"},
                    "websocket": True,
                    "cache": {"ttl": "2m", "ignore_cookies": ["cookie.consent"]},
                    "trusted_proxies": ["10.0.0.5", "192.0.2.0/24"],
                    "locations": {
                        "/favicon.ico": {"alias": "@{path.static}/favicon.ico", "expires": "1d"},
                        "/docs/": {"alias": "/usr/share/doc"},
                    },
                },
            },
            "blog-2": {
                "source": {"pypi": "blog==1.0"},
                "settings": "blog.settings",
                "uid": 900,
                "media": {"mount": "nas.example.org:/export/blog", "private": {}},
                "manage": {"script": "blog-manage"},
                "database": {"engine": "sqlite"},
                "cache": {"engine": "memcached"},
            },
        },
    },
}
FILES = sorted(
    ".".join(path.relative_to(ROOT / "salt").with_suffix("").parts).removesuffix(".init")
    for path in (ROOT / "salt/django").rglob("*.sls")
)


@pytest.fixture(scope="module", params=[*SYSTEMS])
def system(request):
    return request.param


@pytest.fixture(scope="module", params=["systemd", "unknown"])
def init(request):
    return request.param


@pytest.fixture(scope="module", params=[*PILLARS])
def rendering(minion_opts, system, init, request):
    return Rendering(minion_opts, grains(system, init), {"django": PILLARS[request.param]})


def test_it_renders_for_every_system(rendering):
    assert rendering.errors == []
    assert "shop: release is live" in rendering.ids()


def test_ids_name_the_project(rendering):
    """What is a project's own says so, so that two projects never share a state."""
    for chunk in rendering.low:
        if chunk.get("project"):
            assert chunk["__id__"].startswith(chunk["project"] + ": ")


def test_requisites_are_there(rendering):
    known = {(chunk["state"], chunk["__id__"]) for chunk in rendering.low}
    known |= {("sls", chunk["__sls__"]) for chunk in rendering.low}
    for chunk in rendering.low:
        for kind in ("require", "watch", "onchanges"):
            for requisite in chunk.get(kind, []):
                assert next(iter(requisite.items())) in known, chunk["__id__"]


def test_nothing_is_done_before_the_pillar_is_found_valid(rendering):
    """Its state also tells what the host is at that rules the pillar out."""
    waits = {}
    for chunk in rendering.low:
        needs = [*chunk.get("require", []), *chunk.get("watch", []), *chunk.get("onchanges", [])]
        waits.setdefault((chunk["state"], chunk["__id__"]), set()).update(
            pair for need in needs for pair in need.items()
        )
    safe = {("django", "the pillar is valid")}
    while found := {state for state, needs in waits.items() if needs & safe} - safe:
        safe |= found
    assert set(waits) - safe == set()


def test_the_release_waits_for_every_tier_before_it(rendering):
    config = rendering.modules["django.config"]()
    before = config["tiers"][: config["tiers"].index("django.app.project")]
    by_id = {chunk["__id__"]: chunk for chunk in rendering.low}
    for name, project in config["projects"].items():
        chunk = by_id[f"{name}: {project['steps'][0]['title']}"]
        assert [item["sls"] for item in chunk["require"] if "sls" in item] == before


def test_each_step_of_a_release_waits_for_the_one_before(rendering):
    steps = [chunk for chunk in rendering.low if chunk["state"] == "django"]
    steps = [chunk for chunk in steps if chunk["__sls__"] == "django.app.project"]
    for project, config in rendering.modules["django.config"]()["projects"].items():
        own = [chunk for chunk in steps if chunk["project"] == project]
        own = [chunk for chunk in own if chunk["fun"] != "slots_ready"]  # folders, once for all
        assert [chunk["fun"] for chunk in own] == [
            *(["share_mounted"] if config["media"]["mount"] else []),
            "source_fetched",
            "packages_installed",
            "release_built",
            "configured",
            "checked",
            *(["media_ready"] if config["media"]["s3"] else []),
            "static_collected",
            "migrated",
            "tasks_done",
            "tasks_done",
            "superuser",
            "release_live",
            "processes_live",
            "verified",
            "late_migrated",
            "tasks_done",
            "pruned",
            *(["cdn_invalidated"] if config["cdn"].get("distribution") else []),
        ]
        for earlier, later in zip(own, own[1:]):
            assert {"django": earlier["__id__"]} in later["require"]


def test_states_that_a_deploy_names_are_there(rendering):
    """It goes up to one, on all servers or batch by batch, and leaves none to the next run."""
    config = rendering.modules["django.config"]()
    for project in config["projects"]:
        steps = [django_fleet_deploy.PREPARED, django_fleet_deploy.SWITCHED]
        named = [*steps, *django_fleet_server.finish(config, project)]
        assert {each.format(project) for each in named} <= set(rendering.ids())


def test_boto3_is_there_where_a_project_needs_it(rendering):
    wanted = any(
        project["aws"] for project in rendering.modules["django.config"]()["projects"].values()
    )
    assert ("boto3 is installed" in rendering.ids()) == wanted


def test_uploads_elsewhere_have_no_folder(rendering):
    for project in rendering.modules["django.config"]()["projects"].values():
        directories = [chunk["name"] for chunk in rendering.low if chunk["fun"] == "directory"]
        elsewhere = bool(project["media"]["s3"] or project["media"]["mount"])
        assert (project["paths"]["media"] in directories) != elsewhere


def test_no_command_runs_when_nothing_changed(rendering):
    for chunk in rendering.low:
        assert chunk["state"] not in ("cmd", "module"), chunk["__id__"]
        assert not {"unless", "onlyif", "creates", "parallel"} & set(chunk), chunk["__id__"]


def test_states_take_what_they_are_given(rendering):
    """Salt looks at that only when it carries a state out."""
    for chunk in rendering.low:
        if chunk["state"] == "django":
            takes = set(inspect.signature(rendering.states[f"django.{chunk['fun']}"]).parameters)
            given = {key for key in chunk if not key.startswith("__")} - LOW
            assert given <= takes, chunk["__id__"]


def test_packages_come_in_one_state(rendering):
    found = [chunk for chunk in rendering.low if chunk["state"] == "pkg"]
    assert [chunk["fun"] for chunk in found] == ["installed"]


def test_no_secret_is_in_the_states(rendering):
    assert CANARY not in json.dumps([rendering.high, rendering.low], default=str)


def test_no_secret_is_in_a_file(rendering):
    for path, content in rendering.files().items():
        assert CANARY not in content, path


def test_files_render(rendering):
    for path, content in rendering.files().items():
        assert "{{" not in content and "{%" not in content, path
        assert "None" not in content.split() or path.endswith(".py"), path
        assert content.endswith("\n"), path
        first = "".join(content.splitlines(keepends=True)[:3])
        assert "by django-formula" in first or path.endswith(".py"), path


def test_scripts_are_shell(rendering):
    for path, content in rendering.files().items():
        if content.startswith("#!/bin/sh"):
            argv = [SHELLCHECK, "--exclude=SC1091", "-"]
            checked = subprocess.run(argv, input=content, text=True, capture_output=True)
            assert checked.returncode == 0, f"{path}: {checked.stdout}{checked.stderr}"


def test_modes_are_text(rendering):
    """YAML reads 0711 as a number of another value."""
    for chunk in rendering.low:
        assert isinstance(chunk.get("mode", ""), str), chunk["__id__"]


def test_services_follow_the_init_system(rendering, init):
    named = {chunk["name"] for chunk in rendering.low}
    running = {chunk["name"] for chunk in rendering.low if chunk["fun"] == "service_running"}
    assert ("/etc/systemd/system/supervisor.service" in named) == (init == "systemd")
    assert ("/etc/init.d/supervisor" in named) == (init != "systemd")
    assert ("redis-server@shop" if init == "systemd" else "redis-server-shop") in running


def test_pulls_have_a_timer_of_systemd_or_of_cron(minion_opts, init):
    rendering = Rendering(minion_opts, grains(init=init), {"django": PILLARS["full"]})
    files = rendering.files()
    timer = files.get("/etc/systemd/system/django-pull.timer", "")
    cron = files.get("/etc/cron.d/django-pull", "")
    started = next(chunk for chunk in rendering.low if chunk["__id__"] == "pulls are made")
    if init == "systemd":
        assert "\nOnUnitInactiveSec=600\nRandomizedDelaySec=300\n" in timer and not cron
        assert "/etc/systemd/system/django-pull.service" in files
        assert started["name"] == "django-pull.timer"
    else:
        assert "\n*/10 * * * * root /usr/local/bin/django-pull --splay 300\n" in cron
        assert not timer and started["name"] == "cron"


def test_a_server_with_a_master_pulls_nothing(minion_opts):
    opts = {**minion_opts, "file_client": "local", "django_formula": "/srv/formula"}
    alone = Rendering(opts, grains(), {"django": PILLARS["full"]})
    assert "/srv/formula/bootstrap.d/pull.py" in alone.files()["/usr/local/bin/django-pull"]
    other = Rendering(opts, grains(), {"django": PILLARS["full"]}, has_master=True)
    assert other.errors == [] and "shop: release is live" in other.ids()
    assert not [chunk for chunk in other.low if chunk["__sls__"] == "django.host.pull"]
    over_ssh = {**opts, "django_formula_ssh": True}
    third = Rendering(over_ssh, grains(), {"django": PILLARS["full"]})
    assert third.ids() == other.ids(), "nor one whose operator comes over SSH"


def test_backups_are_made_by_cron(minion_opts, init):
    rendering = Rendering(minion_opts, grains(init=init), {"django": PILLARS["full"]})
    line = rendering.files()["/etc/cron.d/django-backup"].splitlines()[-1]
    assert line.startswith("30 3 * * * root umask 077; nice /usr/local/bin/django-backup run >>")
    started = next(chunk for chunk in rendering.low if chunk["__id__"] == "backups are made")
    assert started["name"] == "cron"


def test_cache_and_broker_are_apart_with_a_password_each(minion_opts):
    project = {"source": {"path": "/srv/src"}, "processes": {"jobs": {"celery": "shop"}}}
    rendering = Rendering(minion_opts, grains(), {"django": {"projects": {"shop": project}}})
    texts = rendering.files()
    cache, broker = (texts[f"/etc/redis/redis-{name}.conf"] for name in ("shop", "shop_broker"))
    assert "\nmaxmemory-policy volatile-lru\n" in cache and "\nappendonly no\n" in cache
    assert "\nmaxmemory-policy noeviction\n" in broker and "\nappendonly yes\n" in broker
    assert "\naclfile /etc/redis/redis-shop_broker.acl\n" in broker
    contexts = [
        chunk["context"]["secret"] for chunk in rendering.low if chunk["fun"] == "secret_file"
    ]
    assert contexts == ["cache.password", "broker.password"]


def test_memcached_is_one_for_each_project_and_the_packaged_one_is_off(minion_opts, init):
    rendering = Rendering(minion_opts, grains(init=init), {"django": PILLARS["full"]})
    text = rendering.files()["/etc/default/memcached-blog-2"]
    assert "GROUP='blog-2'\n" in text and " --max-item-size=8m'\n" in text
    by_id = {chunk["__id__"]: chunk for chunk in rendering.low}
    mark = "@" if init == "systemd" else "-"
    assert by_id["blog-2: Memcached runs"]["name"] == f"memcached{mark}blog-2"
    assert by_id["the packaged Memcached server does not run"]["name"] == "memcached"
    if init == "systemd":
        unit = rendering.files()["/etc/systemd/system/memcached@.service"]
        assert "\nPrivateNetwork=yes\n" in unit and "\nUser=memcache\n" in unit


def test_varnish_is_between_nginx_and_the_application(minion_opts, init):
    rendering = Rendering(minion_opts, grains(init=init), {"django": PILLARS["full"]})
    files = rendering.files()
    site = files["/etc/nginx/django.d/shop.conf"]
    servers = [line.strip() for line in site.splitlines() if line.strip().startswith("server unix")]
    assert servers[:2] == [
        "server unix:/run/varnish-shop/http.sock max_fails=0;",
        "server unix:/srv/django/shop/web.sock backup;",
    ]
    assert "varnish" not in files["/etc/nginx/django.d/blog-2.conf"]
    rules = files["/etc/varnish/shop.vcl"]
    assert '.path = "/srv/django/shop/web.sock";' in rules
    assert r"|cookie\.consent)=[^;]*" in rules and "return (pipe);" in rules
    assert "set beresp.ttl = 120s;" in rules
    options = files["/etc/default/varnish-shop"]
    assert " -T 127.0.0.1:0 " in options and " -S /run/varnish-shop/secret " in options
    by_id = {chunk["__id__"]: chunk for chunk in rendering.low}
    mark = "@" if init == "systemd" else "-"
    assert by_id["shop: Varnish runs"]["name"] == f"varnish{mark}shop"
    for service in ("varnish", "varnishncsa"):
        assert by_id[f"the packaged service {service} does not run"]["name"] == service
    assert {"django": "shop: Varnish runs"} in by_id["shop: Nginx serves it"]["require"]


def test_requests_of_a_site_are_not_for_every_user_to_read(minion_opts):
    rendering = Rendering(minion_opts, grains(), {"django": PILLARS["smallest"]})
    logs = [chunk for chunk in rendering.low if chunk["name"].startswith("/var/log/nginx/")]
    assert logs
    assert {(chunk["mode"], chunk["replace"]) for chunk in logs} == {("0640", False)}


@pytest.mark.parametrize("sls", FILES)
def test_each_file_renders_alone(minion_opts, sls):
    rendering = Rendering(minion_opts, grains(), {"django": PILLARS["full"]}, sls)
    assert rendering.errors == []
    assert rendering.low


@pytest.mark.parametrize("sls", FILES)
@pytest.mark.parametrize(
    "pillar",
    [
        {},
        {"django": {"projects": {"shop": {"sauce": {}}}}},
        {"django": {"projects": {"shop": {"env": {"A": 1, 3: 4, ("a", 1): 5}}}}},
    ],
)
def test_an_invalid_pillar_leaves_one_state(minion_opts, sls, pillar):
    rendering = Rendering(minion_opts, grains(), pillar, sls)
    assert rendering.errors == []
    assert [(chunk["state"], chunk["fun"]) for chunk in rendering.low] == [("django", "valid")]


def test_one_project_needs_few_states(minion_opts):
    rendering = Rendering(minion_opts, grains(), {"django": PILLARS["smallest"]})
    assert len(rendering.ids()) <= 60


@pytest.mark.parametrize("cores, memory", [(1, 512), (2, 4096), (64, 262144)])
def test_settings_follow_the_machine(minion_opts, cores, memory):
    pillar = {"django": PILLARS["smallest"]}
    files = Rendering(minion_opts, grains(cores=cores, memory=memory), pillar).files()
    assert f"worker_processes {cores};" in files["/etc/nginx/nginx.conf"]
    buffers = files["/etc/postgresql/15/main/conf.d/10-django-restart.conf"]
    buffers = int(re.search(r"shared_buffers = '(\d+)MB'", buffers)[1])
    assert memory // 20 <= buffers <= memory // 4


def test_settings_that_need_a_restart_are_apart(minion_opts):
    files = Rendering(minion_opts, grains(), {"django": PILLARS["full"]}).files()
    restart, reload = (
        files[f"/etc/postgresql/15/main/conf.d/{name}.conf"]
        for name in ("10-django-restart", "20-django-reload")
    )
    assert "wal_level = 'logical'" in restart and "wal_level" not in reload
    assert "log_line_prefix = '%m [%p]'" in reload and "work_mem" not in restart


def test_engine_mysql_is_mariadb_on_every_system(minion_opts, system):
    rendering = Rendering(minion_opts, grains(system), {"django": PILLARS["mysql"]})
    lines = rendering.files()["/etc/mysql/mariadb.conf.d/90-django.cnf"].splitlines()
    assert lines[1] == "[mariadbd]"
    for line in ("bind_address = 127.0.0.1", "long_query_time = 1", "log_bin = OFF"):
        assert line in lines
    assert {"MariaDB runs", "shop: database default is there"} <= set(rendering.ids())
    assert not any("PostgreSQL" in name for name in rendering.ids())


def test_pg_hba_lets_a_role_into_its_own_database_only(minion_opts):
    files = Rendering(minion_opts, grains(), {"django": PILLARS["full"]}).files()
    lines = files["/etc/postgresql/15/main/pg_hba.conf"].splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "local all postgres peer",
        "hostssl all backup 10.0.0.9/32 scram-sha-256",
        "host shop shop 127.0.0.1/32 scram-sha-256",
        "host shop shop ::1/128 scram-sha-256",
    ]


def test_timers_are_quoted_for_cron(minion_opts):
    files = Rendering(minion_opts, grains(), {"django": PILLARS["full"]}).files()
    line = files["/etc/cron.d/django-shop"].splitlines()[-1]
    command = (
        "shop /usr/local/lib/django-formula/run-timer shop clean_up 3600"
        " /srv/django/shop/live/environment.timer-clean_up /srv/django/shop/current/source"
        r" echo 100\% 'two words' /srv/django/shop/shared/data current"
    )
    assert line.endswith(command)


@pytest.mark.parametrize(("saltenv", "wanted"), [(None, "base"), ("staging", "staging")])
def test_the_top_file_names_a_state_that_is_there(minion_opts, saltenv, wanted):
    """In any environment, which Salt looks for by its name."""
    opts = {**minion_opts, "file_client": "local", "saltenv": saltenv}
    opts["file_roots"] = {wanted: [str(ROOT / "salt")]}
    state = salt.state.HighState(opts)
    with state:
        assert state.top_matches(state.get_top()) == {wanted: ["django"]}
    assert "django" in FILES
