"""The schema engine: types, defaults, messages; and the schema itself."""

import copy
import datetime

import django_schema
import django_types
import pytest


def errors_of(node, value):
    return django_schema.validate(node, value, "top")[1]


def map_of(**keys):
    return {"type": "map", "keys": keys}


def nodes(node, path=()):
    yield path, node
    for key, below in node.get("keys", {}).items():
        yield from nodes(below, (*path, key))
    for key in ("value", "item", "names"):
        if key in node:
            yield from nodes(node[key], (*path, key))


@pytest.mark.parametrize(
    ("node", "value", "normalised"),
    [
        ({"type": "text"}, "häuser", "häuser"),
        ({"type": "integer", "min": 1}, 3, 3),
        ({"type": "boolean"}, False, False),
        ({"type": "duration"}, "2h", 7200),
        ({"type": "duration"}, 90, 90),
        ({"type": "duration"}, "0s", 0),
        ({"type": "size"}, "100M", 100 * 2**20),
        ({"type": "size"}, "2GiB", 2 * 2**30),
        ({"type": "mode"}, "640", "0640"),
        ({"type": "path", "kind": "absolute"}, "/srv//src/./shop/", "/srv/src/shop"),
        ({"type": "path", "references": True}, "@{path.static}/x.svg", "@{path.static}/x.svg"),
        ({"type": "address"}, "2001:DB8::0:1", "2001:db8::1"),
        ({"type": "network"}, "10.0.0.7/24", "10.0.0.0/24"),
        ({"type": "domain"}, "Shop.Example.org", "shop.example.org"),
        ({"type": "domain"}, ".example.org", ".example.org"),
        ({"type": "host"}, "db.example.net", "db.example.net"),
        ({"type": "port"}, 65535, 65535),
        ({"type": "module"}, "shop.settings", "shop.settings"),
        (
            {"type": "url_path", "full": True},
            "https://cdn.example.org/s/",
            "https://cdn.example.org/s/",
        ),
        ({"type": "command"}, "celery -A 'my shop'", ["celery", "-A", "my shop"]),
        ({"type": "command"}, ["a", ""], ["a", ""]),
        ({"type": "command"}, "celery -A shop\n  worker\n", ["celery", "-A", "shop", "worker"]),
        ({"type": "command", "multiline": True}, ["sh", "-c", "a\nb"], ["sh", "-c", "a\nb"]),
        ({"type": "shell"}, "npm ci && npm run build", "npm ci && npm run build"),
        ({"type": "cron"}, "*/5  * * * mon-fri", "*/5 * * * mon-fri"),
        ({"type": "any"}, {"a": [1, None, {"b": 2.5}]}, {"a": [1, None, {"b": 2.5}]}),
        ({"type": "choice", "choices": ["a", "b"]}, "b", "b"),
    ],
)
def test_types_accept_and_normalise(node, value, normalised):
    assert django_schema.validate(node, value, "top") == (normalised, [])


@pytest.mark.parametrize(
    ("node", "value", "message"),
    [
        ({"type": "text"}, 3.1, "got 3.1 (put it in quotes: YAML reads 3.10 as the number 3.1)"),
        ({"type": "text"}, 16, "got 16 (put it in quotes: YAML reads it as a number)"),
        ({"type": "text"}, True, "got true (YAML reads yes, no, on and off as booleans: put it in"),
        ({"type": "text"}, datetime.date(2024, 1, 2), "got a date or time (put it in quotes"),
        ({"type": "text"}, "a\nb", "a control character or a line break"),
        ({"type": "text"}, "a\ud800", "a control character or a line break"),
        (
            map_of(a={"type": "text"}),
            {"a": None},
            "expected text, got nothing (remove the key to get the default)",
        ),
        ({"type": "boolean"}, "yes", "expected true or false, got 'yes' (write it without quotes)"),
        ({"type": "integer", "min": 1, "max": 9}, "5", "got '5' (write it without quotes)"),
        (
            {"type": "integer", "min": 1, "max": 9},
            10,
            "expected a whole number between 1 and 9, got 10",
        ),
        pytest.param({"type": "integer"}, 10**5000, "got a huge number", id="huge"),
        ({"type": "port"}, 70000, "expected a port between 1 and 65535, got 70000"),
        ({"type": "duration"}, "abc", "expected a duration such as 30s, 15m or 1h, got 'abc'"),
        ({"type": "size"}, 100, "expected a size such as 100M or 2G, got 100 (add the unit"),
        ({"type": "mode"}, 0o644, "expected a file mode in quotes such as '0640', got 420 (put it"),
        ({"type": "path"}, "a/../../etc", "it may not climb out with .."),
        ({"type": "path", "kind": "relative"}, "/etc", "it must not begin with /"),
        (
            {"type": "path", "kind": "absolute"},
            "srv",
            "expected an absolute path, got 'srv' (it must",
        ),
        ({"type": "path"}, "a b; rm", "only letters, digits and"),
        ({"type": "domain"}, "https://shop.org/", "only the name, without http:// and path"),
        ({"type": "domain"}, "shop.org:8000", "only the name, without a port"),
        ({"type": "domain"}, "shop_1.org", "a domain name has no underscore"),
        ({"type": "domain"}, "münchen.de", "xn-- form"),
        ({"type": "domain"}, "a.org; return 200", "expected a domain name"),
        ({"type": "address"}, "10.0.0", "expected an IPv4 or IPv6 address, got '10.0.0'"),
        ({"type": "module"}, "shop/settings.py", "name the module with dots, not its file"),
        ({"type": "command"}, "a 'b", "it cannot be split into words"),
        ({"type": "command"}, ["a", 3], "word 2: put it in quotes"),
        ({"type": "command"}, [], "it is empty"),
        (
            {"type": "command"},
            "a 'b\nuser=root'",
            "word 2: it has a control character or a line br",
        ),
        ({"type": "text"}, "password\n", "it ends with a line break"),
        ({"type": "cron"}, "* * *", "it has 3 fields, not 5"),
        ({"type": "any"}, {"a": {1: 2}}, "a key in it is not text"),
        ({"type": "any"}, float("nan"), "a number in it is not finite"),
        ({"type": "any"}, [10**40], "more than 64 bits"),
        ({"type": "choice", "choices": ["redis", "none"]}, "redi", "(did you mean redis?)"),
        ({"type": "list", "item": {"type": "domain"}}, "a.org", "got 'a.org' (write it as a list"),
        ({"type": "list", "item": {"type": "text"}}, {"a": 1}, "got a map"),
        ({"type": "list", "item": {"type": "text"}, "min": 1}, [], "at least 1 in the list, got 0"),
        ({"type": "list", "item": {"type": "text"}, "unique": True}, ["a", "a"], "got 'a' again"),
        (map_of(a={"type": "text"}), ["x"], "expected a map with the keys a, got a list"),
    ],
)
def test_messages_tell_value_expectation_and_remedy(node, value, message):
    found = errors_of(node, value)
    assert len(found) == 1
    assert found[0].startswith("top")
    assert message in found[0]


def test_all_errors_come_at_once_each_with_its_path():
    node = map_of(
        a={"type": "port"},
        b={"type": "list", "item": map_of(c={"type": "boolean"})},
        d={"type": "named", "value": {"type": "duration"}},
    )
    found = errors_of(node, {"a": "x", "b": [{"c": True}, {"c": 3}, 4], "d": {"n": "soon"}, "e": 1})
    paths = [message.split(": ")[0] for message in found]
    assert sorted(paths) == ["top:a", "top:b:1:c", "top:b:2", "top:d:n", "top:e"]


def test_entries_that_are_wrong_are_not_told_to_be_the_same():
    node = {"type": "list", "item": map_of(a={"type": "port"}), "unique": True}
    found = errors_of(node, [{"a": 0}, {"a": "x"}, {"a": 1}, {"a": 1}])
    paths = [message.split(": ")[0] for message in found]
    assert paths == ["top:0:a", "top:1:a", "top:3"]


def test_what_is_below_a_wrong_name_is_told_too():
    node = {
        "type": "named",
        "names": {"type": "text", "pattern": "[a-z]+", "expects": "a small name"},
        "value": map_of(port={"type": "port"}),
    }
    assert errors_of(node, {"A": {"port": 0}, "b": {"port": 0}, 4: {"port": 0}}) == [
        "top:A: expected a small name, got 'A'",
        "top:A:port: expected a port between 1 and 65535, got 0",
        "top:b:port: expected a port between 1 and 65535, got 0",
        "top:4: expected a small name, got 4 (put it in quotes: YAML reads it as a number)",
        "top:4:port: expected a port between 1 and 65535, got 0",
    ]


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("domain", "did you mean domains?"),
        ("envs", "did you mean env?"),
        ("environment", "did you mean env?"),
        ("workers", "did you mean app:workers?"),
        ("Domains", "did you mean domains?"),
        ("hostnames", "did you mean domains?"),
        ("timeout", "did you mean app:timeout or health:timeout?"),
        ("tymers", "did you mean timers?"),
    ],
)
def test_unknown_key_is_told_with_the_nearest(key, hint):
    node = map_of(
        domains={"type": "list", "item": {"type": "text"}, "known_as": ["hostnames"]},
        env={"type": "any"},
        timers={"type": "any"},
        app=map_of(workers={"type": "integer"}, timeout={"type": "duration"}),
        health=map_of(timeout={"type": "duration"}),
    )
    assert errors_of(node, {key: ["hunter2"]}) == [f"top:{key}: unknown key ({hint})"]


def test_key_of_another_tool_stands_for_the_one_that_has_to_be_there():
    node = {
        **map_of(git={"type": "text", "known_as": ["repo"]}, path={"type": "path"}),
        "exactly_one": [["git", "path"]],
    }
    assert errors_of(node, {"repo": "x"}) == ["top:repo: unknown key (did you mean git?)"]


def test_choice_of_another_name_is_told():
    node = {"type": "choice", "choices": ["mysql", "sqlite"], "synonyms": {"mariadb": "mysql"}}
    told = ["top: expected one of mysql or sqlite, got 'MariaDB' (did you mean mysql?)"]
    assert errors_of(node, "MariaDB") == told


def test_how_a_map_looks_like_is_told():
    node = {
        **map_of(engine={"type": "text"}),
        "example": {"engine": "sqlite", "n": [True, "a b"], "q": "1"},
    }
    hint = "(for instance {engine: sqlite, n: [true, 'a b'], q: '1'})"
    assert errors_of(node, "sqlite") == [
        f"top: expected a map with the keys engine, got text {hint}"
    ]
    assert errors_of({**node, "type": "named"}, ["a"])[0].endswith(hint)


def test_only_a_key_that_may_be_left_out_is_told_to_be():
    node = map_of(
        a={"type": "text", "required": True},
        b={"type": "text"},
        c={"type": "text"},
        n={"type": "port"},
    )
    node["exactly_one"] = [["b", "c"]]
    advice = "(remove the key to get the default)"
    told = errors_of(node, {"a": None, "b": None, "n": None})
    assert [advice in message for message in told] == [False, False, True]
    assert advice not in errors_of({"type": "named", "value": node}, {"shop": None})[0]


def test_misspelt_required_key_is_told_once():
    node = map_of(source={"type": "text", "required": True}, git={"type": "text"})
    assert errors_of(node, {"sourc": "x"}) == ["top:sourc: unknown key (did you mean source?)"]
    assert errors_of(node, {}) == ["top:source: expected text, got nothing"]


@pytest.mark.parametrize("key", [1, None, True, 2.5, ("a", "b")])
def test_keys_that_are_not_text_are_told(key):
    found = errors_of(map_of(a={"type": "text"}), {key: "x"})
    assert len(found) == 1
    assert "expected a key in text" in found[0]


def test_exactly_one():
    node = {**map_of(a={"type": "text"}, b={"type": "text"}), "exactly_one": [["a", "b"]]}
    assert errors_of(node, {"a": "x"}) == []
    assert errors_of(node, {}) == ["top: expected one of the keys a or b, got none"]
    assert errors_of(node, {"a": "x", "b": "y"}) == [
        "top: expected only one of the keys a or b, got a and b"
    ]


def test_shorthand_stands_for_its_key_and_maps_still_work():
    node = {**map_of(file={"type": "path"}, n={"type": "port", "default": 80}), "shorthand": "file"}
    assert django_schema.validate(node, "manage.py", "t") == ({"file": "manage.py", "n": 80}, [])
    assert errors_of(node, ["a"]) == ["top: expected a map with the keys file and n, got a list"]


def test_absent_keys_get_defaults_or_empty_containers():
    node = map_of(
        wait={"type": "duration", "default": "1m"},
        name={"type": "text"},
        items={"type": "list", "item": {"type": "text"}},
        more={"type": "named", "value": {"type": "text"}},
        deep=map_of(size={"type": "size", "default": "1M"}),
        tls={**map_of(key={"type": "path", "required": True}), "optional": True},
    )
    expected = {
        "wait": 60,
        "name": None,
        "items": [],
        "more": {},
        "deep": {"size": 2**20},
        "tls": None,
    }
    assert django_schema.validate(node, {}, "top") == (expected, [])


@pytest.mark.parametrize("value", ["hunter2", 12345678, True, ["hunter2"], {"a": "hunter2"}])
def test_values_of_secret_and_quiet_keys_are_never_told(value):
    for mark in ("secret", "quiet"):
        for node in (
            {"type": "port", mark: True},
            {"type": "named", mark: True, "value": map_of(v={"type": "duration"})},
            {"type": "list", mark: True, "item": {"type": "url"}},
        ):
            text = "\n".join(errors_of(node, value))
            assert text
            assert "hunter2" not in text and "12345678" not in text


def test_values_of_unknown_keys_and_text_for_maps_are_never_told():
    node = map_of(a=map_of(b={"type": "text"}))
    text = "\n".join(errors_of(node, {"passwort": "hunter2", "a": "hunter2"}))
    assert "top:passwort: unknown key" in text
    assert "top:a: expected a map with the keys b, got text" in text
    assert "hunter2" not in text


def test_credentials_in_urls_are_masked():
    found = errors_of({"type": "domain"}, "https://me:hunter2@example.org/")
    assert "hunter2" not in found[0]
    assert django_schema.MASK in found[0]


def test_input_is_not_changed():
    node = map_of(a={"type": "list", "item": {"type": "duration"}}, b={"type": "any"})
    value = {"a": ["1m"], "b": {"c": [1]}}
    before = copy.deepcopy(value)
    result, _ = django_schema.validate(node, value, "top")
    result["b"]["c"].append(2)
    assert value == before


def test_deep_and_circular_data_do_not_raise():
    deep = circular = []
    for _ in range(5000):
        deep = [deep]
    circular.append(circular)
    for value in (deep, circular):
        assert "nested deeper" in errors_of({"type": "any"}, value)[0]


# ---- the schema itself ----


def test_every_key_is_described_with_a_known_type_and_an_example(schema):
    for path, node in nodes(schema):
        kind = node["type"]
        assert kind in {"map", "named", "list"} or kind in django_types.TYPES, path
        if not path or path[-1] in ("value", "item", "names"):
            continue
        assert node["meaning"].rstrip().endswith("."), path
        containers = kind in ("map", "named")
        assert containers or "example" in node, path


def test_defaults_and_examples_fit_their_own_keys(schema):
    for path, node in nodes(schema):
        for what in ("default", "example"):
            if node.get(what) is None:
                continue
            if what == "example" and node["type"] == "map":
                continue
            _, found = django_schema.validate(node, node[what], ":".join(path))
            assert found == [], (path, what)


def test_secret_keys_are_exactly_these(schema):
    found = {":".join(path) for path in django_schema.secret_paths(schema)}
    project = "projects:*"
    assert found == {
        "backup:password",
        "backup:s3:secret_key",
        "backup:ssh:private_key",
        "haproxy:statistics:password",
        "balancer:external:aws:secret_key",
        "python:index_url",
        "python:extra_index_urls",
        "pull:pillar:deploy_key",
        "pull:formula:deploy_key",
        "postgresql:replication:password",
        f"{project}:source:deploy_key",
        f"{project}:secrets",
        f"{project}:database:password",
        f"{project}:databases:*:password",
        f"{project}:cache:password",
        f"{project}:broker:password",
        f"{project}:superuser:password",
        f"{project}:static:cdn:secret_key",
        f"{project}:media:s3:secret_key",
    }


def test_patterns_that_reach_configuration_files_let_nothing_through(schema):
    """Scalar keys but text for people, environments and contents refuse what could break out."""
    free = {"any", "command", "shell", "boolean", "integer", "duration", "size", "choice", "port"}
    # files, requirements and secrets are never put into another syntax without quoting
    allowed = {"deploy_key", "known_hosts", "packages", "constraints", "options", "password"}
    allowed |= {"fields", "private_key"}
    checked = 0
    for path, node in nodes(schema):
        if node["type"] in free | {"map", "named", "list"}:
            continue
        if allowed.intersection(path[-2:]) or path[-3:] == ("secrets", "value", "value"):
            continue
        if path[-2:] == ("headers", "value"):  # stands in double quotes
            assert errors_of(node, "a; b 'c'") == []
            assert all(errors_of(node, f"a{bad}") for bad in '"\\{}$\n')
            continue
        checked += 1
        for value in ("a;b", 'a"b', "a{b", "a}b", "a\nb", "a\x00b", "a'b", "a`b", "a\\b"):
            assert errors_of(node, value), (path, value)
            assert errors_of(node, f"/{value}"), (path, value)
    assert checked > 80
