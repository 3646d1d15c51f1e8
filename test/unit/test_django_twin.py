"""An instance that is like another one, whose programs still finish their work."""

import json

import django_twin
import pytest
from django_deployment import Deployment
from django_step_build import configure

OLD = "4f2a9c1e7d20-a358dfcfaa31"


@pytest.fixture
def served(deployment):
    """A deployment with an instance that has served, and its programs as ``found``."""
    deployment.found = {}
    deployment.manager.programs = lambda: deployment.found
    folder = deployment.layout.instance(OLD)
    (folder / "files").mkdir(parents=True)
    (folder / "environment").write_text(f"INSTANCE='{OLD}'\n")
    (folder / "environment").chmod(0o400)
    (folder / "files/0123").write_text(f"socket = /run/web-{OLD}.sock\n")
    web = {"command": ["gunicorn", f"--bind=unix:/run/web-{OLD}.sock"]}
    deployment.layout.save_instance_record(
        OLD, definitions={"web": web}, facts={"migrations": []}, likeness="l", served=True
    )
    return deployment


def program(leaving, pid, instance=OLD):
    return {f"shop.web.{instance}": {"leaving": leaving, "pid": pid}}


@pytest.mark.parametrize(
    ("found", "needed"),
    [
        ({}, False),
        (program(leaving=True, pid=7), True),
        (program(leaving=True, pid=0), False),
        (program(leaving=False, pid=7), False),
        (program(leaving=True, pid=7, instance="4f2a9c1e7d20-b00000000000"), False),
    ],
)
def test_programs_at_work_need_one(served, found, needed):
    served.found = found
    assert django_twin.is_needed(served, OLD) == needed


def test_what_is_inside_apache_needs_none(served):
    served.found = program(leaving=True, pid=7)
    served.layout.save_instance_record(OLD, definitions={"web": {"embedded": {}}})
    assert not django_twin.is_needed(served, OLD)


def test_twin_has_all_of_it_by_its_own_name(served):
    twin = django_twin.make(served, OLD)
    assert twin != OLD and twin.startswith("4f2a9c1e7d20-") and len(twin) == len(OLD)
    folder = served.layout.instance(twin)
    assert (folder / "environment").read_text() == f"INSTANCE='{twin}'\n"
    assert (folder / "environment").stat().st_mode & 0o777 == 0o400
    assert (folder / "files/0123").read_text() == f"socket = /run/web-{twin}.sock\n"
    record = served.layout.instance_record(twin)
    assert OLD not in json.dumps(record) and "served" not in record
    assert (record["facts"], record["likeness"]) == ({"migrations": []}, "l")
    assert served.layout.instance_record(OLD)["served"], "the other one is as it was"
    assert django_twin.make(served, OLD) != twin


@pytest.mark.needs_root
def test_instance_that_is_put_back_by_the_source_is_left_to_its_programs(deployment):
    """Another one like it serves while they finish their work."""
    configure(deployment)
    old, likeness = deployment.instance, deployment.likeness
    deployment.manager.programs = lambda: program(leaving=True, pid=7, instance=old)
    deployment.layout.live.symlink_to(f"instances/{OLD}")
    deployment.test = True
    predicted = configure(deployment).changes["instance"]
    assert predicted not in (None, old) and not deployment.layout.restarts.exists()
    run = Deployment(
        deployment.project, deployment.host, deployment.secrets, deployment.manager, str
    )
    assert configure(run).changes["instance"] == predicted == run.instance
    assert deployment.layout.instance_record(predicted)["likeness"] == likeness
    assert configure(run).changes == {}, "it has nothing that is still at work"


@pytest.mark.needs_root
def test_instance_that_serves_keeps_its_name(deployment):
    """Whatever an operator has told of its programs to end."""
    configure(deployment)
    serving = deployment.instance
    deployment.manager.programs = lambda: program(leaving=True, pid=7, instance=serving)
    deployment.layout.live.symlink_to(f"instances/{serving}")
    assert configure(deployment).changes == {} and deployment.instance == serving
