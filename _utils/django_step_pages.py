"""
The step after the switch that lets the cache in front forget the pages of older instances.

The switch itself does so twice, so that no old page is shown beside new files: right after it, and
when the old process has ended, since what that was still answering would be kept. This step does it
once more and notes it. What could not be done is told here, and tried again by the next run.
"""

import django_layout
import django_varnish
from django_deployment import Outcome, StepError
from django_run import CommandError


def purge(deployment):
    """The cache in front of the project has pages of the instance that is to run, and no others."""
    if not is_cached(deployment):
        return Outcome({}, "No cache is in front.")
    instance = deployment.target
    kept = django_layout.read_json(deployment.layout.pages).get("instance")
    if instance is not None and kept == instance:
        return Outcome({}, f"Pages that are kept are of instance {instance}.")
    changes = {"pages": {"old": kept, "new": instance or "the new release"}}
    if deployment.test:
        return Outcome(changes, "The pages of other instances would be forgotten.")
    try:
        if django_varnish.is_running(deployment.name, deployment.host["init"]):
            django_varnish.forget(deployment.name)
    except CommandError as error:
        raise StepError(
            f"{error}\nThe release is live, but Varnish may show pages of an older one. The next"
            f" run tries again, as does: salt-call django.purge {deployment.name}"
        ) from None
    django_layout.write_json(deployment.layout.pages, {"instance": instance})
    return Outcome(changes, f"Pages that are kept are of instance {instance} now.")


def is_cached(deployment):
    """Whether a cache is in front of the project on this host."""
    return bool(deployment.project["web"]["cache"])


def forget(deployment):
    """Let the cache forget all pages, if it runs; what fails is left to :func:`purge`."""
    if not is_cached(deployment):
        return
    try:
        if django_varnish.is_running(deployment.name, deployment.host["init"]):
            django_varnish.forget(deployment.name)
    except CommandError:
        pass
