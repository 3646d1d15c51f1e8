"""Which programs belong to a process that operators name."""

import types

import django_operations
import pytest
from django_deployment import StepError

LIVE = "aaaaaaaaaaaa-bbbbbbbbbbbb"
LABELS = ("web", "mail", "mail_out", "jobs_1", "jobs_2")


@pytest.fixture
def deployment():
    record = {"definitions": {label: {"command": [label]} for label in LABELS}}
    layout = types.SimpleNamespace(live_instance=lambda: LIVE, instance_record=lambda name: record)
    return types.SimpleNamespace(name="shop", layout=layout)


@pytest.mark.parametrize(
    "process, labels",
    [("web", ["web"]), ("mail", ["mail"]), ("mail_out", ["mail_out"]), ("jobs", LABELS[3:])],
)
def test_programs_of_a_process(deployment, process, labels):
    found = django_operations.programs_of(deployment, process)
    assert found == {f"shop.{label}.{LIVE}": {"command": [label]} for label in labels}


def test_a_process_that_is_not_there(deployment):
    with pytest.raises(StepError, match="no process 'job'; it runs: jobs_1, jobs_2, mail"):
        django_operations.programs_of(deployment, "job")


def test_no_more_are_scaled_to_than_the_pillar_may_have(schema):
    project = schema["keys"]["projects"]["value"]["keys"]
    assert project["app"]["keys"]["workers"]["max"] == django_operations.MOST_WORKERS
    process = project["processes"]["value"]["keys"]
    assert process["count"]["max"] == django_operations.MOST_PROCESSES
