"""
Supervisord over its own XML-RPC socket: no supervisorctl, no output to parse.

Takes the place of Salt's execution module of the same name and has all of its functions. A failure
raises ``CommandExecutionError``; nothing ever returns an error as if it were a result.

Where supervisord is: ``conf_file``, else the configuration of the virtual environment ``bin_env``,
else ``/etc/supervisor/supervisord.conf`` or ``/etc/supervisord.conf``; its ``[unix_http_server]``,
``[supervisorctl]`` or ``[inet_http_server]`` names the address. ``user`` is accepted everywhere for
the sake of Salt's module: it was the user who ran supervisorctl, which nobody does here.

What its files say of programs is in ``supervisord_program.py``, one module with this one to Salt.

A name means a process (``web``, ``jobs:jobs_00``), a whole group (``jobs``, ``jobs:``, ``jobs:*``)
or ``all``.
"""

import os
import shlex

import django_supervisor
import django_supervisor_plan
import django_supervisor_session as session
from django_supervisor_ini import SupervisorError
from django_supervisor_plan import DOWN
from salt.exceptions import CommandExecutionError, CommandNotFoundError

__virtualname__ = "supervisord"


def __virtual__():
    return __virtualname__


def processes(name=None, user=None, conf_file=None, bin_env=None):
    """
    Every process of supervisord as data.

    name : None
        Only the processes that this name means.
    conf_file, bin_env : None
        Where supervisord is.

    Returns ``{full name: {name, group, statename, state, pid, start, stop, now, spawnerr,
    exitstatus, stdout_logfile, stderr_logfile, description, …}}``. Raises CommandExecutionError
    when supervisord does not answer or has no such process.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.processes
        salt '*' supervisord.processes jobs
    """
    with session.told():
        table = session.find_daemon(conf_file, bin_env).processes()
        return (
            table if name is None else {full: table[full] for full in session.resolve(name, table)}
        )


def start(name="all", user=None, conf_file=None, bin_env=None, timeout=None):
    """
    Start processes and wait until they run.

    name : all
        A process, a group or ``all``.
    timeout : None
        Seconds to wait; None: as long as supervisord makes attempts.

    Returns a line for each process (str). Raises CommandExecutionError, with exit status and last
    lines of output, when one does not come up.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.start web
        salt '*' supervisord.start jobs:
    """
    with session.told():
        timeout = session.seconds(timeout)
        daemon = session.find_daemon(conf_file, bin_env)
        table = daemon.processes()
        names = session.resolve(name, table)
        wanted = [full for full in names if table[full]["statename"] != "RUNNING"]
        session.forget(__context__)
        daemon.request_start(wanted)
        daemon.wait_running(wanted, timeout)
        return session.text(
            f"{full}: {'started' if full in wanted else 'already started'}" for full in names
        )


def stop(name="all", user=None, conf_file=None, bin_env=None, timeout=None):
    """
    Stop processes and wait until they have ended.

    name : all
        A process, a group or ``all``.
    timeout : None
        Seconds to wait; None: their ``stopwaitsecs`` and ten more.

    Returns a line for each process (str). Raises CommandExecutionError when one does not end.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.stop web
        salt '*' supervisord.stop jobs:
    """
    with session.told():
        timeout = session.seconds(timeout)
        daemon = session.find_daemon(conf_file, bin_env)
        table = daemon.processes()
        names = session.resolve(name, table)
        wanted = [full for full in names if table[full]["statename"] not in DOWN]
        session.forget(__context__)
        daemon.stop(wanted, timeout)
        return session.text(
            f"{full}: {'stopped' if full in wanted else 'not running'}" for full in names
        )


def restart(name="all", user=None, conf_file=None, bin_env=None, timeout=None):
    """
    Stop processes, start them again and wait until they run; what was stopped is started too.

    name : all
        A process, a group or ``all``.
    timeout : None
        Seconds to wait for the end, and again for the start.

    Returns a line for each process (str). Raises CommandExecutionError when one does not end or
    does not come up.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.restart web
        salt '*' supervisord.restart jobs:
    """
    stopped = stop(name, user, conf_file, bin_env, timeout)
    return session.text([stopped, start(name, user, conf_file, bin_env, timeout)])


def signal(name, signal, user=None, conf_file=None, bin_env=None):
    """
    Send a signal to processes.

    name
        A process, a group or ``all``.
    signal
        Its name or number: ``HUP``, ``SIGUSR2``, ``1``.

    Returns the full names of the processes that got it (list of str). Raises CommandExecutionError
    when one is not running.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.signal web HUP
    """
    with session.told():
        daemon = session.find_daemon(conf_file, bin_env)
        names = session.resolve(name, daemon.processes())
        for full in names:
            try:
                daemon.call("signalProcess", full, str(signal).upper())
            except django_supervisor.Fault as fault:
                raise SupervisorError(f"{full} did not get signal {signal}: {fault}") from None
        return names


def status(name=None, user=None, conf_file=None, bin_env=None):
    """
    Processes with their state, in the form of Salt's module.

    name : None
        Only the processes that this name means.

    Returns ``{full name: {state: …, reason: …}}``. Raises CommandExecutionError when supervisord
    does not answer or has no such process.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.status
    """
    return {
        full: {"state": info["statename"], "reason": info["description"]}
        for full, info in processes(name, user, conf_file, bin_env).items()
    }


def status_raw(name=None, user=None, conf_file=None, bin_env=None):
    """
    Processes with their state, as the text that ``supervisorctl status`` shows.

    name : None
        Only the processes that this name means.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.status_raw
    """
    found = processes(name, user, conf_file, bin_env)
    width = max([32, *map(len, found)])
    return session.text(
        f"{full:<{width}} {info['statename']:<9} {info['description']}".rstrip()
        for full, info in found.items()
    )


def status_bool(name, expected_state=None, user=None, conf_file=None, bin_env=None):
    """
    Whether a process or group exists, and all of it is in a state.

    name
        A process or a group.
    expected_state : None
        ``RUNNING``, ``STOPPED`` …; None: any.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.status_bool web expected_state=RUNNING
    """
    with session.told():
        table = session.find_daemon(conf_file, bin_env).processes()
        states = {table[full]["statename"] for full in django_supervisor_plan.resolve(name, table)}
        return bool(states) and (expected_state is None or states == {expected_state})


def state(user=None, conf_file=None, bin_env=None):
    """
    Supervisord itself: ``{statename, statecode, version, identification, pid, url}``.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.state
    """
    with session.told():
        daemon = session.find_daemon(conf_file, bin_env)
        return {
            **daemon.call("getState"),
            "version": daemon.call("getSupervisorVersion"),
            "identification": daemon.call("getIdentification"),
            "pid": daemon.call("getPID"),
            "url": daemon.settings.url,
        }


def version(user=None, conf_file=None, bin_env=None):
    """
    Version of the supervisord that runs (str).

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.version
    """
    with session.told():
        return session.find_daemon(conf_file, bin_env).call("getSupervisorVersion")


def tail_log(name, channel="stderr", lines=20, user=None, conf_file=None, bin_env=None):
    """
    Last lines that a process wrote.

    name
        A process, or a group of one process.
    channel : stderr
        ``stderr`` or ``stdout``. Where the error output goes to the standard output, that is shown.
    lines : 20
        How many.

    Returns the text (str), empty when nothing was kept. Raises CommandExecutionError for an unknown
    process.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.tail_log web lines=100
    """
    with session.told():
        if channel not in ("stdout", "stderr"):
            raise SupervisorError(f"channel: expected stdout or stderr, got {channel!r}")
        if not str(lines).isdecimal():
            raise SupervisorError(f"lines: expected a whole number, got {lines!r}")
        daemon = session.find_daemon(conf_file, bin_env)
        table = daemon.processes()
        names = session.resolve(name, table)
        if len(names) != 1:
            raise SupervisorError(
                f"{name} means several processes; choose one of {', '.join(names)}"
            )
        found = daemon.tail(table[names[0]], channel, int(lines))
        return found[1] if found else ""


def custom(command, user=None, conf_file=None, bin_env=None):
    """
    Run any command of supervisorctl, those of its plugins too. The only function that needs
    supervisorctl.

    command
        The command with its arguments.
    user : None
        Who runs supervisorctl.
    bin_env : None
        Path of supervisorctl or of the virtual environment that has it.

    Returns its output (str). Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.custom "mstop '*gunicorn*'"
    """
    argv = [_supervisorctl(bin_env)]
    if conf_file is not None:
        argv += ["-c", conf_file]
    try:
        words = shlex.split(str(command))
    except ValueError as error:
        raise CommandExecutionError(f"command: {error}") from None
    if not words:
        raise CommandExecutionError("command: expected a command of supervisorctl, got nothing")
    session.forget(__context__)
    ran = __salt__["cmd.run_all"]([*argv, *words], runas=user, python_shell=False)
    if ran["retcode"] != 0:
        output = "\n".join(part for part in (ran["stdout"], ran["stderr"]) if part)
        raise CommandExecutionError(
            f"supervisorctl {command}: exit status {ran['retcode']}\n{output}"
        )
    return ran["stdout"]


def overview(lenient=True, user=None, conf_file=None, bin_env=None):
    """
    Processes and pending changes in one round trip, for states: the answer serves a run for two
    seconds, as long as no file of supervisord changes and nothing here changes a process.

    lenient : True
        Whether a supervisord that is not there is told as ``down``, with the reason as ``why``.
        Otherwise it is given a moment, as it may have just been started, and is then an error.

    Returns ``{processes: {…}, added: […], changed: […], removed: […], refused: str, down: bool,
    why: str}``. Raises CommandExecutionError when supervisord answers with an error.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.overview
    """
    with session.told():
        found = session.overview(session.find_daemon(conf_file, bin_env), __context__, lenient)
        return {
            "processes": found.processes,
            "added": list(found.added),
            "changed": list(found.changed),
            "removed": list(found.removed),
            "refused": found.refused,
            "down": found.down,
            "why": found.why,
        }


def _supervisorctl(bin_env):
    if not bin_env:
        found = __salt__["cmd.which_bin"](["supervisorctl"])
        if found is None:
            raise CommandNotFoundError("There is no supervisorctl; give its path as bin_env")
        return found
    if not os.path.isdir(bin_env):
        return bin_env
    found = os.path.join(bin_env, "bin", "supervisorctl")
    if not os.path.isfile(found):
        raise CommandNotFoundError(f"There is no supervisorctl at {found}")
    return found
