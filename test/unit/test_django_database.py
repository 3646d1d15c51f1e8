"""Which migrations are due before the switch, and which after it."""

import types

import django_database
import pytest
from django_database import AFTER, BEFORE

FIRST, SECOND, LATE, CHILD, OTHER = (
    ["shop", "0001"],
    ["shop", "0002"],
    ["shop", "0003_late"],
    ["shop", "0004_child"],
    ["blog", "0001"],
)
ALL = [FIRST, SECOND, LATE, CHILD, OTHER]


@pytest.fixture
def deployment():
    facts = {"migrations": ALL, "after_switch": [[LATE, CHILD]]}
    record = {"facts": facts, "unused": {"second": [OTHER]}}
    layout = types.SimpleNamespace(instance_record=lambda instance: record)
    return types.SimpleNamespace(instance="i", layout=layout, database=None)


@pytest.mark.parametrize(
    "applied, before, after",
    [
        ([], ALL, []),  # no release uses a new database
        ([FIRST, SECOND], [OTHER], [LATE, CHILD]),
        ([FIRST, SECOND, OTHER], [], [LATE, CHILD]),
        ([FIRST, SECOND, OTHER, LATE], [CHILD], []),  # it holds back nothing any more
        (ALL, [], []),
    ],
)
def test_late_migrations_and_what_depends_on_them(deployment, applied, before, after):
    deployment.database = {"migrations": {"default": applied}}
    assert django_database.pending(deployment, BEFORE) == ({"default": before} if before else {})
    assert django_database.pending(deployment, AFTER) == ({"default": after} if after else {})


def test_first_release_that_was_cut_off_has_no_late_migrations(deployment):
    deployment.layout.instance_record("i")["first_in"] = ["default"]
    deployment.database = {"migrations": {"default": [FIRST, OTHER]}}
    assert django_database.pending(deployment, BEFORE) == {"default": [SECOND, LATE, CHILD]}
    assert django_database.pending(deployment, AFTER) == {}


def test_what_django_never_applies_is_not_pending(deployment):
    deployment.database = {"migrations": {"second": [FIRST, SECOND]}}
    assert django_database.pending(deployment, BEFORE) == {}
    assert django_database.pending(deployment, AFTER) == {"second": [LATE, CHILD]}
