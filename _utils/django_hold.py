"""
Releases that are not to go live although the pillar means them: they failed, or an operator went
back from one.

A refusal is of an *intent*, the project's part of the pillar and the revision of its source, so a
change of either lifts it; ``django.release_allow`` does so too. A list of refusals is kept on each
host, the newest last:

``pillar``, ``revision``
    The intent that is refused.
``kind``
    ``failed`` or ``rolled back``.
``release``, ``instance``
    The release that is refused, and the instance that runs in its place.
``step``, ``reason``
    What failed and how (str, no secrets); of a failure only.
``left``
    Instances that operators went back from; of a rollback only.
``time``, ``by``
    When (UTC) and by whose doing.
"""

FAILED = "failed"
ROLLED_BACK = "rolled back"
KEPT = 20  # refusals


def find(refusals, intent):
    """
    The newest refusal (dict) of an intent, or None. Where the source cannot be asked for its
    revision (empty), the pillar alone decides.
    """
    for entry in reversed(refusals):
        if entry["pillar"] == intent["pillar"] and intent["revision"] in ("", entry["revision"]):
            return entry
    return None


def without(refusals, intent):
    """The refusals (list) that are of another intent."""
    return [entry for entry in refusals if find([entry], intent) is None]


def sentence(refusal):
    """What an operator needs to know of a refusal (str)."""
    held = f"release {refusal['instance'].split('-')[0]} is held to"
    if refusal["kind"] == ROLLED_BACK:
        return (
            f"Rolled back from release {refusal['release']} at {refusal['time']} by "
            f"{refusal['by']}; {held} until the project's pillar or source changes or "
            "django.release_allow is called."
        )
    return (
        f"Release {refusal['release']} failed at {refusal['time']} ({refusal['step']}); {held}. "
        "It is not tried again until the project's pillar or source changes or "
        f"django.release_allow is called. It failed with: {refusal['reason']}"
    )
