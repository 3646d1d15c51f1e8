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


def test_what_serves_is_held_to(deployment):
    """On a server that has not got the release that others go back from."""
    deployment.layout.instance("000-1").mkdir()
    deployment.layout.live.symlink_to("instances/000-1")
    deployment.layout.save_instance_record("000-1", facts={})
    assert deployment.hold is None
    said = django_rollback.stay(deployment)
    (refusal,) = deployment.layout.refusals()
    assert (refusal["release"], refusal["instance"]) == (deployment.release_id, "000-1")
    assert deployment.hold and deployment.target == "000-1" and "release 000 is held to" in said
    assert django_rollback.stay(deployment) == said and len(deployment.layout.refusals()) == 1


def test_nothing_is_held_back_where_the_pillar_s_release_serves(deployment):
    deployment.layout.instance(deployment.instance).mkdir()
    deployment.layout.live.symlink_to(f"instances/{deployment.instance}")
    assert "which serves" in django_rollback.stay(deployment)
    assert deployment.layout.refusals() == []
