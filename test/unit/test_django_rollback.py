"""Which release is meant by the first characters of its id, and whether it can be reached."""

import types

import django_layout
import django_rollback
import pytest
import yaml


@pytest.mark.parametrize("start", ["4f2a", "610806", "012345", "089", "0", "610806123456"])
def test_what_salt_makes_of_a_command_line_is_understood(start):
    """Its words are read as YAML: digits become a number, octal with a zero before them."""
    name = f"{start:f<12}-a358dfcfaa31"
    assert django_layout.begins_with(name, yaml.safe_load(start))
    assert not django_layout.begins_with("7" + name[1:], yaml.safe_load(start))


@pytest.mark.parametrize(
    ("front", "server", "live", "possible"),
    [
        ("nginx", "gunicorn", "http", {"http", "uwsgi", "mod_wsgi"}),
        ("apache", "embedded", "embedded", {"embedded"}),
        ("apache", "embedded", "http", {"http"}),
        ("nginx", "gunicorn", "embedded", {"embedded"}),
        ("apache", "gunicorn", "http", {"http"}),
        ("apache", "uwsgi", "http", {"http"}),
        ("apache", "mod_wsgi", "mod_wsgi", {"http", "mod_wsgi"}),
        ("apache", "mod_wsgi", "http", {"http", "mod_wsgi"}),
        ("apache", "gunicorn", "mod_wsgi", {"http", "mod_wsgi"}),
        ("apache", "gunicorn", "uwsgi", {"uwsgi"}),
    ],
)
def test_a_front_door_must_be_able_to_reach_it(front, server, live, possible):
    pillar = {"uwsgi": "uwsgi", "mod_wsgi": "mod_wsgi", "embedded": "embedded"}.get(server, "http")
    deployment = types.SimpleNamespace(
        project={"web": {"server": front}},
        layout=types.SimpleNamespace(live_instance=lambda: "live"),
        protocol=lambda instance: live if instance else pillar,
    )
    found = {
        protocol
        for protocol in ("http", "uwsgi", "mod_wsgi", "embedded")
        if django_rollback._is_spoken_with(deployment, protocol)
    }
    assert found == possible
