"""What becomes of a release that failed before it could go live: the old one stays as it was."""

import os
import time

import django_health
import django_hold
import django_host_files
import django_layout
import django_step_static
from django_deployment import StepError


def settle(deployment, step, error):
    """
    Put things right after ``step`` (str) failed with ``error`` (StepError). Returns what to tell
    the operator besides (str).

    The old instance gets its files on the host and its static files back. The release is refused
    from now on, and removed, when it is itself to blame: when it says so, and the old one is
    healthy meanwhile, so that neither database nor cache can be the cause.
    """
    try:
        return _settle(deployment, step, error)
    except OSError as failure:
        return f"What served could not be put right: {failure}"


def _settle(deployment, step, error):
    live = deployment.layout.live_instance()
    if live is None or deployment.hold:
        return ""
    try:
        instance = deployment.instance
    except StepError:
        return ""
    if instance == live:
        return ""
    django_host_files.restore(deployment, live)
    django_step_static.restore(deployment, live)
    if not error.blames_release:
        return ""
    if django_health.ask(deployment.layout.instance_socket(live), deployment.health_of(live)):
        return ""
    _refuse(deployment, live, step, str(error))
    if instance:
        django_layout.remove_tree(deployment.layout.instance(instance))
    _remove_release(deployment, live)
    return (
        "The old release serves on. This one is not tried again until the project's pillar or "
        f"source changes, or after: salt-call django.release_allow {deployment.name}"
    )


def _refuse(deployment, live, step, reason):
    entry = {
        **deployment.intent,
        "kind": django_hold.FAILED,
        "release": deployment.release_id,
        "instance": live,
        "step": step,
        "reason": reason,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": os.environ.get("SUDO_USER", "root"),
    }
    kept = django_hold.without(deployment.layout.refusals(), deployment.intent)
    deployment.layout.save_refusals([*kept, entry][-django_hold.KEPT :])


def _remove_release(deployment, live):
    layout, release_id = deployment.layout, deployment.layout.release_of(live)
    wanted = layout.refusals()[-1]["release"]
    known = {release_id, *(layout.release_of(entry["instance"]) for entry in layout.served())}
    if wanted not in known:
        django_layout.remove_tree(layout.release(wanted))
