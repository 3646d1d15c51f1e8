"""Broken pillars: whatever is in one, the resolver answers, tells where, and tells no secret.

The pillars of this repository are given secrets, then broken in seeded ways. Each case is one
broken pillar.
"""

import copy
import datetime
import json
import random
import time

import django_config
import django_schema
import pytest
import yaml
from pillars import ROOT, assert_nothing_to_do

CANARY = "canary-secret-"
FILES = [
    "pillar.example",
    "examples/pillars/one-server.sls",
    "examples/pillars/several-projects.sls",
    "examples/pillars/fleet.sls",
]
CASES = 400
WRONG = [
    None,
    "",
    "a\x00b",
    "line\nbreak",
    "\ud800",
    "🦀" * 300,
    "../../etc/passwd",
    "x; } return 200 'y'; {",
    "@{nothing.there}",
    "@{",
    "'unbalanced",
    -1,
    3.1,
    10**4400,
    float("inf"),
    True,
    b"bytes",
    datetime.date(2024, 2, 29),
    [],
    {},
    [[[[["deep"]]]]],
    [None, {"a": [1]}],
    {"a": {"b": {"c": {"d": None}}}},
    {0: 2, None: 3, True: 4, ("a", 1): 5},
    {"**********": "**********"},
]


def with_secrets(django):
    """A pillar with a canary in every secret place, and in places where one may end by mistake."""
    django = copy.deepcopy(django)
    django["python"] = {
        **django.get("python", {}),
        "index_url": f"https://me:{CANARY}1@packages.example.org/simple/",
        "extra_index_urls": [f"https://me:{CANARY}2@extra.example.org/simple/"],
    }
    for name, project in django["projects"].items():
        secrets = project.setdefault("secrets", {})
        secrets["PLAIN"] = f"{CANARY}3-{name}"
        secrets["mapped"] = {"value": f"{CANARY}4", "export": False}
        database = project.setdefault("database", {"engine": "postgresql"})
        if database.get("engine") != "sqlite":
            database["password"] = f"{CANARY}5"
        project.setdefault("cache", {})["password"] = f"{CANARY}6"
        broker = project.setdefault("broker", {})
        broker.update(engine="redis", password=f"{CANARY}b")
        project.setdefault("superuser", {})["password"] = f"{CANARY}7"
        if "git" in project["source"]:
            project["source"]["deploy_key"] = f"-----BEGIN-----\n{CANARY}8\n"
        project.setdefault("env", {})["FORGOTTEN_TOKEN"] = f"{CANARY}9"
        project.setdefault("files", {})["x.ini"] = {"content": {"s": {"key": f"{CANARY}0"}}}
    return django


def places(value, path=()):
    """Paths of all values in nested data, the outermost left out."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in list(items):
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def look(value, path):
    for key in path:
        value = value[key]
    return value


def put(value, path, item):
    look(value, path[:-1])[path[-1]] = item


def misspell(word, chance):
    if not isinstance(word, str) or len(word) < 2:
        return "x"
    at = chance.randrange(len(word))
    return chance.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + chance.choice("aeiou_-é\n:") + word[at + 1 :],
            word.upper(),
            f"{word}s",
        ]
    )


def broken(seed):
    """One broken pillar: (what was done, the pillar)."""
    chance = random.Random(seed)
    django = with_secrets(yaml.safe_load((ROOT / FILES[seed % len(FILES)]).read_text())["django"])
    done = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        path = chance.choice(list(places(django)))
        parent, key = look(django, path[:-1]), path[-1]
        what = chance.choice(["delete", "wrong", "wrong", "misspell", "swap", "wrap", "kind"])
        if what == "delete":
            del parent[key]
        elif what == "misspell" and isinstance(parent, dict):
            parent[misspell(key, chance)] = parent.pop(key)
        elif what == "swap":
            containers = [p for p in places(django) if isinstance(look(django, p), (dict, list))]
            one, two = chance.sample(containers, 2)
            first, second = copy.deepcopy(look(django, one)), copy.deepcopy(look(django, two))
            put(django, one, second)
            if two[: len(one)] != one:
                put(django, two, first)
        elif what == "wrap":
            parent[key] = chance.choice(
                [[parent[key]], {"value": parent[key]}, [[parent[key]] * 3]]
            )
        elif what == "kind":
            item = parent[key]
            as_text = str(item) if not isinstance(item, (dict, list)) else 5
            parent[key] = list(item) if isinstance(item, dict) else {"0": as_text}
        else:
            parent[key] = chance.choice(WRONG)
        done.append((what, path))
    return done, django


def exists(path, value):
    """Whether the keys of a message's path lead somewhere in data, as far as they go."""
    for part in path:
        if isinstance(value, dict):
            names = {key: item for key, item in value.items() if isinstance(key, str)}
            shown = {django_schema.join_path("", key)[1:]: item for key, item in value.items()}
            if part not in names and part not in shown:
                return False
            value = names[part] if part in names else shown[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return False
    return True


def is_near(message, pillars):
    """Whether the place that a message names is in a pillar, but for its last two keys."""
    place = message.split(": ", 1)[0].split(":")
    return any(
        exists(place[: len(place) - cut], {"django": django})
        for cut in range(min(3, len(place)))
        for django in pillars
    )


@pytest.mark.parametrize("seed", range(CASES))
def test_a_broken_pillar_is_answered(resolve, seed):
    done, django = broken(seed)
    started = time.process_time()
    config = resolve(django)
    assert time.process_time() - started < 1, done
    text = "\n".join([*config["errors"], *config["warnings"]])
    assert CANARY not in text, done
    if "swap" not in {what for what, _ in done}:  # a swap can make a secret a public setting
        assert CANARY not in json.dumps(django_config.public(config), default=str), done
    text.encode()  # a lone surrogate could not be printed
    if config["valid"]:
        assert config["errors"] == []
        assert "django.app.project" in config["tiers"]
        return
    assert config["errors"]
    assert_nothing_to_do(config)
    original = yaml.safe_load((ROOT / FILES[seed % len(FILES)]).read_text())["django"]
    for message in config["errors"]:
        assert message.startswith("django"), (done, message)
        assert len(message) < 700 and "\n" not in message, (done, message)
        assert is_near(message, [django, original]), (done, message)


def test_mutations_break_enough_to_prove_something(resolve):
    invalid = sum(not resolve(broken(seed)[1])["valid"] for seed in range(0, CASES, 4))
    assert invalid > 60


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_any_value_in_place_of_any_key_is_answered(resolve, schema, wrong):
    """Every key of a project in turn: the wrong value is accepted, or told at that very key."""
    base = with_secrets(yaml.safe_load((ROOT / FILES[2]).read_text())["django"])
    for key in schema["keys"]["projects"]["value"]["keys"]:
        django = copy.deepcopy(base)
        django["projects"]["shop"][key] = wrong
        config = resolve(django)
        assert CANARY not in "\n".join(config["errors"])
        if not config["valid"]:
            where = (
                "django:projects:shop",
                "django:projects:intranet",
                "django:projects:inventory",
            )
            assert all(message.startswith(where) for message in config["errors"])


@pytest.mark.parametrize("file", FILES)
def test_pillars_with_secrets_are_valid_before_they_are_broken(resolve, file):
    django = with_secrets(yaml.safe_load((ROOT / file).read_text())["django"])
    errors = resolve(django)["errors"]
    assert errors == []
