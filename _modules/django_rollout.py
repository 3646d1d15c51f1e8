"""
What a master asks of a server that takes part in a release over several servers.

One module with ``django.py`` to Salt.
"""

import contextlib

import django_access
import django_fleet_server
import django_host_files
import django_layout
import django_rollback
from django_deployment import StepError
from django_run import CommandError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def rollout(project):
    """
    What this host says before a release of a project over several servers: ``{valid, errors,
    hosts, projects, static, release, instance, since, named, held, outside}``: what is wrong with
    its pillar (list of str), the servers of its map with their roles, its projects, those whose
    static files have domains of their own, what serves since when, by what the pillar names the
    release (list of str), why that is not to go live (str), or None, and by whom a balancer of
    somebody else is told of its backends: ``{tells, targets}``.

    CLI Example:

    .. code-block:: bash

        salt '*' django.rollout shop
    """
    access = _access()
    access.forget()  # the source is asked for its revision again
    public = access.public()
    answer = {
        "valid": public["valid"],
        "errors": public["errors"],
        **django_fleet_server.declared(__pillar__),
        **dict.fromkeys(("release", "instance", "since", "held")),
        "named": [],
        "outside": django_fleet_server.outside(public["external"]),
    }
    if project not in public["released"]:
        return answer
    with _told(access, project) as deployment:
        answer.update(django_fleet_server.standing(deployment))
    return answer


def stand_by(project):
    """
    Let what serves keep its own files on this host while a release that was prepared waits for its
    switch. Returns ``{release, named_by, target, instance, finish}``: the release and the instance
    that are to go live, a digest of the key that releases are named by, the instance that serves,
    and the states (IDs) that are left to do after the switch.

    CLI Example:

    .. code-block:: bash

        salt web1 django.stand_by shop
    """
    access = _access()
    access.forget()
    access.lock(project)
    with _told(access, project) as deployment:
        live, target = deployment.layout.live_instance(), deployment.target
        if target is None:
            raise StepError("The release that the pillar means is not built: state.apply says why")
        if live and live != target:
            django_host_files.restore(deployment, live)
        return {
            "release": deployment.layout.release_of(target),
            "named_by": django_layout.digest("names", deployment.key),
            "target": target,
            "instance": live,
            "finish": django_fleet_server.finish(access.public(), project),
        }


def release_hold(project):
    """
    Hold to the release that serves on this host: the one that the pillar means is not activated,
    until the project's pillar or source changes or :func:`release_allow` is called.

    Returns a sentence about what is held to (str).

    CLI Example:

    .. code-block:: bash

        salt web1 django.release_hold shop
    """
    access = _access()
    access.forget()
    access.lock(project)
    with _told(access, project) as deployment:
        return django_rollback.stay(deployment)


@contextlib.contextmanager
def _told(access, project):
    """The project's deployment; what fails inside the ``with`` is a CommandExecutionError."""
    deployment = access.deployment(project)
    try:
        yield deployment
    except (StepError, CommandError, OSError) as error:
        told = django_access.as_step_error(error)
        raise CommandExecutionError(deployment.redact(str(told))) from None
