"""
Programs of supervisord: what its files say of them, and bringing the two together.

One module with ``supervisord.py`` to Salt.
"""

import os

import django_supervisor
import django_supervisor_ini
import django_supervisor_plan
import django_supervisor_session as session
import django_supervisor_unit
from django_supervisor_ini import HIDDEN, SupervisorError
from salt.exceptions import CommandExecutionError

__virtualname__ = "supervisord"


def __virtual__():
    return __virtualname__


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
    with session.told():
        timeout = session.seconds(timeout)
        daemon = session.find_daemon(conf_file, bin_env)
        wanted = django_supervisor_unit.unit(name, definition, start)
        overview = session.overview(daemon, __context__, test)
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
        session.forget(__context__)
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
    CommandExecutionError when it does not end, when a file that is not its own defines it, and when
    its own defines something else besides.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.undefine web timeout=60
    """
    with session.told():
        name, timeout = str(name), session.seconds(timeout)
        daemon = session.find_daemon(conf_file, bin_env)
        file = django_supervisor_ini.read_file(daemon.settings.program_path(name))
        overview = session.overview(daemon, __context__, True)
        django_supervisor.keep_strangers(file, django_supervisor_plan.members(name, file.readable))
        made = django_supervisor_plan.plan_removal(name, file, overview)
        if name in made.retire:
            other = daemon.defined_in(name, besides=file.path)
            if other:
                raise SupervisorError(
                    f"{name} is defined in {other}, not in {file.path}; remove it there"
                )
        if made.idle or test:
            return {"changes": made.changes, "comment": ""}
        session.forget(__context__)
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
    with session.told():
        name, daemon = str(name), session.find_daemon(conf_file, bin_env)
        path = daemon.settings.program_path(name)
        file = django_supervisor_ini.read_file(path)
        django_supervisor.keep_strangers(file, django_supervisor_plan.members(name, file.readable))
        session.forget(__context__)
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
    with session.told():
        return session.find_daemon(conf_file, bin_env).settings.program_path(name)


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


def reread(user=None, conf_file=None, bin_env=None):
    """
    Have supervisord read its files. Nothing is started, stopped or exchanged.

    Returns a line for each group that is new, changed or gone (str). Raises CommandExecutionError
    when a file is wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.reread
    """
    with session.told():
        found = zip(
            session.find_daemon(conf_file, bin_env).reload(),
            ("available", "changed", "disappeared"),
            strict=True,
        )
        lines = [f"{group}: {word}" for groups, word in found for group in groups]
        return session.text(lines) or "No config updates to processes"


def pending(user=None, conf_file=None, bin_env=None):
    """
    What supervisord's files say that it does not do yet, as data.

    Returns ``{added: [groups], changed: [groups], removed: [groups]}``. Raises
    CommandExecutionError when a file is wrong.

    CLI Example:

    .. code-block:: bash

        salt '*' supervisord.pending
    """
    with session.told():
        found = session.find_daemon(conf_file, bin_env).reload()
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
    with session.told():
        timeout = session.seconds(timeout)
        daemon = session.find_daemon(conf_file, bin_env)
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
        session.forget(__context__)
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
        return session.text(lines)


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
    with session.told():
        timeout = session.seconds(timeout)
        daemon = session.find_daemon(conf_file, bin_env)
        group = _group(name)
        daemon.reload()
        session.forget(__context__)
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
    with session.told():
        daemon = session.find_daemon(conf_file, bin_env)
        group = _group(name)
        session.forget(__context__)
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
    with session.told():
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
    with session.told():
        return session.find_daemon(conf_file, bin_env).configs()


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


def _group(name):
    name = str(name)
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
