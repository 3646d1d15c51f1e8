"""Environment files and rendered files are read back as what they were made of."""

import configparser
import json
import os
import shutil
import subprocess

import django_environment
import pytest
import tomllib
import yaml
from hypothesis import given
from hypothesis import strategies as st

AWKWARD = {
    "SPACES": "two words  and more ",
    "DOLLAR": "$HOME ${PATH} $(id) `id`",
    "PERCENT": "100%s %(name)s",
    "QUOTES": """it's "quoted" \\ back\\slash""",
    "JSON": '{"a": [1, "b"], "c": "d\'e"}',
    "LINES": "first\nsecond\n",
    "HASH": "a # b; c & d | e > f * ? ~",
    "EMPTY": "",
    "UNICODE": "grüße → 日本",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)


def read_by_shell(path, shell="sh"):
    """The variables of a process that a shell starts after reading a file."""
    script = 'set -a; . "$1"; exec env -0'
    done = subprocess.run(
        [shutil.which(shell), "-c", script, shell, str(path)],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        check=True,
    )
    pairs = (entry.partition("=") for entry in done.stdout.decode().split("\0") if entry)
    return {name: value for name, _, value in pairs}


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_shell_reads_every_value_unchanged(tmp_path, shell):
    path = tmp_path / "environment"
    path.write_text(django_environment.shell_file(AWKWARD))
    found = read_by_shell(path, shell)
    assert {name: found[name] for name in AWKWARD} == AWKWARD


@given(st.dictionaries(st.from_regex(r"X[A-Z_]{1,8}", fullmatch=True), TEXTS, max_size=4))
def test_own_reader_reads_every_value_unchanged(environment):
    text = django_environment.shell_file(environment)
    assert django_environment.parse_shell_file(text) == environment


def test_shell_file_is_sorted_so_that_equal_content_is_equal_text():
    assert django_environment.shell_file({"B": "2", "A": "1 1"}) == "A='1 1'\nB=2\n"


def test_variables_expands_references_and_leaves_out_null():
    environment = {"URL": "postgres://@{database.user}@@{x}", "GONE": None, "N": "@{host.cores}"}
    names = {"database.user": "shop", "host.cores": 4}
    found = django_environment.variables(environment, names)
    assert found == {"URL": "postgres://shop@{x}", "N": "4"}


DATA = {
    "debug": False,
    "workers": 3,
    "ratio": 0.5,
    "hosts": ["a.example.org", "b.example.org"],
    "name": 'Grüße "x" \\ %s\n$HOME',
    "empty": {},
    "caches": {"default": {"url": "redis://:p@h/0", "ttl": 60}, "other key": {"x": True}},
}


def test_json_and_yaml_round_trip():
    assert json.loads(django_environment.serialise(DATA, "json")) == DATA
    assert yaml.safe_load(django_environment.serialise(DATA, "yaml")) == DATA


def test_toml_round_trip():
    assert tomllib.loads(django_environment.serialise(DATA, "toml")) == DATA


def test_toml_with_tables_inside_lists():
    data = {"servers": [{"host": "a", "ports": [1, 2]}, {"host": "b"}], "x": {"y": {"z": 1}}}
    assert tomllib.loads(django_environment.serialise(data, "toml")) == data


def test_toml_has_no_null():
    with pytest.raises(ValueError, match="null"):
        django_environment.serialise({"a": None}, "toml")


@given(st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_toml_takes_any_text(data):
    assert tomllib.loads(django_environment.serialise(data, "toml")) == data


def test_python_is_imported_as_the_same_values():
    data = {**DATA, "nothing": None}
    found = {}
    exec(compile(django_environment.serialise(data, "python"), "local.py", "exec"), found)
    assert {name: found[name] for name in data} == data


def test_python_refuses_what_is_no_name():
    with pytest.raises(ValueError, match="no Python name"):
        django_environment.serialise({"a b": 1}, "python")
    with pytest.raises(ValueError, match="no Python name"):
        django_environment.serialise({"import os; X": 1}, "python")


def test_ini_is_read_by_configparser():
    content = {
        "database": {"Name": "shop", "password": "50%off;#x", "port": 5432, "ssl": True},
        "mail": {"hosts": ["a", "b"], "lines": "one\ntwo"},
    }
    parser = configparser.ConfigParser()
    parser.optionxform = str
    parser.read_string(django_environment.serialise(content, "ini"))
    assert dict(parser["database"]) == {
        "Name": "shop",
        "password": "50%off;#x",
        "port": "5432",
        "ssl": "true",
    }
    assert parser["mail"]["hosts"] == "a,b"
    assert parser["mail"]["lines"] == "one\ntwo"


def test_env_is_read_by_shell(tmp_path):
    path = tmp_path / ".env"
    path.write_text(django_environment.serialise({"A": "x y", "B": True, "C": ["a", "b"]}, "env"))
    found = read_by_shell(path)
    assert (found["A"], found["B"], found["C"]) == ("x y", "true", "a,b")


def test_text_is_taken_as_it_is_and_ends_with_a_line_end():
    assert django_environment.serialise("x = 1", "python") == "x = 1\n"
    assert django_environment.serialise("a\n", "text") == "a\n"


@pytest.mark.parametrize("kind", ["env", "ini", "toml", "python", "text"])
def test_a_list_is_refused_where_names_are_needed(kind):
    with pytest.raises(ValueError, match="needs"):
        django_environment.serialise(["a"], kind)


def test_ini_needs_sections():
    with pytest.raises(ValueError, match="section"):
        django_environment.serialise({"a": 1}, "ini")
