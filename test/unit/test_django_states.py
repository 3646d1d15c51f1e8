"""What all states of this formula make of what their function says."""

import importlib.util

import django_states
import pytest
from pillars import ROOT
from salt.exceptions import CommandExecutionError


def function(changes, **more):
    return lambda **arguments: {"changes": changes, "comment": f"{arguments}", **more}


@pytest.mark.parametrize(
    ("changes", "test", "result"),
    [({"a": 1}, False, True), ({"a": 1}, True, None), ({}, False, True), ({}, True, True)],
)
def test_result_follows_changes_and_test_mode(changes, test, result):
    found = django_states.apply("it is so", function(changes), test, {"project": "shop"})
    comment = f"{{'test': {test}, 'project': 'shop'}}"
    assert found == {"name": "it is so", "result": result, "changes": changes, "comment": comment}


def test_failure_is_told():
    def fail(**arguments):
        raise CommandExecutionError("no room")

    found = django_states.apply("it is so", fail, False, {})
    assert (found["result"], found["changes"], found["comment"]) == (False, {}, "no room")


def test_warnings_are_shown_though_nothing_changes(monkeypatch):
    """Salt skips a state without changes and counts its warnings; what is logged it shows."""
    logged = []
    monkeypatch.setattr(
        django_states.log, "warning", lambda text, *words: logged.append(text % words)
    )
    found = django_states.apply("it is so", function({}, warnings=["beware"]), False, {})
    assert found["warnings"] == ["beware"]
    assert logged == ["it is so: beware"]


def test_words_are_those_of_the_state():
    @django_states.of_words
    def served(name, project, timeout=None):
        """Somebody is served."""
        return name, project, timeout

    assert served("a", "shop") == ("a", "shop", None)
    assert served(name="a", project="shop", timeout=3, __env__="base") == ("a", "shop", 3)
    assert served.__doc__ == "Somebody is served."
    wrong = served("a", project="shop", tiemout=3)
    assert (wrong["result"], wrong["comment"]) == (False, "tiemout: unknown; did you mean timeout?")


@pytest.mark.parametrize(
    ("follows", "unread", "test", "expected"),
    [
        (["/etc/x.conf"], True, False, "restarted"),
        (["/etc/x.conf"], False, False, "started"),
        (["/etc/x.conf"], False, True, "restarted"),
        ([], False, False, "restarted"),
    ],
)
def test_watching_service_restarts_unless_it_has_started_since(follows, unread, test, expected):
    """As Salt calls it: with all that its state is given, requisites too."""
    spec = importlib.util.spec_from_file_location("states", ROOT / "_states/django_host.py")
    states = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(states)

    def renew(name, reload, follows, test):
        changed = unread or follows is None
        return {"changes": {name: "restarted"} if changed else {}, "comment": ""}

    states.__opts__ = {"test": test}
    states.__salt__ = {"django.renew_service": renew}
    given = {"enable": True, "follows": follows, "watch": [{"file": "/etc/x.conf"}]}
    found = states.mod_watch("x", sfun="service_running", **given)
    assert found["changes"] == {"x": expected}
