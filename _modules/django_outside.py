"""
A balancer of somebody else before the fleet: the list of its backends, and telling it.

One module with ``django.py`` to Salt.
"""

import contextlib

import django_access
import django_drained
import django_lock
import django_schema
import django_told
from django_run import CommandError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"

LOCK = "backends"


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
    return django_told.listing(known, _drained(config))


def _drained(config):
    """Names (list) of the drained hosts, None on a host that does not know."""
    here = config["external"].get("hook", {}).get("here")
    return list(django_drained.load()) if here or config["haproxy"] else None


def tell_backends(test=False):
    """
    Run the pillar's ``balancer:external:hook`` on the host that is to, if the list of backends is
    not what it was told last.

    CLI Example:

    .. code-block:: bash

        salt-call django.tell_backends test=True
    """
    config = _access().valid()
    external = config["external"]
    if not external:
        raise CommandExecutionError("This host's pillar has no django:balancer:external")
    with _told():
        if not test:
            django_lock.hold(LOCK)
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


@contextlib.contextmanager
def _told():
    """Turns what fails inside the ``with`` into CommandExecutionError."""
    try:
        yield
    except (django_told.TellError, django_lock.LockedError, CommandError) as error:
        raise CommandExecutionError(str(error)) from None
    except OSError as error:
        raise CommandExecutionError(str(django_access.as_step_error(error))) from None
