"""Which intents are refused, and what operators are told."""

import django_hold
import pytest

FAILED = {
    "pillar": "p1",
    "revision": "r1",
    "kind": "failed",
    "release": "aaaaaaaaaaaa",
    "instance": "bbbbbbbbbbbb-000000000000",
    "step": "check",
    "reason": "no cheese",
    "time": "2026-01-01T00:00:00Z",
    "by": "root",
}
ROLLED_BACK = {**FAILED, "kind": "rolled back", "revision": "r2", "left": ["x"]}


@pytest.mark.parametrize(
    "pillar, revision, found",
    [
        ("p1", "r1", FAILED),
        ("p1", "r2", ROLLED_BACK),
        ("p1", "r3", None),
        ("p2", "r1", None),
        ("p1", "", ROLLED_BACK),  # the source cannot be asked: the newest of that pillar
        ("p2", "", None),
    ],
)
def test_a_change_of_pillar_or_source_lifts_a_refusal(pillar, revision, found):
    intent = {"pillar": pillar, "revision": revision}
    assert django_hold.find([FAILED, ROLLED_BACK], intent) == found


def test_a_refusal_takes_the_place_of_an_earlier_one_of_the_same_intent():
    kept = django_hold.without([FAILED, ROLLED_BACK], {"pillar": "p1", "revision": "r1"})
    assert kept == [ROLLED_BACK]


def test_operators_are_told_what_failed_and_what_to_do():
    text = django_hold.sentence(FAILED)
    for word in ("aaaaaaaaaaaa", "bbbbbbbbbbbb is held to", "check", "no cheese", "release_allow"):
        assert word in text
    text = django_hold.sentence(ROLLED_BACK)
    for word in ("Rolled back from release aaaaaaaaaaaa", "by root", "release_allow"):
        assert word in text
