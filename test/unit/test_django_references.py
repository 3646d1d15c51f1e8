"""References: parsing, checking, expanding; JSON that still holds references."""

import json

import django_cron
import django_manual
import django_namespace
import django_references
import pytest

NAMES = {
    "database.port": 5432,
    "database.name": "shop",
    "secrets.KEY": 'a"b\\c\n@/',
    "domains": ["a.org", "b.org"],
    "debug": False,
    "at": "@",
}


@pytest.mark.parametrize(
    ("value", "expanded"),
    [
        ("plain", "plain"),
        ("me@example.org", "me@example.org"),
        ("@{database.port}", 5432),
        ("port @{database.port}!", "port 5432!"),
        ("@{domains}", ["a.org", "b.org"]),
        ("on @{domains}", "on a.org,b.org"),
        ("@{debug}", False),
        ("is @{debug}", "is false"),
        ("@@{database.port}", "@{database.port}"),
        ("u@{at}@{database.name}", "u@shop"),
        ("@{secrets.KEY|url}", "a%22b%5Cc%0A%40%2F"),
        ("@{domains|json}", '["a.org", "b.org"]'),
        ({"@{database.name}": ["@{database.port}", 1]}, {"shop": [5432, 1]}),
        (None, None),
    ],
)
def test_expand(value, expanded):
    assert django_references.expand(value, NAMES) == expanded


def test_expand_text_is_always_text():
    assert django_references.expand_text("@{database.port}", NAMES) == "5432"
    assert django_references.expand_text("@{debug}", NAMES) == "false"


@pytest.mark.parametrize(
    "value", ["@{nothing}", "x @{database.nam}", ["@{database.port|nofilter}"]]
)
def test_expand_refuses_what_does_not_exist(value):
    with pytest.raises(django_references.UnknownReference):
        django_references.expand(value, NAMES)


def test_find_lists_names_once_and_sorted():
    value = {"a": "@{b.c} @{a}", "d": ["@{b.c|url}", "@@{no}"], "@{key}": 1}
    assert django_references.find(value) == ["a", "b.c", "key"]


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("@{database.nme}", "unknown reference @{database.nme} (did you mean @{database.name}?)"),
        ("@{}", "a reference is written @{name}"),
        ("@{a b}", "a reference is written @{name}"),
        ("@{database.name|base64}", "unknown filter in @{database.name|…}, expected json"),
        ("x@{database.name", "a reference @{ is not closed by }"),
        ("amqp://u:p@@{database.name}/", "@@{ in an URL stands for a plain @{"),
    ],
)
def test_problems_say_what_is_wrong(value, problem):
    found = django_references.problems({"deep": [value]}, NAMES)
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    "value", ["", "plain @ {", "@{at}", "@@{x}", "@@{x", 5, None, ["@{debug}"]]
)
def test_no_problem_where_there_is_none(value):
    assert django_references.problems(value, NAMES) == []


def test_json_with_references_stays_json_whatever_their_values_are():
    value = {"key": "@{secrets.KEY}", "in": "<@{secrets.KEY}>", "port": "@{database.port}"}
    value |= {
        "all": "@{domains}",
        "literal": "@@{x}",
        "n": [1, None, True],
        "@{database.name}": "ü",
    }
    text = django_references.expand(django_references.embed_json(value), NAMES)
    assert json.loads(text) == {
        "key": NAMES["secrets.KEY"],
        "in": f"<{NAMES['secrets.KEY']}>",
        "port": 5432,
        "all": ["a.org", "b.org"],
        "literal": "@{x}",
        "n": [1, None, True],
        "shop": "ü",
    }


def test_every_known_name_is_documented_and_the_other_way_round(resolve_project):
    config = resolve_project(
        superuser={},
        settings="shop.settings",
        processes={"monitor": {"flower": "shop"}},
        writable=["scripts"],
        media={"private": {}, "s3": {"bucket": "shop"}},
        databases={"archive": {}},
        secrets={"TOKEN": {"generate": 20}},
    )
    project = config["projects"]["shop"]
    known = set(django_namespace.known(project, config["host"]))
    other = resolve_project(cache={"engine": "memcached"})["projects"]["shop"]
    known |= set(django_namespace.known(other, config["host"]))
    documented = set(django_manual.REFERENCES)
    same = {
        "databases.ALIAS.url": "databases.archive.url",
        "redis.urlN": "redis.url15",
        "secrets.NAME": "secrets.TOKEN",
        "path.writable.NAME": "path.writable.scripts",
    }
    assert {same.get(name, name) for name in documented} <= known
    rest = known - documented - set(same.values())
    likewise = {"superuser.email", "redis.port", "redis.password", "secrets.SECRET_KEY"}
    assert {name for name in rest if not name.startswith(("databases.", "redis.url"))} == likewise


def test_namespace_builds_urls_and_paths(resolve_project):
    config = resolve_project(
        settings="shop.settings",
        source={"path": "/srv/src", "subdirectory": "web"},
        database={"options": {"sslmode": "require"}},
        broker={"engine": "redis"},
        static={"root": "public"},
    )
    project = config["projects"]["shop"]
    secrets = {"database.default.password": "p/w@", "cache.password": "c:d", "SECRET_KEY": "k"}
    secrets["broker.password"] = "b/c"
    names = django_namespace.namespace(
        project, config["host"], secrets, "r1", "/v", "i1", "/run/s.sock"
    )
    assert names["database.url"] == "postgresql://shop:p%2Fw%40@127.0.0.1:5432/shop?sslmode=require"
    port = project["cache"]["port"]
    assert names["redis.url3"] == f"redis://:c%3Ad@127.0.0.1:{port}/3"
    assert names["cache.url"] == names["redis.url0"]
    assert names["broker.url"] == f"redis://:b%2Fc@127.0.0.1:{project['broker']['port']}/0"
    assert names["path.source"] == "/srv/django/shop/releases/r1/source"
    assert names["path.project"] == "/srv/django/shop/releases/r1/source/web"
    assert names["path.static"] == "/srv/django/shop/releases/r1/source/web/public"
    assert (names["path.venv"], names["instance"], names["socket"]) == ("/v", "i1", "/run/s.sock")
    assert names["secrets.SECRET_KEY"] == "k"


@pytest.mark.parametrize(
    ("root", "path"),
    [
        (None, "/srv/django/shop/releases/r1/static"),
        ("public", "/srv/django/shop/releases/r1/source/public"),
        ("@{path.data}/static", "/srv/django/shop/shared/data/static"),
        ("@{path.venv}/share/static", "/v/share/static"),
    ],
)
def test_static_root_is_where_the_pillar_says(resolve_project, root, path):
    config = resolve_project(static={"root": root} if root else {})
    project = config["projects"]["shop"]
    names = django_namespace.namespace(project, config["host"], {}, "r1", "/v")
    assert names["path.static"] == path


def test_the_whole_environment_can_be_expanded(resolve_project):
    config = resolve_project(
        settings="shop.settings", pythonpath=["src"], env={"J": {"a": "@{url}"}}
    )
    project = config["projects"]["shop"]
    names = django_namespace.namespace(project, config["host"], {}, "r1", "/v", "i1", "/s")
    expanded = {
        key: django_references.expand_text(value, names)
        for key, value in project["environment"].items()
    }
    assert expanded["PYTHONPATH"] == "/srv/django/shop/releases/r1/source/src"
    assert expanded["PATH"].startswith("/v/bin:")
    assert expanded["STATIC_ROOT"] == "/srv/django/shop/releases/r1/static"
    assert json.loads(expanded["J"]) == {"a": "http://10.0.0.11"}
    assert not any("@{" in value for value in expanded.values())


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("secrets.KEY", True),
        ("database.password", True),
        ("databases.archive.url", True),
        ("redis.url7", True),
        ("cache.url", True),
        ("broker.url", True),
        ("broker.password", True),
        ("broker.host", False),
        ("superuser.password", True),
        ("flower.password", True),
        ("url", False),
        ("static.url", False),
        ("database.host", False),
        ("path.data", False),
    ],
)
def test_which_references_hold_a_secret(name, secret):
    assert django_namespace.is_secret(name) is secret


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/5 0-6/2 1,15 jan-mar mon",
        "59 23 31 12 7",
        "0 4 * * 1-5",
        "0 0 29 2 *",
        "0 0 31 2 1",
    ],
)
def test_cron_accepts(schedule):
    assert django_cron.problem(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("60 * * * *", "minute 60 is not between 0 and 59"),
        ("* * 0 * *", "day of the month 0 is not between 1 and 31"),
        ("* * * 13 *", "month 13 is not between 1 and 12"),
        ("* * * foo *", "the month field is not cron syntax"),
        ("5-1 * * * *", "the minute range runs backwards"),
        ("*/0 * * * *", "minute step 0 is not between 1 and 59"),
        ("5/2 * * * *", "the minute step needs a range or * before it"),
        ("*-3 * * * *", "the minute field is not cron syntax"),
        ("@daily", "it has 1 fields, not 5"),
        ("* * * * * root", "it has 6 fields, not 5"),
        ("99999999999999999999 * * * *", "the minute field is not cron syntax"),
        ("0 0 31 2 *", "month 2 has no day 31"),
    ],
)
def test_cron_tells_what_is_wrong(schedule, problem):
    assert django_cron.problem(schedule) == problem


def test_words_become_cron_fields_that_are_valid_and_stay():
    for word in django_cron.WORDS:
        for name in ("shop:clean", "blog:x"):
            fields = django_cron.expand(word, name)
            assert django_cron.problem(fields) is None
            assert fields == django_cron.expand(word, name)
    assert django_cron.expand("daily", "shop:a") != django_cron.expand("daily", "shop:b")
    assert django_cron.expand("1 2 3 4 5", "x") == "1 2 3 4 5"


@pytest.mark.parametrize(
    ("seconds", "fields"),
    [
        (60, "*/1 * * * *"),
        (900, "*/15 * * * *"),
        (3600, "0 */1 * * *"),
        (21600, "0 */6 * * *"),
        (86400, "0 0 * * *"),
        (420, None),
        (90, None),
        (5400, None),
        (172800, None),
    ],
)
def test_intervals(seconds, fields):
    assert django_cron.every(seconds) == fields
