"""A cache of pages in front: what Varnish is told, by whom, and which pages it forgets."""

import re
import types

import django_layout
import django_server_varnish
import django_step_pages
import django_varnish
import pytest
from django_deployment import StepError
from django_run import CommandError

SHOP = {"source": {"path": "/srv/src/shop"}, "web": {"cache": "varnish"}}


def instance(config):
    assert config["errors"] == []
    [found] = config["varnish"]["instances"]
    return found


def test_it_is_there_where_a_project_asks_for_it(resolve):
    config = resolve({"projects": {"shop": SHOP}})
    found = instance(config)
    assert found["service"] == "varnish@shop" and found["backend"] == "/srv/django/shop/web.sock"
    assert (found["ttl"], found["grace"], found["memory"]) == (0, 3600, 409)
    assert "varnish" in config["packages"]
    tiers = config["tiers"]
    assert tiers.index("django.app.project") < tiers.index("django.web.varnish")
    assert tiers.index("django.web.varnish") < tiers.index("django.web.nginx")
    plain = resolve({"projects": {"shop": {"source": SHOP["source"]}}})
    assert plain["varnish"] == {} and plain["projects"]["shop"]["web"]["cache"] == {}
    assert "varnish" not in plain["packages"] and "django.web.varnish" not in plain["tiers"]


def test_it_listens_on_a_socket_and_is_steered_over_loopback(resolve):
    words = " ".join(instance(resolve({"projects": {"shop": SHOP}}))["options"]).split()
    assert words[words.index("-a") + 1].startswith("/run/varnish-shop/http.sock,")
    assert words[words.index("-T") + 1] == "127.0.0.1:0"
    assert words[words.index("-S") + 1] == "/run/varnish-shop/secret"


@pytest.mark.parametrize(
    ("release", "init", "brought"),
    [("12", "systemd", 2), ("12", "unknown", 2), ("13", "systemd", 1), ("13", "unknown", 0)],
)
def test_services_that_its_package_brings_are_known(resolve, release, init, brought):
    grains = {"osrelease": release, "osmajorrelease": int(release), "init": init}
    config = resolve({"projects": {"shop": SHOP}}, **grains)
    assert len(config["varnish"]["packaged"]) == brought


def test_it_waits_as_long_as_the_longest_location(resolve):
    web = {
        "cache": "varnish",
        "locations": {"/import/": {"application": True, "read_timeout": "1h"}},
    }
    found = instance(resolve({"projects": {"shop": {**SHOP, "web": web}}}))
    assert found["timeout"] == 3600 and "-p pipe_timeout=3600" in found["options"]


def test_memory_is_the_pillars_or_a_part_of_the_machines(resolve):
    web = {"cache": {"memory": "64M"}}
    assert instance(resolve({"projects": {"shop": {**SHOP, "web": web}}}))["memory"] == 64
    small = {"varnish": {"memory_share": 5}, "projects": {"shop": SHOP}}
    assert instance(resolve(small, mem_total=2048))["memory"] == 102


def test_uwsgi_is_refused(resolve):
    [error] = resolve({"projects": {"shop": {**SHOP, "app": {"server": "uwsgi"}}}})["errors"]
    assert error.startswith(
        "django:projects:shop:web:cache: expected another app:server than uwsgi"
    )


def test_it_is_between_nginx_and_the_application_only(resolve):
    web = {"cache": "varnish", "server": "apache"}
    [error] = resolve({"projects": {"shop": {**SHOP, "web": web}}})["errors"]
    assert error == "django:projects:shop:web:cache: expected only with web:server nginx"


def test_hosts_that_are_no_front_door_have_none(resolve):
    hosts = {
        "web1": {"address": "10.0.0.11", "roles": ["app", "worker"]},
        "front": {"address": "10.0.0.12", "roles": ["app", "web", "database", "cache"]},
    }
    secrets = {"secrets": {"SECRET_KEY": "y" * 50}, "database": {"password": "x" * 20}}
    project = {**SHOP, **secrets, "cache": {"password": "z" * 20}}
    config = resolve({"hosts": hosts, "projects": {"shop": project}})
    assert config["errors"] == [] and config["varnish"] == {}
    assert config["projects"]["shop"]["web"]["cache"] == {}


@pytest.mark.parametrize(
    ("cookies", "left"),
    [
        ("_ga=GA1.2.3; _ga_ABC123=x; _gid=1; _gat_UA-1=1", False),
        ("_pk_id.1.1fff=a.b; _fbp=fb.1; _hjSessionUser_12=x; consent.given=yes", False),
        ("_ga=1; sessionid=abc", True),
        ("sessionid=abc", True),
        ("_gallery_session=abc", True),
        ("consentXgiven=1", True),
        ("csrftoken=abc; _ga=1", True),
        ("", False),
    ],
)
def test_cookies_of_analytics_do_not_matter_and_others_do(resolve, cookies, left):
    web = {"cache": {"ignore_cookies": ["consent.given"]}}
    found = instance(resolve({"projects": {"shop": {**SHOP, "web": web}}}))
    rest = re.sub(f";[ ]*({found['cookies']})=[^;]*", "", ";" + cookies)
    assert bool(re.search("[^; ]", rest)) == left


@pytest.mark.parametrize(
    ("path", "forgotten", "kept"),
    [
        (None, None, None),
        ("/blog/", ["/blog/", "/blog/?page=2"], ["/blog/a", "/", "/x/blog/"]),
        ("/blog/*", ["/blog/", "/blog/a?x=1"], ["/blog", "/x/blog/a"]),
        ("/a.b", ["/a.b"], ["/aXb", "/a.b/"]),
        ("/s?q=a+b", ["/s?q=a+b"], ["/s?q=aab", "/s?q=a+bc"]),
        ("/", ["/", "/?x"], ["/blog/"]),
        ("/*", ["/", "/blog/"], []),
    ],
)
def test_pages_of_a_path(path, forgotten, kept):
    told = django_varnish.condition(path)
    if path is None:
        assert told == "obj.status != 0"
        return
    field, operator, pattern = told.split(" ")
    assert (field, operator) == ("obj.http.X-Django-Url", "~")
    assert all(re.search(pattern, url) for url in forgotten)
    assert not any(re.search(pattern, url) for url in kept)


@pytest.mark.parametrize("path", ["blog/", "", "/a b", "/a || true", "/a\nb", '/"', "/a*b", "/[x"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="expected a path"):
        django_varnish.condition(path)


@pytest.fixture
def deployment(tmp_path, monkeypatch):
    """A project with Varnish in front; ``asked`` counts how often that was told to forget."""
    made = types.SimpleNamespace(
        name="shop",
        target="a-b",
        test=False,
        asked=[],
        problem=None,
        host={"init": "systemd"},
        project={"web": {"cache": {"engine": "varnish"}}},
        layout=types.SimpleNamespace(pages=tmp_path / "pages.json"),
    )

    def forget(name, path=None):
        made.asked.append(name)
        if made.problem:
            raise CommandError(["varnishadm"], 1, made.problem, made.problem)

    monkeypatch.setattr(django_varnish, "forget", forget)
    monkeypatch.setattr(django_varnish, "is_running", lambda name, init: True)
    return made


def test_pages_are_forgotten_once_for_each_instance(deployment):
    deployment.test = True
    assert django_step_pages.purge(deployment).changes
    assert deployment.asked == []
    deployment.test = False
    assert django_step_pages.purge(deployment).changes == {"pages": {"old": None, "new": "a-b"}}
    assert django_step_pages.purge(deployment).changes == {}
    deployment.target = "c-d"
    assert django_step_pages.purge(deployment).changes == {"pages": {"old": "a-b", "new": "c-d"}}
    assert deployment.asked == ["shop", "shop"]


def test_what_failed_is_told_and_tried_again(deployment):
    deployment.problem = "no answer"
    django_step_pages.forget(deployment)  # in the switch, which goes on
    for _ in range(2):
        with pytest.raises(StepError, match="no answer\nThe release is live, but"):
            django_step_pages.purge(deployment)
    deployment.problem = None
    assert django_step_pages.purge(deployment).changes
    assert django_layout.read_json(deployment.layout.pages) == {"instance": "a-b"}


def test_nothing_is_asked_where_no_cache_is_in_front(deployment):
    deployment.project["web"]["cache"] = {}
    django_step_pages.forget(deployment)
    assert django_step_pages.purge(deployment).changes == {}
    assert deployment.asked == []


def test_settings_of_options_are_words(resolve):
    for option in instance(resolve({"projects": {"shop": SHOP}}))["options"]:
        assert "'" not in option and option.startswith("-")
    assert all(re.compile(each) for each in django_server_varnish.ANALYTICS)
