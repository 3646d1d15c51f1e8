"""Management commands as data: with what, and the words of their command line."""

import os

import django_target
import pytest
from django_target import TargetError


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--plan", "shop", 3], ["--plan", "shop", "3"]),
        ([["a", "b"], "c d"], ["a", "b", "c d"]),
        ([{"a": 1}, None, True], ['{"a": 1}', "True"]),
    ],
)
def test_words(arguments, expected):
    assert django_target.words(arguments) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"noinput": True, "clear": False, "link": None}, ["--noinput"]),
        ({"ignore": ["*.scss", "a b"]}, ["--ignore=*.scss", "--ignore=a b"]),
        ({"run_syncdb": True, "verbosity": 0}, ["--run-syncdb", "--verbosity=0"]),
        ({"v": 2, "n": True}, ["-v2", "-n"]),
        ({"name": "--odd"}, ["--name=--odd"]),
        ({"tag": [True, None, "x"], "none": []}, ["--tag", "--tag=x"]),
    ],
)
def test_option_words(options, expected):
    assert django_target.option_words(options) == expected


@pytest.mark.parametrize("value", [{"a": 1}, [["a"]]])
def test_option_that_no_command_line_can_say(value):
    with pytest.raises(TargetError, match="ignore: expected"):
        django_target.option_words({"ignore": value})


def test_keywords_of_salt_are_left_out():
    keywords = {"__pub_fun": "x", "cwd": "/x", "env": None, "verbosity": 2}
    assert django_target.split(keywords) == ({"cwd": "/x"}, {"verbosity": 2})


def test_python_of(tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("python3.12", "django-admin"):
        (folder / name).touch()
    assert django_target.python_of(None) == "/usr/bin/python3"
    assert django_target.python_of(f"{tmp_path}/") == f"{folder}/python"
    assert django_target.python_of(folder / "python3.12") == f"{folder}/python3.12"
    assert django_target.python_of(folder / "django-admin") == f"{folder}/python"
    with pytest.raises(TargetError, match="no absolute path"):
        django_target.python_of("venv")


def test_target_of_settings(tmp_path):
    where = {
        "bin_env": "/opt/venv",
        "pythonpath": ["/opt/shop", "/opt/lib"],
        "env": {"API_TOKEN": "12345", "DEBUG": True, "LEFT_OUT": None, "DB_URL": "x://u:pw12@h"},
        "runas": "nobody",
    }
    target = django_target.of_settings("shop.settings", where)
    assert target.manage == ["/opt/venv/bin/python", "-m", "django"]
    assert (target.user, target.cwd) == ("nobody", "/opt/shop")
    assert target.env["PATH"].startswith("/opt/venv/bin:")
    assert target.env["PYTHONPATH"] == "/opt/shop:/opt/lib"
    assert target.env["DJANGO_SETTINGS_MODULE"] == "shop.settings"
    assert (target.env["DEBUG"], target.env["USER"]) == ("True", "nobody")
    assert "LEFT_OUT" not in target.env
    assert target.redact({"say": ["12345 and pw12"]}) == {"say": ["********** and **********"]}


def test_environment_is_not_that_of_salt(monkeypatch):
    monkeypatch.setenv("SECRET_OF_SALT", "x")
    assert "SECRET_OF_SALT" not in django_target.of_settings("a.b", {}).env
    assert os.environ["SECRET_OF_SALT"] == "x"


@pytest.mark.parametrize(
    ("module", "where", "message"),
    [
        ("shop-settings", {}, "neither a project"),
        ("shop.settings", {"runas": "nobody-of-that-name"}, "does not exist"),
        ("shop.settings", {"env": "A=1"}, "expected a mapping"),
    ],
)
def test_target_that_cannot_be(module, where, message):
    with pytest.raises(TargetError, match=message):
        django_target.of_settings(module, where)


def test_listed():
    assert django_target.listed(None) == []
    assert django_target.listed("a, b c") == ["a", "b", "c"]
    assert django_target.listed(["a b", 3]) == ["a b", "3"]


def test_passwords_in_urls():
    data = {"urls": ["redis://:pw@h:1/0", "https://h/a:b@c", "x://me:a:b@h"]}
    assert django_target.without_passwords(data) == {
        "urls": ["redis://:**********@h:1/0", "https://h/a:b@c", "x://me:**********@h"]
    }
