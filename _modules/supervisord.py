"""
Supervisord over its own XML-RPC socket: no supervisorctl, no output to parse.

Takes the place of Salt's execution module of the same name and has all of its functions. A failure
raises ``CommandExecutionError``; nothing ever returns an error as if it were a result.

Where supervisord is: ``conf_file``, else the configuration of the virtual environment ``bin_env``,
else ``/etc/supervisor/supervisord.conf`` or ``/etc/supervisord.conf``; its ``[unix_http_server]``,
``[supervisorctl]`` or ``[inet_http_server]`` names the address. ``user`` is accepted everywhere for
the sake of Salt's module: it was the user who ran supervisorctl, which nobody does here.

A name means a process (``web``, ``jobs:jobs_00``), a whole group (``jobs``, ``jobs:``, ``jobs:*``)
or ``all``.
"""

import os
import shlex
import time

import django_supervisor
import django_supervisor_ini
import django_supervisor_plan
import django_supervisor_unit
from django_supervisor_ini import HIDDEN, SupervisorError
from django_supervisor_plan import DOWN
from salt.exceptions import CommandExecutionError, CommandNotFoundError

__virtualname__ = "supervisord"

# How long what was read of supervisord may serve the states of one run, in seconds.
_FRESH = 2
_START_PATIENCE = 3
_CONTEXT = "supervisord.overview"


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
    with _told():
        table = _daemon(conf_file, bin_env).processes()
        return table if name is None else {full: table[full] for full in _resolve(name, table)}


def define(
    name, definition, start=True, timeout=None, test=False, user=None, conf_file=None, bin_env=None
):
    """
    Have supervisord run a program as defined, touching no other program.

    Writes the program's file, has supervisord read it, exchanges the program if its definition
    differs from what runs, and waits until it has been up for its ``startsecs``. A configuration
    that supervisord refuses is taken back before anything is stopped.

    name
        Of the program, or of the group when ``definition`` has ``programs``.
    definition : dict
        Supervisord's options by name: ``command`` (str, or list of words), ``environment`` (dict),
        and so on; see the state ``supervisord.program``.
    start : True
        True: it must run. False: it is defined but must not run. None: start what is new, changed
        or failed, and leave alone what was stopped by hand.
    timeout : None
        Seconds to wait for it to run; None: as long as supervisord makes attempts to start it. With
        ``startretries: 0`` the first failure is final.
    test : False
        Only tell the changes.

    Returns ``{changes: dict, comment: str}``, with changes empty when all was so already. Raises
    CommandExecutionError for a wrong definition, and when the program does not come up: then with
    its exit status and last lines of output, and with the attribute ``changes``.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.define web '{command: [/srv/web/run], user: www-data}'
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
        wanted = django_supervisor_unit.unit(name, definition, start)
        overview = _overview(daemon, test)
        file = django_supervisor_ini.read_file(daemon.settings.program_path(name))
        made = django_supervisor_plan.plan(wanted, file, overview, start)
        if (
            overview.refused
            and not made.idle
            and not (made.write and file.path in overview.refused)
        ):
            raise SupervisorError(f"supervisord cannot read its configuration: {overview.refused}")
        if overview.down:
            made.notes.append(overview.why)
        if made.idle or test:
            return {"changes": made.changes, "comment": "\n".join(made.notes)}
        _forget()
        groups = {*made.retire, wanted.group}
        before = _members(overview.processes, groups)
        try:
            daemon.define(wanted, made, timeout)
        except SupervisorError as error:
            after = _look(daemon, groups, before)
            failure = CommandExecutionError(str(error))
            failure.changes = _real_changes(file, made, before, after)
            raise failure from None
        after = _members(daemon.processes(), groups)
        changes = _real_changes(file, made, before, after)
        return {"changes": changes, "comment": "\n".join(made.notes)}


def undefine(name, timeout=None, test=False, user=None, conf_file=None, bin_env=None):
    """
    Stop a program, take it out of supervisord and delete its file. No other program is touched.

    name
        Of the program or group, as it was defined.
    timeout : None
        Seconds to wait for its processes to end; None: their ``stopwaitsecs`` and ten more.
    test : False
        Only tell the changes.

    Returns ``{changes: dict, comment: str}``, with changes empty when there was nothing. Raises
    CommandExecutionError when it does not end, and when a file that is not its own defines it.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.undefine web timeout=60
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
        file = django_supervisor_ini.read_file(daemon.settings.program_path(name))
        overview = _overview(daemon, True)
        made = django_supervisor_plan.plan_removal(name, file, overview)
        if name in made.retire:
            other = daemon.defined_in(name, besides=file.path)
            if other:
                raise SupervisorError(
                    f"{name} is defined in {other}, not in {file.path}; remove it there"
                )
        if made.idle or test:
            return {"changes": made.changes, "comment": ""}
        _forget()
        if overview.down:
            os.unlink(file.path)
            return {"changes": made.changes, "comment": overview.why}
        before = _members(overview.processes, made.retire)
        try:
            daemon.undefine(name, made, timeout)
            left = _members(daemon.processes(), made.retire)
            if left:
                raise django_supervisor.Failed(f"supervisord still has {', '.join(left)}")
        except SupervisorError as error:
            failure = CommandExecutionError(str(error))
            after = _look(daemon, made.retire, before)
            failure.changes = _real_changes(file, made, before, after)
            raise failure from None
        changes = _real_changes(file, made, before, left)
        return {"changes": changes, "comment": "\n".join(made.notes)}


def dismiss(name, user=None, conf_file=None, bin_env=None):
    """
    Ask a program to end, and see to it that it does not come back, without waiting for it. Its file
    is deleted at once; supervisord itself knows it until :func:`undefine` is called.

    name
        Of the program or group, as it was defined.

    Returns the path of the file (str). Raises CommandExecutionError when supervisord does not have
    it.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.dismiss worker
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
        path = daemon.settings.program_path(name)
        _forget()
        # First the file: a supervisord that is started anew meanwhile must not start it again.
        if os.path.exists(path):
            os.unlink(path)
        daemon.call("stopProcessGroup", name, False)
        return path


def path(name, conf_file=None, bin_env=None):
    """
    Path (str) of the file that defines a program, whether or not it is there.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.path worker
    """
    with _told():
        return _daemon(conf_file, bin_env).settings.program_path(name)


def differs(name, definition, start=True, user=None, conf_file=None, bin_env=None):
    """
    How supervisord's definition of a program differs from the given one, whether or not it runs.

    name, definition, start
        As for :func:`define`.

    Returns a dict: the differing options, ``mode`` when the file's permissions are wrong, and
    ``configuration`` when supervisord runs another definition than the file's or none at all. It is
    empty when nothing differs. Raises CommandExecutionError for a wrong definition.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.differs web '{command: [/srv/web/run], user: www-data}'
    """
    changes = dict(
        define(name, definition, start, test=True, conf_file=conf_file, bin_env=bin_env)["changes"]
    )
    changes.pop("processes", None)
    changes.update(changes.pop("definition", {}))
    return changes


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
    with _told():
        daemon = _daemon(conf_file, bin_env)
        table = daemon.processes()
        names = _resolve(name, table)
        wanted = [full for full in names if table[full]["statename"] != "RUNNING"]
        _forget()
        daemon.request_start(wanted)
        daemon.wait_running(wanted, timeout)
        return _lines(
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
    with _told():
        daemon = _daemon(conf_file, bin_env)
        table = daemon.processes()
        names = _resolve(name, table)
        wanted = [full for full in names if table[full]["statename"] not in DOWN]
        _forget()
        daemon.stop(wanted, timeout)
        return _lines(f"{full}: {'stopped' if full in wanted else 'not running'}" for full in names)


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
    return _lines([stopped, start(name, user, conf_file, bin_env, timeout)])


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
    with _told():
        daemon = _daemon(conf_file, bin_env)
        names = _resolve(name, daemon.processes())
        for full in names:
            try:
                daemon.call("signalProcess", full, str(signal).upper())
            except django_supervisor.Fault as fault:
                raise SupervisorError(f"{full} did not get signal {signal}: {fault}") from None
        return names


def reread(user=None, conf_file=None, bin_env=None):
    """
    Have supervisord read its files. Nothing is started, stopped or exchanged.

    Returns a line for each group that is new, changed or gone (str). Raises CommandExecutionError
    when a file is wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.reread
    """
    with _told():
        found = zip(
            _daemon(conf_file, bin_env).reload(),
            ("available", "changed", "disappeared"),
            strict=True,
        )
        lines = [f"{group}: {word}" for groups, word in found for group in groups]
        return _lines(lines) or "No config updates to processes"


def pending(user=None, conf_file=None, bin_env=None):
    """
    What supervisord's files say that it does not do yet, as data.

    Returns ``{added: [groups], changed: [groups], removed: [groups]}``. Raises
    CommandExecutionError when a file is wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.pending
    """
    with _told():
        found = _daemon(conf_file, bin_env).reload()
        return dict(zip(("added", "changed", "removed"), map(list, found), strict=True))


def update(user=None, conf_file=None, bin_env=None, name=None, timeout=None):
    """
    Have supervisord read its files and do what they say: add new groups, exchange changed ones,
    drop those that are gone. A changed group that was stopped by hand is not revived, unless it is
    named.

    name : None
        Only this group.
    timeout : None
        Seconds to wait for what is started.

    Returns a line for each thing done (str). Raises CommandExecutionError when a file is wrong or a
    process does not come up.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.update
        salt '*' supervisord.update name=web
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
        chosen = None if name is None else _group(name)
        found = daemon.reload()
        added, changed, removed = (
            [group for group in groups if chosen in (None, group)] for groups in found
        )
        table, configs = daemon.processes(), daemon.configs()
        if chosen and chosen not in {
            info["group"] for info in [*table.values(), *configs.values()]
        }:
            raise SupervisorError(django_supervisor_plan.unknown(chosen, table))
        _forget()
        lines = []
        for group in removed:
            daemon.retire(group)
            lines.append(f"{group}: removed process group")
        for group in changed:
            if chosen is None and _stopped_by_hand(group, table) and _autostarts(group, configs):
                lines.append(f"{group}: changed, but stopped by hand: left as it is")
                continue
            daemon.retire(group)
            daemon.call("addProcessGroup", group)
            added.append(group)
            lines.append(f"{group}: updated process group")
        for group in added:
            if group not in changed:
                daemon.call("addProcessGroup", group)
                lines.append(f"{group}: added process group")
        daemon.wait_running(
            [
                full
                for full, config in configs.items()
                if config["group"] in added and config["autostart"]
            ],
            timeout,
        )
        return _lines(lines)


def add(name, user=None, conf_file=None, bin_env=None, timeout=None):
    """
    Add a group that is in supervisord's files, and wait for what starts by itself.

    name
        Of the program or group.
    timeout : None
        Seconds to wait.

    Returns what was done (str). Raises CommandExecutionError when no file defines it or a process
    does not come up.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.add web
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
        group = _group(name)
        daemon.reload()
        _forget()
        try:
            daemon.call("addProcessGroup", group)
        except django_supervisor.Fault as fault:
            if fault.kind == "ALREADY_ADDED":
                return f"{group}: process group already active"
            if fault.kind == "BAD_NAME":
                raise SupervisorError(
                    f"None of supervisord's files defines {group}: "
                    f"{', '.join(daemon.settings.files())}"
                ) from None
            raise
        configs = daemon.configs()
        daemon.wait_running(
            [
                full
                for full, config in configs.items()
                if config["group"] == group and config["autostart"]
            ],
            timeout,
        )
        return f"{group}: added process group"


def remove(name, user=None, conf_file=None, bin_env=None):
    """
    Take a stopped group out of supervisord; its file stays. :func:`undefine` does all of it.

    name
        Of the program or group.

    Returns what was done (str). Raises CommandExecutionError when it is unknown or still running.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.remove web
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
        group = _group(name)
        _forget()
        try:
            daemon.call("removeProcessGroup", group)
        except django_supervisor.Fault as fault:
            if fault.kind == "BAD_NAME":
                message = django_supervisor_plan.unknown(group, daemon.processes())
            elif fault.kind == "STILL_RUNNING":
                message = f"{group} is still running: stop it first"
            else:
                raise
            raise SupervisorError(message) from None
        return f"{group}: removed process group"


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
    return _lines(
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
    with _told():
        table = _daemon(conf_file, bin_env).processes()
        states = {table[full]["statename"] for full in django_supervisor_plan.resolve(name, table)}
        return bool(states) and (expected_state is None or states == {expected_state})


def state(user=None, conf_file=None, bin_env=None):
    """
    Supervisord itself: ``{statename, statecode, version, identification, pid, url}``.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.state
    """
    with _told():
        daemon = _daemon(conf_file, bin_env)
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
    with _told():
        return _daemon(conf_file, bin_env).call("getSupervisorVersion")


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
    with _told():
        if channel not in ("stdout", "stderr"):
            raise SupervisorError(f"channel: expected stdout or stderr, got {channel!r}")
        daemon = _daemon(conf_file, bin_env)
        table = daemon.processes()
        names = _resolve(name, table)
        if len(names) != 1:
            raise SupervisorError(
                f"{name} means several processes; choose one of {', '.join(names)}"
            )
        found = daemon.tail(table[names[0]], channel, int(lines))
        return found[1] if found else ""


def options(name, conf_file=None, show_secrets=False):
    """
    Options of a program from supervisord's files, included ones too. Nothing is expanded.

    name
        Of the program, FastCGI program or event listener.
    conf_file : None
        Path of the main configuration.
    show_secrets : False
        Whether the values of ``environment`` are shown. The answer is kept in the job cache.

    Returns ``{option: str, int or bool}``, with ``environment`` as a dict. Raises
    CommandExecutionError when no file defines it.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.options web
    """
    with _told():
        settings = django_supervisor_ini.read_settings(django_supervisor_ini.find_config(conf_file))
        found = {}
        for path in settings.files():
            sections = django_supervisor_ini.read_file(path).sections
            for kind in django_supervisor_ini.KINDS:
                found.update(sections.get(f"{kind}:{name}", {}))
        if not found:
            raise SupervisorError(
                f"None of supervisord's files defines {name}: {', '.join(settings.files())}"
            )
        values = {key: _value(raw) for key, raw in found.items()}
        if "environment" in found:
            variables = django_supervisor_ini.parse_environment(found["environment"])
            shown = django_supervisor_ini.unescape if show_secrets else lambda _: HIDDEN
            values["environment"] = {key: shown(content) for key, content in variables.items()}
        return values


def configured(user=None, conf_file=None, bin_env=None):
    """
    Every process that supervisord's files define, with its options, as supervisord read them.

    Returns ``{full name: {group, name, command, autostart, startsecs, inuse, …}}``, as
    ``getAllConfigInfo`` tells it. Raises CommandExecutionError when supervisord does not answer.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.configured
    """
    with _told():
        return _daemon(conf_file, bin_env).configs()


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
    _forget()
    ran = __salt__["cmd.run_all"]([*argv, *shlex.split(command)], runas=user, python_shell=False)
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
    with _told():
        found = _overview(_daemon(conf_file, bin_env), lenient)
        return {
            "processes": found.processes,
            "added": list(found.added),
            "changed": list(found.changed),
            "removed": list(found.removed),
            "refused": found.refused,
            "down": found.down,
            "why": found.why,
        }


class _told:
    """Turns what our library raises inside the ``with`` into CommandExecutionError."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if isinstance(error, SupervisorError):
            raise CommandExecutionError(str(error)) from None
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            raise CommandExecutionError(f"{where}{error.strerror or error}") from None
        return False


def _daemon(conf_file, bin_env):
    path = django_supervisor_ini.find_config(conf_file, bin_env)
    return django_supervisor.Daemon(django_supervisor_ini.read_settings(path))


def _overview(daemon, lenient):
    """
    The overview, from this run's memory if it is fresh.

    lenient
        Whether a supervisord that is not there counts as one without processes. Otherwise it is
        given a moment once, because it may have been started just now, and then that is an error.
    """
    found = _seen(daemon)
    if found is not None and (lenient or not found.down):
        return found
    deadline = time.monotonic() + _START_PATIENCE
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
            if f"{_CONTEXT}.awaited" in __context__ or time.monotonic() > deadline:
                __context__[f"{_CONTEXT}.awaited"] = True
                raise
            time.sleep(0.1)
    __context__[_CONTEXT] = (daemon.settings.url, _signature(daemon), time.monotonic(), found)
    return found


def _seen(daemon):
    url, signature, moment, found = __context__.get(_CONTEXT, (None, None, 0, None))
    if url != daemon.settings.url or time.monotonic() - moment > _FRESH:
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


def _forget():
    __context__.pop(_CONTEXT, None)


def _members(table, groups):
    return {name: info for name, info in table.items() if info["group"] in groups}


def _look(daemon, groups, otherwise):
    try:
        return _members(daemon.processes(), groups)
    except SupervisorError:
        return otherwise


def _real_changes(file, made, before, after):
    """
    The changes that can be seen in the file that is there now and in the processes.

    file
        What the file was before.
    before, after
        Processes of the groups concerned.
    """
    current = django_supervisor_ini.read_file(file.path)
    changes = {}
    if current.text is None and file.text is not None:
        changes["file"] = "removed"
    elif current.text != file.text:
        found = django_supervisor_plan.differences(file.readable, current.readable)
        changes.update({"definition": found} if found else {"file": "rewritten"})
    if current.mode is not None and file.mode not in (None, current.mode):
        changes["mode"] = {"old": f"{file.mode:04o}", "new": f"{current.mode:04o}"}
    if made.loaded:
        changes["configuration"] = "loaded"
    actions = django_supervisor_plan.verbs(before, after)
    if actions:
        changes["processes"] = actions
    return changes


def _resolve(name, table):
    names = django_supervisor_plan.resolve(name, table)
    if not names and name != "all":
        raise SupervisorError(django_supervisor_plan.unknown(name, table))
    return names


def _group(name):
    return name[:-1] if name.endswith(":") else name.removesuffix(":*")


def _stopped_by_hand(group, table):
    members = [info for info in table.values() if info["group"] == group]
    return all(info["statename"] == "STOPPED" and info["start"] for info in members)


def _autostarts(group, configs):
    return any(config["autostart"] for config in configs.values() if config["group"] == group)


def _value(raw):
    """A raw value as a number or a truth value where it is one."""
    lowered = raw.lower()
    if lowered in ("true", "false"):
        return lowered == "true"
    try:
        return int(raw)
    except ValueError:
        return raw


def _lines(lines):
    return "\n".join(line for line in lines if line)


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
