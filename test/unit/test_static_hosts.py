"""Hosts that serve static files alone: what the role comes to, and what it refuses."""

import types

import django_commands
import django_process
import django_rollback
import django_step_check
import django_step_switch
import django_target
import pytest
from django_deployment import StepError
from pillars import assert_nothing_to_do
from releases import FIRST, SECOND, served
from salt.exceptions import CommandExecutionError

TLS = {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/private/shop.key"}
OWN = {"certificate": "/etc/ssl/static.pem", "key": "/etc/ssl/private/static.key"}
DOMAINS = ["static.example.org", "static.example.net"]
HOSTS = {
    "web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker"]},
    "static1": {"address": "10.0.0.15", "roles": ["static"]},
    "data1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
}
BALANCER = {"lb1": {"address": "10.0.0.5", "roles": ["balancer"]}}
SECRETS = {
    "secrets": {"SECRET_KEY": "k" * 50, "API_TOKEN": "the-token"},
    "database": {"password": "the-database-s"},
    "cache": {"password": "the-cache-s"},
}


@pytest.fixture
def told(resolve):
    """Function from a host (None: a server that is alone) to its configuration; keys differ."""

    def call(name, hosts=None, static=None, more=None, **changes):
        project = {
            "source": {"path": "/srv/src"},
            "domains": ["shop.example.org"],
            "superuser": {"username": "eve", "password": "the-superuser-s"},
            "static": {"domains": DOMAINS, **(static or {})},
            "processes": {"jobs": {"manage": "work"}},
            "timers": {"daily": {"manage": "clean", "schedule": "daily"}},
            **SECRETS,
            **changes,
        }
        pillar = {"projects": {"shop": project, **(more or {})}, "firewall": {}}
        if name:
            pillar["hosts"] = hosts or HOSTS
        return resolve(pillar, id=name or "web1")

    return call


def url(config):
    """What pages begin the addresses of static files with."""
    assert config["errors"] == []
    return config["projects"]["shop"]["static"]["url"]


def test_all_hosts_know_the_address_of_static_files(told):
    for name in ("web1", "static1", None):
        assert url(told(name)) == "http://static.example.org/static/"


@pytest.mark.parametrize(
    "keys, expected",
    [
        ({"web": {"tls": TLS}}, "https://static.example.org/static/"),
        ({"static": {"tls": OWN}}, "https://static.example.org/static/"),
        ({"web": {"https": True}}, "https://static.example.org/static/"),
        ({"static": {"url": "/files/"}}, "http://static.example.org/files/"),
        (
            {"static": {"cdn": {"url": "https://cdn.example.net"}}},
            "https://cdn.example.net/static/",
        ),
    ],
)
def test_the_address_follows_what_the_pillar_says(told, keys, expected):
    assert url(told("web1", **keys)) == url(told("static1", **keys)) == expected


def test_the_address_has_the_port_that_visitors_use(resolve):
    static = {"domains": ["static.example.org"]}
    project = {"source": {"path": "/srv/src"}, "domains": ["shop.example.org"], "static": static}
    config = resolve({"nginx": {"port": 8080}, "projects": {"shop": project}})
    assert url(config) == "http://static.example.org:8080/static/"


def test_a_static_host_has_the_release_and_nginx_alone(told):
    config = told("static1")
    assert config["tiers"] == [
        "django.valid",
        "django.host",
        "django.app.project",
        "django.web.nginx",
        "django.host.firewall",
        "django.app.departed",
    ]
    assert list(config["nginx"]["sites"]) == ["shop.static"]
    shop = config["projects"]["shop"]
    assert (shop["static_only"], shop["processes"], shop["timers"]) == (True, {}, {})
    assert django_process.definitions(shop, {}, {}, "/i") == {}
    assert config["supervisord"] == config["postgresql"] == config["redis"] == {}


def test_a_static_host_lets_in_who_wants_static_files(told):
    assert {rule["for"]: rule["ports"] for rule in told("static1")["firewall"]["rules"]} == {
        "SSH": [22],
        "static files": [80],
    }
    tls = told("static1", static={"tls": OWN})["firewall"]["rules"][1]
    assert (tls["ports"], tls["from"]) == ([80, 443], [])
    both = told("static1", hosts={**HOSTS, **BALANCER}, static={"tls": OWN})
    rule = both["firewall"]["rules"][1]
    assert (rule["ports"], rule["from"]) == ([80], ["10.0.0.5"])


def test_databases_let_no_static_host_in(told):
    config = told("data1")
    assert not any("10.0.0.15" in line["address"] for line in config["postgresql"]["hba"])
    rules = {rule["for"]: rule["from"] for rule in config["firewall"]["rules"]}
    assert rules["PostgreSQL"] == rules["Redis"] == ["10.0.0.11"]


def test_a_static_host_knows_what_the_settings_read_and_no_password(told):
    specs = told("static1")["projects"]["shop"]["secret_specs"]
    assert set(specs) == {"SECRET_KEY", "API_TOKEN"}


@pytest.mark.parametrize(
    "keys",
    [
        {"files": {"local.py": {"content": "X = '@{database.url}'"}}},
        {"build": [{"run": "make", "env": {"DATABASE": "@{databases.default.password}"}}]},
    ],
)
def test_a_static_host_knows_what_a_release_is_made_of(told, keys):
    """Its release is that of the others, by the same name."""
    assert (
        "database.default.password" in told("static1", **keys)["projects"]["shop"]["secret_specs"]
    )
    elsewhere = {"files": {"/etc/shop.ini": {"content": "@{database.url}"}}}
    assert set(told("static1", **elsewhere)["projects"]["shop"]["secret_specs"]) == {
        "SECRET_KEY",
        "API_TOKEN",
    }


def test_a_static_host_needs_the_secrets_that_it_knows(told):
    errors = told("static1", secrets={})["errors"]
    told_of = "django:projects:shop:secrets:SECRET_KEY: expected a value, since static1 and web1"
    assert any(text.startswith(told_of) for text in errors), errors


def test_a_static_host_has_no_release_of_a_project_without_domains_for_it(told):
    other = {"source": {"path": "/srv/other"}, "domains": ["blog.example.org"], **SECRETS}
    config = told("static1", more={"blog": other})
    assert config["errors"] == []
    assert (config["released"], list(config["nginx"]["sites"])) == (["shop"], ["shop.static"])
    web = told("web1", more={"blog": other})
    assert (web["released"], list(web["nginx"]["sites"])) == (["blog", "shop"],) * 2


def test_one_host_may_serve_both(told):
    hosts = {**HOSTS, "web1": {"address": "10.0.0.11", "roles": ["app", "web", "static"]}}
    hosts["work1"] = {"address": "10.0.0.13", "roles": ["worker"]}
    config = told("web1", hosts=hosts)
    assert list(config["nginx"]["sites"]) == ["shop", "shop.static"]
    assert not config["projects"]["shop"]["static_only"]
    assert list(told(None)["nginx"]["sites"]) == ["shop", "shop.static"]


def test_a_host_with_workers_may_serve_static_files(told):
    hosts = {**HOSTS, "static1": {"address": "10.0.0.15", "roles": ["worker", "static"]}}
    other = {"source": {"path": "/srv/other"}, "domains": ["blog.example.org"], **SECRETS}
    config = told("static1", hosts=hosts, more={"blog": other})
    assert (config["errors"], list(config["nginx"]["sites"])) == ([], ["shop.static"])
    assert config["released"] == ["blog", "shop"] and config["supervisord"]
    assert not config["projects"]["shop"]["static_only"]
    rules = {rule["for"]: rule["ports"] for rule in config["firewall"]["rules"]}
    assert rules == {"SSH": [22], "static files": [80]}


def test_release_is_the_same_whatever_domains_are_called(told):
    """What has no domains for static files keeps the releases that it has."""
    static = told("web1", static={"domains": []}, hosts={**HOSTS, "static1": HOSTS["web1"]})
    assert static["errors"]
    alone = told(None, static={"domains": []})["projects"]["shop"]["static"]
    assert not {"domains", "tls", "cdn"} & set(alone)


def test_balancers_know_the_domains_and_who_serves_them(told):
    config = told("lb1", hosts={**HOSTS, **BALANCER}, static={"tls": OWN})
    static, shop = config["haproxy"]["projects"]
    assert (static["name"], static["known"], static["suffixes"]) == ("shop.static", DOMAINS, [])
    assert [each["address"] for each in static["members"]] == ["10.0.0.15:80"]
    assert static["tls"]["certificate"] == OWN["certificate"]
    assert static["tls"]["link"] == "/etc/haproxy/tls/shop.static.pem"
    assert (shop["tls"], [each["name"] for each in shop["members"]]) == ({}, ["web1"])
    assert 443 in config["firewall"]["rules"][1]["ports"]


def test_hosts_behind_a_balancer_have_no_certificates(told):
    config = told("static1", hosts={**HOSTS, **BALANCER}, web={"tls": TLS})
    assert config["nginx"]["sites"]["shop.static"]["tls"] == {}
    assert url(config) == "https://static.example.org/static/"


ALONE = {"web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker", "database", "cache"]}}
APACHE = {"server": "apache"}
WORKER = {"address": "10.0.0.13", "roles": ["worker"]}
BOTH = {"web1": {**HOSTS["web1"], "roles": ["app", "web", "worker", "static"]}, **BALANCER}
BOTH["data1"] = HOSTS["data1"]


@pytest.mark.parametrize(
    "name, keys, message",
    [
        (
            "web1",
            {"hosts": ALONE},
            "projects:shop:static:domains: expected a host with the role static",
        ),
        (
            "web1",
            {"static": {"domains": []}},
            "hosts:static1:roles: expected static:domains in a project",
        ),
        (
            "web1",
            {"static": {"domains": ["shop.example.org"]}},
            "projects:shop:static:domains:0: expected a domain of its own",
        ),
        (
            "web1",
            {"static": {"domains": ["*.example.org"]}},
            "projects:shop:static:domains:0: expected a whole domain name, got *.example.org",
        ),
        (
            "web1",
            {"static": {"enabled": False}},
            "projects:shop:static:enabled: expected true beside domains",
        ),
        (
            "web1",
            {"static": {"serve": False}},
            "projects:shop:static:serve: expected true beside domains",
        ),
        (
            "web1",
            {"static": {"url": "https://cdn.example.net/static/"}},
            "projects:shop:static:url: expected a path such as /static/ beside domains",
        ),
        (
            "static1",
            {"static": {"url": "/"}},
            "projects:shop:static:url: expected more than /, where the application answers",
        ),
        (
            None,
            {"static": {"domains": [], "tls": OWN}},
            "projects:shop:static:tls: expected static:domains beside it",
        ),
        (
            None,
            {"web": APACHE},
            "projects:shop:web:server: expected nginx: Nginx serves static:domains, and this",
        ),
        (
            "web1",
            {"app": {"server": "mod_wsgi"}, "hosts": BOTH},
            "projects:shop:app:server: expected another than mod_wsgi, which is a part of Apache:",
        ),
        (
            "web1",
            {"app": {"server": "mod_wsgi"}, "hosts": {**HOSTS, "work1": WORKER}},
            "projects:shop:app:server: expected another server: mod_wsgi is a part of Apache, which"
            " work1 has not",
        ),
        (
            "web1",
            {
                "hosts": {
                    **HOSTS,
                    "static1": {"address": "10.0.0.15", "roles": ["static", "balancer"]},
                }
            },
            "hosts:static1:roles: expected balancer on another host than static",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(told, name, keys, message):
    config = told(name, **keys)
    assert_nothing_to_do(config)
    assert any(text.startswith(f"django:{message}") for text in config["errors"]), config["errors"]


def test_apache_may_be_the_front_door_elsewhere(told):
    """Static files are Nginx's on hosts that have nothing else to serve."""
    web, static = told("web1", web=APACHE), told("static1", web=APACHE)
    assert web["errors"] == static["errors"] == []
    assert (web["nginx"], list(static["nginx"]["sites"])) == ({}, ["shop.static"])
    assert static["apache"] == {} and "apache2" not in static["packages"]


# A release on such a host


@pytest.fixture
def static_only(deployment):
    """A deployment on a host that serves static files alone; ``told`` has what was ended."""
    deployment.project["static_only"] = deployment.static_only = True
    deployment.told = []

    def stop(name, seconds):
        deployment.told.append(name)
        deployment.manager.running = {}

    deployment.manager = types.SimpleNamespace(
        kind="systemd", running={}, programs=lambda: deployment.manager.running, stop=stop
    )
    return deployment


@pytest.fixture
def left_running(static_only):
    """The same, with the web process of another role; its name."""
    instance = static_only.instance
    static_only.layout.instance(instance).mkdir()
    static_only.layout.save_instance_record(instance, facts={"a": 1}, definitions={})
    static_only.project["web"]["websocket"] = False
    name = f"shop.web.{FIRST}"
    static_only.manager.running = {name: {"leaving": False, "pid": 7}}
    return name


def test_going_live_is_a_matter_of_links(static_only):
    served(static_only, FIRST)
    static_only.layout.live.unlink()
    instance = static_only.instance
    static_only.layout.instance(instance).mkdir()
    static_only.layout.save_instance_record(instance, facts={"a": 1}, definitions={})
    static_only.test = True
    expected = django_step_switch.go_live(static_only).changes
    assert set(expected) == {"current", "live"} and static_only.layout.live_instance() is None
    static_only.test = False
    assert django_step_switch.go_live(static_only).changes == expected
    assert static_only.layout.live_instance() == instance
    assert django_step_switch.go_live(static_only).changes == {}
    assert static_only.layout.served()[-1]["instance"] == instance


def test_what_ran_for_another_role_ends(static_only, left_running):
    assert django_step_switch.go_live(static_only).changes["stopped"] == [left_running]
    assert static_only.told == [left_running]


def test_what_goes_on_though_it_was_told_to_end_is_told(static_only, left_running):
    static_only.manager.stop = lambda name, seconds: None
    with pytest.raises(StepError, match=left_running):
        django_step_switch.go_live(static_only)


def test_command_that_fails_there_is_told_where_to_go(static_only, monkeypatch):
    served(static_only, FIRST)
    monkeypatch.setattr(static_only, "environment_of", lambda instance: {})
    static_only.layout.save_instance_record(FIRST, venv="/nowhere", release="a")
    target = django_target.of_live_release(static_only, {})._replace(user=None, cwd="/")
    with pytest.raises(CommandExecutionError, match="ask one with the role app or worker"):
        django_commands.Commands(None, {}).run(target, ["check"], 5)


def test_a_release_without_programs_can_be_gone_back_to(static_only):
    served(static_only, FIRST, SECOND)
    static_only.layout.save_instance_record(FIRST, definitions={})
    assert django_rollback.choose(static_only) == FIRST
    assert django_rollback.ahead(static_only, FIRST) == {}


def test_a_release_without_programs_serves_no_pages_later(static_only):
    served(static_only, FIRST, SECOND)
    static_only.layout.save_instance_record(FIRST, definitions={})
    static_only.static_only = False
    with pytest.raises(StepError, match="made while this host served static files alone"):
        django_rollback.choose(static_only)


def test_settings_are_looked_at_and_no_database_is_asked(static_only):
    asked = []
    facts = dict.fromkeys(("secret_key", "sessions", "static_root"))
    facts |= {
        "settings": "shop.settings",
        "debug": False,
        "databases": {},
        "staticfiles": True,
        "migrations": [],
    }
    static_only.layout.instance(static_only.instance).mkdir()

    def answer(tasks, *_, **__):
        asked.extend(task["do"] for task in tasks)
        return {"inspect": facts}

    static_only.django = answer
    assert django_step_check.check(static_only).changes
    assert asked == ["inspect"]
