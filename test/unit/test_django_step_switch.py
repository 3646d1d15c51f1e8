"""The switch to an instance, and what is told of it."""

import types

import django_health
import django_step_switch
import pytest


@pytest.mark.parametrize("waited, done", [(None, []), ("no answer: refused", ["stop", "start"])])
def test_what_only_takes_its_time_after_a_boot_is_not_told_as_restarted(
    deployment, monkeypatch, waited, done
):
    instance, told = deployment.instance, []
    name = f"shop.web.{instance}"
    web = {"command": ["web"], "stopwaitsecs": 1, "stdout_logfile": str(deployment.layout.root)}
    deployment.layout.instance(instance).mkdir()
    deployment.layout.save_instance_record(instance, facts={"a": 1}, definitions={"web": web})
    running = {"running": True, "leaving": False, "state": "RUNNING", "pid": 7}
    deployment.manager = types.SimpleNamespace(
        kind="supervisord",
        programs=lambda: {name: running},
        differs=lambda *_: False,
        comes_back=lambda *_: False,
        stop=lambda *_: told.append("stop"),
        start=lambda *_: told.append("start"),
        activate=lambda *_: None,
    )
    answers = iter(["no answer: refused", waited, *[None] * 2])
    monkeypatch.setattr(django_health, "wait", lambda *_: next(answers))
    monkeypatch.setattr(django_step_switch.django_programs, "claim_log", lambda *_: 0)
    deployment.project["web"]["cache"] = {}
    changes = django_step_switch.go_live(deployment).changes
    assert (told, "restarted" in changes) == (done, bool(done))
