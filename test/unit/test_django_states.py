"""What all states of this formula make of what their function says."""

import django_states
import pytest
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
