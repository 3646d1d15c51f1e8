"""
A balancer of somebody else before the fleet: the list of its backends, and telling it.

One module with ``django.py`` to Salt.
"""

import contextlib

import django_access
import django_drained
import django_lock
import django_outside
import django_schema
import django_targets
import django_told
from django_run import CommandError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def backends(project=None):
    """
    The hosts that a balancer passes requests to, as data by project: ``domains``, ``servers``
    (list of ``{name, address, port, scheme, drained}``) and ``health``: ``host``, ``path`` and
    ``status`` of the question that shows whether a server is well, and ``by_address`` (``port`` and
    ``path``), where a balancer may ask that does not say a host; else None. ``drained`` is true or
    false on a host that keeps the list of those: a balancer, the one that runs the pillar's hook, a
    target itself; else None.

    project : None
        Only this one.

    CLI Example:

    .. code-block:: bash

        salt-call --out=json django.backends
        salt --out=json --static web1 django.backends shop
    """
    config = _access().valid()
    known = config["backends"]
    if project is not None:
        if str(project) not in known:
            hint = django_schema.suggest(project, known) or f"; there are: {', '.join(known)}"
            raise CommandExecutionError(f"The pillar has no project {str(project)!r}{hint}")
        known = {project: known[project]}
    if config["haproxy"]:
        return django_told.listing(known, django_drained.load())
    knows = django_outside.Keeper(config, str).knows() if config["external"] else []
    return django_told.listing(known, django_drained.load(), knows)


def tell_backends(test=False):
    """
    Run the pillar's ``balancer:external:hook`` on the host that is to, if the list of backends is
    not what it was told last.

    CLI Example:

    .. code-block:: bash

        salt-call django.tell_backends test=True
    """
    config = _external()
    external = config["external"]
    with _told():
        if not test:
            django_lock.hold(django_outside.LOCK)
        drained = django_told.keep(external["members"], test)
        changes = django_told.tell(external, config["backends"], drained, test)
    if not external["hook"]:
        comment = "The pillar has no hook."
    elif not external["hook"]["here"]:
        comment = f"{external['hook']['host']} tells the balancer."
    else:
        comment = "The balancer would be told." if test else "The balancer was told."
        comment = comment if changes else "The balancer knows its backends."
    warnings = django_drained.told(drained)
    done = {"changes": changes, "comment": " ".join([comment, *warnings])}
    return {**done, "warnings": warnings} if warnings else done


def register_targets(test=False):
    """
    Let this host be a target of the target groups in the pillar's ``balancer:external:aws``, unless
    it is drained, and let those be none that are no backends any more.

    CLI Example:

    .. code-block:: bash

        salt-call django.register_targets test=True
    """
    config = _targets()
    with _told():
        if not test:
            django_lock.hold(django_outside.LOCK)
        listed = django_drained.load()
        own = config["host"]["name"]
        groups = django_targets.Groups(config, _access().read_file)
        changes, states = groups.settle(own in listed, test)
    warnings = django_drained.told({own: listed[own]} if own in listed else {})
    said = [f"{group} says of {own}: {state}." for group, state in states.items()]
    comment = " ".join([*(said or ["The groups would be told." if changes else ""]), *warnings])
    done = {"changes": changes, "comment": comment.strip() or f"{own} is as it should be."}
    return {**done, "warnings": warnings} if warnings else done


def targets():
    """
    What each of this host's target groups says of its targets (dict of dict): ``healthy``,
    ``unhealthy`` and why, ``draining``; by host, or by id and port where it is none of the map.

    CLI Example:

    .. code-block:: bash

        salt-call django.targets
    """
    config = _targets()
    with _told():
        return django_targets.Groups(config, _access().read_file).look()


def _external():
    """The configuration (dict) of a host behind a balancer of somebody else."""
    config = _access().valid()
    if not config["external"]:
        raise CommandExecutionError("This host's pillar has no django:balancer:external")
    return config


def _targets():
    """The configuration (dict) of a host that is a target."""
    config = _external()
    if not config["external"]["targets"]:
        raise CommandExecutionError(
            "This host is no target: django:balancer:external has no aws, or the host has not the"
            " role web"
        )
    return config


@contextlib.contextmanager
def _told():
    """Turns what fails inside the ``with`` into CommandExecutionError."""
    try:
        yield
    except (
        django_told.TellError,
        django_targets.TargetError,
        django_lock.LockedError,
        CommandError,
    ) as error:
        raise CommandExecutionError(str(error)) from None
    except OSError as error:
        raise CommandExecutionError(str(django_access.as_step_error(error))) from None
