"""
What the execution modules for supervisord share: the daemon, and what it said, kept for the states
of one run.
"""

import contextlib
import os
import time

import django_supervisor
import django_supervisor_ini
import django_supervisor_plan
from django_supervisor_ini import SupervisorError
from salt.exceptions import CommandExecutionError

# How long what was read of supervisord may serve the states of one run, in seconds.
FRESH = 2
START_PATIENCE = 3
CONTEXT = "supervisord.overview"


@contextlib.contextmanager
def told():
    """Turns what our library raises inside the ``with`` into CommandExecutionError."""
    try:
        yield
    except SupervisorError as error:
        raise CommandExecutionError(str(error)) from None
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise CommandExecutionError(f"{where}{error.strerror or error}") from None


def seconds(timeout):
    """How long to wait (float, None where nothing is said); SupervisorError for anything else."""
    try:
        found = None if timeout is None else float(timeout)
    except (TypeError, ValueError):
        found = -1
    if found is not None and not 0 <= found < float("inf"):
        raise SupervisorError(f"timeout: expected a number of seconds, got {timeout!r}")
    return found


def find_daemon(conf_file, bin_env):
    """The :class:`django_supervisor.Daemon` of a configuration."""
    path = django_supervisor_ini.find_config(conf_file, bin_env)
    return django_supervisor.Daemon(django_supervisor_ini.read_settings(path))


def overview(daemon, context, lenient):
    """
    The :class:`django_supervisor_plan.Overview`, from this run's memory if it is fresh.

    context
        ``__context__`` of an execution module.
    lenient
        Whether a supervisord that is not there counts as one without processes. Otherwise it is
        given a moment once, because it may have been started just now, and then that is an error.
    """
    found = _seen(daemon, context)
    if found is not None and (lenient or not found.down):
        return found
    deadline = time.monotonic() + START_PATIENCE
    while True:
        try:
            found = daemon.overview()
            break
        except django_supervisor.Unreachable as error:
            if not error.down:
                raise
            if lenient:
                found = django_supervisor_plan.Overview({}, down=True, why=str(error))
                break
            if f"{CONTEXT}.awaited" in context or time.monotonic() > deadline:
                context[f"{CONTEXT}.awaited"] = True
                raise
            time.sleep(0.1)
    context[CONTEXT] = (daemon.settings.url, _signature(daemon), time.monotonic(), found)
    return found


def forget(context):
    """The next one who asks is answered by supervisord itself."""
    context.pop(CONTEXT, None)


def resolve(name, table):
    """Full names (list of str) of what a name means; SupervisorError when there is nothing."""
    names = django_supervisor_plan.resolve(name, table)
    if not names and name != "all":
        raise SupervisorError(django_supervisor_plan.unknown(name, table))
    return names


def text(lines):
    """Lines as text, without those that are empty."""
    return "\n".join(line for line in lines if line)


def _seen(daemon, context):
    url, signature, moment, found = context.get(CONTEXT, (None, None, 0, None))
    if url != daemon.settings.url or time.monotonic() - moment > FRESH:
        return None
    return found if signature == _signature(daemon) else None


def _signature(daemon):
    found = []
    for path in daemon.settings.files():
        try:
            status = os.stat(path)
        except OSError:
            continue
        found.append((path, status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(found)
