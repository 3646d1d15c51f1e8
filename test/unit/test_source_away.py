"""Going back and starting anew while the source of a project does not answer, or has moved on."""

import types

import django_operations
import django_rollback
import django_source
import django_step_prune
import django_step_switch
import pytest
from django_deployment import Outcome, StepError
from django_step_build import configure
from releases import FIRST, SECOND, THIRD, served


@pytest.fixture
def away(deployment, monkeypatch):
    """The deployment whose second release serves, and whose source is not reached any more."""
    served(deployment, FIRST, SECOND)
    layout = deployment.layout
    layout.current.symlink_to(f"releases/{SECOND[:12]}")
    layout.save_record(SECOND[:12], revision="two")
    layout.static.mkdir()
    deployment.asked = []

    def revision(*_):
        deployment.asked.append(1)
        raise django_source.SourceError("cannot reach the git repository")

    monkeypatch.setattr(django_source, "revision", revision)
    monkeypatch.setattr(deployment, "_revision", None)
    deployment.manager.programs = dict
    return deployment


def test_a_source_that_does_not_answer_is_asked_once(away):
    for _ in range(3):
        with pytest.raises(StepError, match="cannot reach the git repository"):
            assert away.revision
        assert away.intent["revision"] == ""
    assert len(away.asked) == 1


def test_going_back_needs_no_source(away, monkeypatch):
    monkeypatch.setattr(django_step_switch, "go_live", lambda _: Outcome({}, ""))
    for name in ("processes.run_processes", "verify.verify"):
        monkeypatch.setattr(f"django_step_{name}", lambda _: Outcome({}, ""))
    django_rollback.go_back(away, FIRST, {})
    assert away.target == FIRST
    assert away.hold["revision"] == "two", "what served, as long as nothing else is known"


def test_nothing_is_pruned_that_serves_while_the_source_is_away(away):
    away.project["release"]["keep"] = 1
    assert SECOND[:12] not in django_step_prune.prune(away).changes["releases"]
    assert away.layout.release(SECOND[:12]).is_dir()


def test_what_serves_is_started_anew_whatever_the_source_has_got_since(deployment, monkeypatch):
    layout, live = deployment.layout, deployment.release_id
    layout.current.symlink_to(f"releases/{live}")
    layout.save_record(live, revision=deployment.revision)
    monkeypatch.setattr(django_source, "revision", lambda *_: "another")
    deployment._revision = None
    assert deployment.release_id != live
    django_operations.keep_release(deployment)
    assert deployment.release_id == live


def test_another_release_of_the_pillar_is_not_started_by_the_way(deployment):
    deployment.layout.current.symlink_to(f"releases/{deployment.release_id}")
    deployment.layout.save_record(deployment.release_id, revision=deployment.revision)
    deployment.project["build"] = [{"command": "make"}]
    with pytest.raises(StepError, match="means another release.*Nothing was restarted"):
        django_operations.keep_release(deployment)


def test_several_releases_may_begin_alike(deployment):
    alike = f"ab{'c' * 10}-{'d' * 12}"
    served(deployment, FIRST, f"aa{FIRST[2:10]}bb-{'e' * 12}", alike, THIRD)
    with pytest.raises(StepError, match="^a may be any of aa.*, aa.*, ab.*; write more of it"):
        django_rollback.choose(deployment, "a")
    assert django_rollback.choose(deployment, "ab") == alike


def test_a_restart_is_nothing_to_go_back_to(deployment):
    """Neither from the restarted one, nor a second time."""
    bad, again = f"{SECOND[:12]}-{'1' * 12}", f"{SECOND[:12]}-{'2' * 12}"
    served(deployment, FIRST, SECOND, bad, again)
    for name in (bad, again):
        deployment.layout.save_instance_record(name, likeness="3" * 12)
    assert django_rollback.choose(deployment) == SECOND, "the same code, configured differently"
    deployment.layout.save_instance_record(SECOND, likeness="3" * 12)
    assert django_rollback.choose(deployment) == FIRST
    assert django_rollback.choose(deployment, SECOND[:12]) == bad, "where that is asked for"
    served(deployment, THIRD, FIRST, bad, again, FIRST)
    for name in (bad, again):
        deployment.layout.save_instance_record(name, likeness="3" * 12)
    deployment.layout.save_refusals([{"release": again[:12], "left": [again]}])
    assert django_rollback.choose(deployment) == THIRD


@pytest.mark.needs_root
def test_a_restart_is_another_instance_of_the_same_likeness(deployment):
    configure(deployment)
    before, likeness = deployment.instance, deployment.likeness
    deployment.next_generation()
    assert deployment.instance != before
    assert deployment.likeness == likeness
    assert deployment.layout.instance_record(before)["likeness"] == likeness
    deployment.project["environment"]["A"] = "1"
    assert deployment.likeness != likeness


def scaled(command):
    record = {"definitions": {"web": {"command": command}}}
    layout = types.SimpleNamespace(live_instance=lambda: FIRST, instance_record=lambda _: record)
    return types.SimpleNamespace(
        name="shop", layout=layout, project={"app": {"server": "gunicorn"}}
    )


def test_only_gunicorn_gets_the_signals_of_gunicorn():
    """What serves may be of a time when the pillar had another server: it would be stopped."""
    with pytest.raises(StepError, match="only Gunicorn"):
        django_operations.scale_web(scaled(["/venv/bin/uwsgi"]), 3)


def test_a_slip_of_a_key_starts_no_thousand_processes():
    deployment = scaled(["/venv/bin/gunicorn"])
    with pytest.raises(StepError, match="count: expected at most 1024, got 66666"):
        django_operations.scale_web(deployment, 66666)
    deployment.project["processes"] = {}
    with pytest.raises(StepError, match="count: expected at most 256, got 66666"):
        django_operations.scale_process(deployment, "jobs", 66666)
