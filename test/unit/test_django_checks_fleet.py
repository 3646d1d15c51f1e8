"""Mistakes between the projects of a pillar, and between the databases of one."""

import pytest
from pillars import SOURCE, assert_nothing_to_do

TWO_PROJECTS = [
    (
        {"domains": ["a.org"], "web": {"server": "apache"}},
        {"domains": ["b.org"]},
        "shop:web:server: expected apache, which blog has: one server has the ports of a host",
    ),
    (
        {
            "domains": ["a.org"],
            "app": {"server": "mod_wsgi", "mode": "embedded"},
        },
        {"domains": ["b.org"], "app": {"server": "mod_wsgi"}},
        "blog:app:mode: expected daemon beside other projects (shop): WSGIPythonHome is one for",
    ),
    ({}, {}, "shop:domains: expected a list of domain names, got none, and only one project can"),
    (
        {"domains": ["a.org"]},
        {"domains": ["b.org", "a.org"]},
        "shop:domains:1: expected a domain of",
    ),
    (
        {"user": "u"},
        {"user": "u", "domains": ["a.org"]},
        "shop:user: expected a user of its own, u",
    ),
    ({"user": "shop"}, {"domains": ["a.org"]}, "shop:user: expected a user of its own"),
    (
        {"database": {"name": "d"}},
        {"database": {"name": "d"}, "domains": ["a.org"]},
        "shop:database:name: expected one of its own, d is that of blog:database",
    ),
    (
        {"database": {"user": "r"}},
        {"database": {"user": "r"}, "domains": ["a.org"]},
        "shop:database:user: expected one of its own, r is that of blog:database",
    ),
    (
        {"cache": {"port": 6400}},
        {"cache": {"port": 6400}, "domains": ["a.org"]},
        "shop:cache:port: expected a port of its own, 6400 is that of blog",
    ),
    (
        {"broker": {"engine": "redis", "port": 7400}},
        {"cache": {"port": 7400}, "domains": ["a.org"]},
        "shop:cache:port: expected a port of its own, 7400 is that of blog:broker (set one of them",
    ),
    (
        {"broker": {"engine": "redis", "port": 6400}, "cache": {"port": 6400}},
        {"domains": ["a.org"]},
        "blog:broker:port: expected a port of its own, 6400 is that of blog (set one of them)",
    ),
    (
        {"cache": {"port": 5432}},
        {"domains": ["a.org"]},
        "blog:cache:port: expected a port of its own, 5432 is that of PostgreSQL",
    ),
    (
        {"files": {"/etc/x.ini": {"content": "a"}}},
        {"files": {"/etc/x.ini": {"content": "b"}}, "domains": ["a.org"]},
        "shop:files:/etc/x.ini: expected a path of its own, this one is that of blog",
    ),
]


@pytest.mark.parametrize(("blog", "shop", "message"), TWO_PROJECTS)
def test_a_clash_of_two_projects_is_told(resolve, blog, shop, message):
    projects = {"blog": {"source": SOURCE, **blog}, "shop": {"source": SOURCE, **shop}}
    config = resolve({"projects": projects})
    assert config["errors"][0].startswith(f"django:projects:{message}"), config["errors"]
    assert_nothing_to_do(config)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["default"],
            "django:projects:default: expected another name for the project, this one is",
        ),
        (["root"], "django:projects:root:user: expected a user of the project's own, root is one"),
        (["Shop"], "django:projects:Shop: expected a project name (lower-case letters, digits,"),
        (
            ["shop", "shop-web"],
            "django:projects:shop-web: expected another name, it reads like the",
        ),
        ([], "django:projects: expected a map from project names to projects, got an empty map"),
    ],
)
def test_names_of_projects(resolve, names, message):
    projects = {name: {"source": SOURCE, "domains": [f"{name.lower()}.org"]} for name in names}
    assert resolve({"projects": projects})["errors"][0].startswith(message)


def test_one_role_for_two_databases_needs_one_password(resolve_project):
    twice = {"engine": "postgresql", "user": "shop"}
    errors = resolve_project(databases={"archive": twice})["errors"]
    assert [error.split(": ")[0] for error in errors] == [
        "django:projects:shop:databases:archive:user"
    ]
    same = {"user": "shop", "password": "eight-letters"}
    pillar = {"database": same, "databases": {"archive": {**same, "engine": "postgresql"}}}
    assert resolve_project(**pillar)["errors"] == []


def test_each_database_has_a_role_of_its_own(resolve_project):
    shop = resolve_project(databases={"archive": {}})["projects"]["shop"]
    roles = {alias: entry["user"] for alias, entry in shop["databases"].items()}
    assert roles == {"default": "shop", "archive": "shop_archive"}
