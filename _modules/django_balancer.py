"""
The pool of a balancer: taking a web host out of it for a while, and back in.

One module with ``django.py`` to Salt.
"""

import contextlib

import django_access
import django_certificates
import django_drained
import django_haproxy
import django_lock
import django_outside
import django_pool
import django_statistics
import django_targets
import django_told
from django_run import CommandError
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"

LOCK = "haproxy.pool"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _haproxy():
    access = _access()
    config = access.valid()["haproxy"]
    if not config and access.valid()["balancer"]:
        raise CommandExecutionError(
            "This balancer is no HAProxy, so that it has no pool to look at or to change"
            " (django:balancer:server). Releases drop no request all the same"
        )
    if not config:
        raise CommandExecutionError("This host is no balancer: its roles do not name one")
    return config


def drain(host, timeout=60, test=False):
    """
    Take a web host out of this balancer's pool. It gets no new requests, by a cookie neither, and
    may answer those that it has. It stays out over reloads, reboots and every ``state.apply``,
    until :func:`undrain` is called. Two balancers are told each. With a balancer of somebody else
    it is called on the host that runs the pillar's hook, which tells the balancer, and on the host
    itself, which leaves its target groups.

    host
        Its name in ``hosts``.
    timeout : 60
        Seconds to wait until no request is on its way to it any more; websockets may stay for long.

    Returns ``{"changes": dict, "comment": str, "left": int}``: requests that are still on their
    way, websockets among them, are left and not broken off; of target groups, in how many the host
    is draining still. Raises CommandExecutionError, with nothing changed, where no other host would
    serve.

    CLI Example:

    .. code-block:: bash

        salt-call django.drain web1
        salt lb1 django.drain web1 timeout=300
    """
    timeout = django_access.whole("timeout", timeout, 0)
    if _access().valid()["external"]:
        return _outside("drain", host, timeout, test)
    config = _haproxy()
    with _told():
        host = django_pool.member(config, host)
        if not test:
            _lock()
        changes, left = django_pool.drain(config, host, timeout, test)
    if test:
        comment = f"{host} would be drained." if changes else f"{host} is drained already."
        comment += f" Requests on their way to it: {left}."
    else:
        comment = f"{host} gets no new requests"
        comment += f", and {left} are on their way to it still, after {timeout} s" if left else ""
        comment += ". It" if left else " and has none left. It"
        comment += f" stays out until: salt-call django.undrain {host}"
    return {"changes": changes, "comment": comment, "left": left}


def undrain(host, timeout=10, test=False):
    """
    Put a web host back into this balancer's pool. It is asked for the health of each project first.

    host
        Its name in ``hosts``.
    timeout : 10
        Seconds to wait until it is healthy.

    Returns ``{"changes": dict, "comment": str}``. Raises CommandExecutionError, with nothing
    changed, where it is not healthy.

    CLI Example:

    .. code-block:: bash

        salt-call django.undrain web1
    """
    timeout = django_access.whole("timeout", timeout, 0)
    if _access().valid()["external"]:
        return _outside("undrain", host, timeout, test)
    config = _haproxy()
    with _told():
        host = django_pool.member(config, host)
        if not test:
            _lock()
        changes = django_pool.undrain(config, host, timeout, test)
        if changes:
            comment = f"{host} {'would get' if test else 'gets'} requests again."
        else:
            said = django_pool.words(config, host, django_haproxy.servers())
            comment = f"{host} is not drained; HAProxy says of it: {said}."
    return {"changes": changes, "comment": comment}


def drained():
    """
    Names (list of str) of the hosts that are drained from this balancer's pool.

    CLI Example:

    .. code-block:: bash

        salt-call django.drained
    """
    config = _access().valid()
    if config["external"]:
        return sorted(django_outside.Keeper(config, _access().read_file).drained())
    return sorted(set(django_drained.load()) & set(django_pool.members(_haproxy())))


def _outside(verb, host, timeout, test):
    """Drain, or the opposite, from a balancer of somebody else."""
    keeper = django_outside.Keeper(_access().valid(), _access().read_file)
    with _told():
        host = keeper.member(host)
        if not test:
            _lock(django_outside.LOCK)
        changes, states = getattr(keeper, verb)(host, timeout, test)
    will = "would get" if test else "gets"
    comment = f"{host} {will} {'no new requests' if verb == 'drain' else 'requests again'}."
    if verb == "undrain" and not changes:
        comment = f"{host} is not drained."
    comment += "".join(f" {group} says of it: {state}." for group, state in states.items())
    done = {"changes": changes, "comment": comment}
    if verb == "undrain":
        return done
    done["comment"] += f" It stays out until: salt-call django.undrain {host}"
    return {**done, "left": sum(state != "gone" for state in states.values())}


def keep_drained(test=False):
    """
    Let the pool be as :func:`drain` and :func:`undrain` left it, and tell who is out. Hosts that
    left the map are forgotten.

    CLI Example:

    .. code-block:: bash

        salt-call django.keep_drained test=True
    """
    config = _haproxy()
    with _told():
        if not test:
            _lock()
        changes, warnings = django_pool.keep(config, test)
    comment = "Every host of the pool may get requests." if not warnings else " ".join(warnings)
    done = {"changes": changes, "comment": comment}
    return {**done, "warnings": warnings} if warnings else done


def check_certificates(test=False):
    """
    See that the files of the pillar's ``web:tls`` are on this balancer: certificates, and private
    keys that not everybody can read. Nothing is changed.

    CLI Example:

    .. code-block:: bash

        salt-call django.check_certificates
    """
    problems = django_certificates.problems(_haproxy()["projects"])
    if problems:
        raise CommandExecutionError("\n".join(problems))
    return {"changes": {}, "comment": "Every certificate is there with its key."}


def guard_statistics(test=False):
    """
    Let HAProxy's page of statistics have the pillar's password, or one that is generated once and
    kept in ``/etc/django-formula/secrets/haproxy.statistics.json``, which only root can read.

    CLI Example:

    .. code-block:: bash

        salt-call django.guard_statistics
    """
    wanted = _haproxy()["statistics"]
    if not wanted:
        raise CommandExecutionError("This host's pillar has no django:haproxy:statistics")
    with _told():
        try:
            changes = django_statistics.guard(wanted, test)
        except ValueError as error:
            raise CommandExecutionError(str(error)) from None
    words = "is as wanted" if not changes else "would be set" if test else "was set"
    return {"changes": changes, "comment": f"The password of {wanted['user']} {words}."}


def _lock(name=LOCK):
    try:
        django_lock.hold(name)
    except django_lock.LockedError as error:
        raise django_pool.PoolError(str(error)) from None


@contextlib.contextmanager
def _told():
    """Turns what fails inside the ``with`` into CommandExecutionError."""
    try:
        yield
    except (
        django_pool.PoolError,
        django_haproxy.HAProxyError,
        django_outside.OutsideError,
        django_targets.TargetError,
        django_told.TellError,
        CommandError,
    ) as error:
        raise CommandExecutionError(str(error)) from None
    except OSError as error:
        raise CommandExecutionError(str(django_access.as_step_error(error))) from None
