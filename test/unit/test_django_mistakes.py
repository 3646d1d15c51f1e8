"""Mistakes in one section of a project hide none in another, and make none up there."""

import copy

import django_mistakes
import pytest
import yaml
from pillars import ROOT

FILES = [
    "pillar.example",
    "examples/pillars/one-server.sls",
    "examples/pillars/several-projects.sls",
]


def test_all_of_a_project_is_told_at_once(resolve_project):
    """Wrong by itself, between sections, and a reference that leads nowhere."""
    config = resolve_project(
        app={"workers": "many"},
        source={"path": "/srv/src", "rev": "v1"},
        env={"A": "@{databse.url}"},
        static={"url": "/x"},
    )
    assert sorted(error.removeprefix("django:projects:shop:") for error in config["errors"]) == [
        "app:workers: expected a whole number between 1 and 1024, got 'many'",
        "env:A: unknown reference @{databse.url} (did you mean @{database.url}?)",
        "source:rev: expected only beside git",
        "static:url: expected a slash at the end, got '/x'",
    ]


def test_what_may_only_be_said_because_something_was_left_out_is_not_said(resolve_project):
    for keys, wrong in (
        ({"secrets": {"A": 3}, "env": {"B": "@{secrets.A}"}}, "secrets"),
        ({"secrts": {"A": "x"}, "env": {"B": "@{secrets.A}"}}, "secrts"),
        ({"databases": 3, "migrate": {"databases": ["old"]}}, "databases"),
        ({"whatever": 3, "env": {"B": "@{other.a}"}}, "whatever"),
    ):
        errors = resolve_project(**keys)["errors"]
        assert errors and all(f"shop:{wrong}:" in error.split(": ")[0] + ":" for error in errors)


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("damage", ["wrong", "misspelt"])
def test_one_wrong_section_makes_no_mistake_elsewhere(resolve, path, damage):
    django = yaml.safe_load((ROOT / path).read_text())["django"]
    django.pop("hosts", None)
    for name, project in django["projects"].items():
        for section in project:
            broken = copy.deepcopy(django)
            sections = broken["projects"][name]
            called = section if damage == "wrong" else f"{section}q"
            sections[called] = sections.pop(section) if damage == "misspelt" else 3.5
            errors = resolve(broken)["errors"]
            assert errors, section
            assert django_mistakes.sections(name, errors) == {called}, errors
            assert len(errors) == sum(f":{name}:" in error for error in errors), errors


# Two mistakes in one pillar, each alone first

PASSWORD = {"password": "x" * 20}
COMMON = {"secrets": {"SECRET_KEY": "k" * 50}, "database": PASSWORD, "cache": PASSWORD}
FLEET = {
    "hosts": {
        "lb1": {"address": "10.0.0.5", "roles": ["balancer"]},
        "web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker"]},
        "web2": {"address": "10.0.0.12", "roles": ["app", "web"]},
        "static1": {"address": "10.0.0.15", "roles": ["static"]},
        "static2": {"address": "10.0.0.16", "roles": ["static"]},
        "data1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
    },
    "firewall": {},
    "projects": {
        "shop": {
            **COMMON,
            "source": {"path": "/srv/shop"},
            "domains": ["shop.example.org"],
            "static": {"domains": ["static.example.org"]},
            "uid": 900,
        },
        "blog": {**COMMON, "source": {"path": "/srv/blog"}, "domains": ["blog.example.org"]},
    },
}
SHOP, BLOG = "projects:shop", "projects:blog"
# By what is wrong: what is put where, and the beginning of what is said.
BY_THEMSELVES = {
    f"{SHOP}:app": ({"workers": "many"}, ":workers: expected a whole number"),
    f"{SHOP}:static": ({"domains": ["static.example.org"], "expires": "x"}, ":expires: expected"),
    f"{SHOP}:web": ({"max_body_size": "huge"}, ":max_body_size: expected a size"),
    f"{SHOP}:source": ({"path": 3}, ":path: expected an absolute path"),
    f"{SHOP}:domans": (["shop.example.org"], ": unknown key"),
    f"{BLOG}:env": (3, ": expected a map"),
    f"{BLOG}:domains": (["a b"], ":0: expected a domain name"),
    "hosts:web2:adress": ("10.0.0.12", ": unknown key"),
    "hosts:static2:roles": (["statik"], ":0: expected one of"),
    "balancer": ({"server": "haproxxy"}, ":server: expected one of"),
    "nginx": ({"port": "x"}, ":port: expected a port"),
    "postgrsql": ({"replication": PASSWORD}, ": unknown key"),
    "postgresql": ({"port": "x"}, ":port: expected a port"),
    "backup": ({"repository": 3}, ":repository: expected a folder"),
}
BETWEEN = {
    f"{SHOP}:timers": ({"t": {"manage": "x", "every": "7m"}}, ":t:every: expected an interval"),
    f"{BLOG}:source": ({"path": "/srv", "rev": "v1"}, ":rev: expected only beside git"),
    f"{BLOG}:uid": (900, ": expected a number of its own, 900 is that of shop"),
    f"{BLOG}:user": ("www-data", ": expected a user of the project's own"),
    f"{BLOG}:static": ({"domains": ["shop.example.org"]}, ":domains:0: expected a domain of its"),
    f"{BLOG}:media": ({"url": "/"}, ":url: expected more than /"),
    f"{BLOG}:tasks": ([{"name": "t", "manage": "@{no.thing}"}], ":0:manage: unknown reference"),
    f"{BLOG}:database": ({"engine": "sqlite"}, ":engine: expected postgresql or mysql, since 2"),
    f"{BLOG}:secrets": ({}, ":SECRET_KEY: expected a value, since web1 and web2"),
    "hosts:static1:roles": (["static", "balancer"], ": expected balancer on another host than"),
    "hosts:web2:address": ("10.0.0.11", ": expected an address of its own"),
    "apache": ({"probe_port": 80}, ":probe_port: expected another port"),
    "haproxy": ({"port": 22}, ":port: expected another port than 22"),
}
MISTAKES = {**BY_THEMSELVES, **BETWEEN}
NEEDING_SERVERS = {f"{BLOG}:secrets", "haproxy"}  # who has which secret, and which ports
NEEDING_HOSTS = {"hosts:static1:roles", "hosts:web2:address", f"{BLOG}:database"} | NEEDING_SERVERS
# By a mistake, those that cannot be seen beside it: what they look at is what is wrong.
HIDDEN = {
    "hosts:web2:adress": NEEDING_HOSTS,
    "hosts:static2:roles": NEEDING_HOSTS,
    "hosts:static1:roles": NEEDING_SERVERS,
    "hosts:web2:address": NEEDING_SERVERS,
    f"{SHOP}:app": {f"{BLOG}:uid"},  # Apache's own processes have the number of theirs
    f"{SHOP}:static": {f"{BLOG}:static"},
    f"{SHOP}:domans": {f"{BLOG}:static"},
    f"{BLOG}:env": {f"{BLOG}:secrets"},
    # References may have been meant for what has these names.
    f"{BLOG}:database": {f"{BLOG}:tasks"},
    f"{BLOG}:media": {f"{BLOG}:tasks"},
}


def with_mistakes(*names):
    django = copy.deepcopy(FLEET)
    for name in names:
        *path, key = name.split(":")
        place = django
        for part in path:
            place = place[part]
        place[key] = copy.deepcopy(MISTAKES[name][0])
    return django


def told(errors):
    """Names of the mistakes that messages are about; a message that is about none is kept whole."""
    return {
        next(
            (
                name
                for name, (_, text) in MISTAKES.items()
                if error.startswith(f"django:{name}{text}")
            ),
            error,
        )
        for error in errors
    }


def test_the_fleet_has_no_mistake(resolve):
    assert resolve(FLEET)["errors"] == []


@pytest.mark.parametrize("first", MISTAKES)
def test_two_mistakes_are_told_at_once_and_make_no_third(resolve, first):
    assert told(resolve(with_mistakes(first))["errors"]) == {first}
    for second in MISTAKES:
        if second in HIDDEN.get(first, ()) or first in HIDDEN.get(second, ()):
            expected = [{first}, {second}]
        else:
            expected = [{first, second}]
        found = told(resolve(with_mistakes(first, second))["errors"])
        assert found in expected, second
