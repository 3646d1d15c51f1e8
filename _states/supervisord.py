"""
Programs under supervisord: what is defined, what runs, and nothing else touched.

:func:`program` and :func:`group` define programs as data, :func:`absent` removes them.
:func:`running` and :func:`dead` are the states that Salt had until 3007, with their arguments, for
programs that something else defines.

.. code-block:: yaml

    shop answers requests:
      supervisord.program:
        - name: shop
        - command: [/srv/shop/venv/bin/gunicorn, --workers=4, shop.wsgi]
        - directory: /srv/shop
        - user: shop
        - environment:
            DJANGO_SETTINGS_MODULE: shop.settings
        - stdout_logfile: /var/log/shop/web.log
        - redirect_stderr: true

In test mode each of them predicts the very changes that a run makes.
"""

import django_supervisor_plan
from django_supervisor_plan import DOWN, UP
from salt.exceptions import CommandExecutionError

__virtualname__ = "supervisord"


def __virtual__():
    return __virtualname__


def program(
    name,
    command=None,
    environment=None,
    group=None,
    running=None,
    timeout=None,
    conf_file=None,
    bin_env=None,
    __umask__=None,
    **options,
):
    """
    A program is defined in supervisord exactly so, and runs.

    Its definition is a file of its own in the folder that supervisord includes. If the definition
    differs from what supervisord runs, this program alone is exchanged; the state then waits until
    it has been up for its ``startsecs``. A program that does not come up fails the state, with its
    exit status and last lines of output.

    name
        Of the program.
    command
        List of words, which reach the program exactly so, or a text that is split as a shell would
        split it. No shell runs it.
    environment
        Map of variables. Their values may be secret: only the names are ever told, and the file can
        be read by root alone.
    group
        Process group that it is alone in, under another name. For several programs in one group see
        :func:`group`.
    running
        Unset: it is started when it is new, changed or has failed, and a program that was stopped
        by hand stays stopped until its definition changes. True: it is started in any case. False:
        it is defined, does not start by itself and is stopped.
    timeout
        Seconds to wait until it runs; unset: as long as supervisord makes attempts.
    conf_file, bin_env
        Supervisord's configuration, or the virtual environment it lives in.

    Any other option of supervisord's ``[program:x]``, ``[fcgi-program:x]`` (with ``socket``) and
    ``[eventlistener:x]`` (with ``events``) by its name: ``numprocs``, ``process_name``,
    ``directory``, ``user``, ``umask``, ``priority``, ``autostart``, ``autorestart``, ``startsecs``,
    ``startretries``, ``exitcodes``, ``stopsignal``, ``stopwaitsecs``, ``stopasgroup``,
    ``killasgroup``, ``redirect_stderr``, ``stdout_logfile`` …. Supervisord's own expansions such as
    ``%(process_num)02d`` work in all of them; any other percent sign is literal.

    .. code-block:: yaml

        four workers take jobs:
          supervisord.program:
            - name: jobs
            - command: [/srv/shop/venv/bin/celery, -A, shop, worker, '-n', 'jobs%(process_num)d']
            - numprocs: 4
            - user: shop
            - umask: '027'
            - stopwaitsecs: 600
            - environment:
                BROKER_URL: redis://:secret@10.0.0.31/0
    """
    definition = {"command": command, "environment": environment, "group": group}
    definition.update(_own(options))
    # Salt takes "umask" for its own option of every state and keeps it under this name.
    if __umask__ is not None:
        definition["umask"] = f"{__umask__:03o}"
    definition = {key: value for key, value in definition.items() if value is not None}
    return _defined("Program", name, definition, running, timeout, conf_file, bin_env)


def group(
    name,
    programs,
    priority=None,
    running=None,
    timeout=None,
    conf_file=None,
    bin_env=None,
    **kwargs,
):
    """
    A group of programs is defined in supervisord exactly so, and runs. A change to one of them
    exchanges the whole group, because supervisord cannot do less.

    name
        Of the group.
    programs
        Map from program names to their options, as for :func:`program`.
    priority
        When the group starts and stops among the others.
    running, timeout, conf_file, bin_env
        As for :func:`program`.

    .. code-block:: yaml

        the two halves of the feed run:
          supervisord.group:
            - name: feed
            - programs:
                reader:
                  command: [/srv/feed/reader]
                writer:
                  command: [/srv/feed/writer]
                  startsecs: 5
    """
    unknown = sorted(_own(kwargs))
    if unknown:
        return _result(name, False, f"group {name}: {', '.join(unknown)}: unknown")
    definition = {"programs": programs, "priority": priority}
    return _defined("Group", name, definition, running, timeout, conf_file, bin_env)


def absent(name, timeout=None, conf_file=None, bin_env=None, **kwargs):
    """
    A program or group is stopped, unknown to supervisord, and its file is gone.

    name
        As it was defined.
    timeout
        Seconds to wait for its end; unset: its ``stopwaitsecs`` and ten more.
    conf_file, bin_env
        As for :func:`program`.

    .. code-block:: yaml

        the old worker is gone:
          supervisord.absent:
            - name: jobs-old
            - timeout: 900
    """
    try:
        done = __salt__["supervisord.undefine"](
            name, timeout, test=__opts__["test"], conf_file=conf_file, bin_env=bin_env
        )
    except CommandExecutionError as error:
        return _result(name, False, str(error), getattr(error, "changes", {}))
    comment = f"{name} is not in supervisord"
    if done["changes"]:
        comment = f"{name} would be removed" if __opts__["test"] else f"{name} was removed"
    return _success(name, done["changes"], _join(comment, done["comment"]))


def running(
    name,
    restart=False,
    update=False,
    user=None,
    conf_file=None,
    bin_env=None,
    timeout=None,
    **kwargs,
):
    """
    A program or group that is defined elsewhere runs.

    name
        ``web``, ``jobs`` or ``jobs:`` (all of a group), ``jobs:jobs_00`` (one of it).
    restart
        Whether to restart it in any case.
    update
        Whether to load its definition again if that has changed. No other program is touched.
    user
        Accepted for the sake of older SLS files; nothing is run as another user here.
    conf_file, bin_env
        Supervisord's configuration, or the virtual environment it lives in.
    timeout
        Seconds to wait until it runs; unset: as long as supervisord makes attempts.

    With ``watch`` it is restarted when what it watches changes.

    .. code-block:: yaml

        shop runs:
          supervisord.running:
            - name: shop
            - update: true
            - watch:
              - file: /etc/supervisor/conf.d/shop.conf
    """
    where = {"conf_file": conf_file, "bin_env": bin_env}
    try:
        seen = __salt__["supervisord.overview"](lenient=__opts__["test"], **where)
        steps, expected, problem = _plan_running(name, seen, restart, update, where)
    except CommandExecutionError as error:
        return _result(name, False, str(error))
    if problem and not (__opts__["test"] and not expected):
        return _result(name, False, problem)
    if problem:
        return _result(name, None, problem)
    if not steps:
        return _result(name, True, f"{name} is running")
    if __opts__["test"]:
        return _success(name, expected, _sentence(expected, True) or f"{name} is starting")
    before = seen["processes"]
    groups = {_group_of(name, before)}
    try:
        for step, arguments in steps:
            __salt__[f"supervisord.{step}"](**arguments, **where, timeout=timeout)
    except CommandExecutionError as error:
        return _result(name, False, str(error), _changes(name, before, groups, where))
    changes = _changes(name, before, groups, where)
    return _success(name, changes, _sentence(changes, False) or f"{name} is running")


def dead(name, user=None, conf_file=None, bin_env=None, timeout=None, **kwargs):
    """
    A program or group does not run. One that supervisord does not know counts as such.

    name
        ``web``, ``jobs`` or ``jobs:`` (all of a group), ``jobs:jobs_00`` (one of it).
    user
        Accepted for the sake of older SLS files.
    conf_file, bin_env
        Supervisord's configuration, or the virtual environment it lives in.
    timeout
        Seconds to wait for its end; unset: its ``stopwaitsecs`` and ten more.

    .. code-block:: yaml

        shop is stopped:
          supervisord.dead:
            - name: shop
    """
    where = {"conf_file": conf_file, "bin_env": bin_env}
    try:
        seen = __salt__["supervisord.overview"](lenient=__opts__["test"], **where)
    except CommandExecutionError as error:
        return _result(name, False, str(error))
    if seen["down"]:
        return _result(name, None, seen["why"])
    before = seen["processes"]
    names = django_supervisor_plan.resolve(name, before)
    if not names:
        return _result(name, True, f"{name} is not in supervisord")
    alive = [full for full in names if before[full]["statename"] not in DOWN]
    if not alive:
        return _result(name, True, f"{name} is not running")
    expected = dict.fromkeys(alive, "stopped")
    if __opts__["test"]:
        return _result(name, None, _sentence(expected, True), expected)
    groups = {before[full]["group"] for full in alive}
    try:
        __salt__["supervisord.stop"](name, **where, timeout=timeout)
    except CommandExecutionError as error:
        return _result(name, False, str(error), _changes(name, before, groups, where))
    changes = _changes(name, before, groups, where)
    left = sorted(set(alive) - {full for full, verb in changes.items() if verb == "stopped"})
    if left:
        return _result(name, False, f"Still running: {', '.join(left)}", changes)
    return _result(name, True, _sentence(changes, False), changes)


def mod_watch(
    name,
    sfun=None,
    restart=True,
    update=False,
    user=None,
    conf_file=None,
    bin_env=None,
    timeout=None,
    **kwargs,
):
    """
    What ``watch`` does: a :func:`running` program is restarted; so is a :func:`program` or
    :func:`group`, except for processes that are stopped. Not to be called directly.
    """
    where = {"conf_file": conf_file, "bin_env": bin_env, "timeout": timeout}
    if sfun == "dead":
        return dead(name, **where)
    if sfun == "absent":
        return absent(name, **where)
    if sfun not in ("program", "group"):
        return running(name, restart=restart, update=update, **where)
    try:
        table = __salt__["supervisord.processes"](conf_file=conf_file, bin_env=bin_env)
    except CommandExecutionError as error:
        if __opts__["test"]:
            return _result(name, None, str(error))
        return _result(name, False, str(error))
    unit = kwargs.get("group") or name if sfun == "program" else name
    alive = [
        full for full, info in table.items() if info["group"] == unit and info["statename"] in UP
    ]
    expected = dict.fromkeys(sorted(alive), "restarted")
    if not alive:
        return _result(name, True, f"{name} is not running, so it was not restarted")
    if __opts__["test"]:
        return _result(name, None, _sentence(expected, True), expected)
    try:
        for full in alive:
            __salt__["supervisord.restart"](full, **where)
    except CommandExecutionError as error:
        return _result(name, False, str(error), _changes(name, table, {unit}, where))
    changes = _changes(name, table, {unit}, where)
    return _result(name, True, _sentence(changes, False), changes)


def _defined(what, name, definition, wanted, timeout, conf_file, bin_env):
    try:
        done = __salt__["supervisord.define"](
            name,
            definition,
            start=wanted,
            timeout=timeout,
            test=__opts__["test"],
            conf_file=conf_file,
            bin_env=bin_env,
        )
    except CommandExecutionError as error:
        return _result(name, False, str(error), getattr(error, "changes", {}))
    changes = done["changes"]
    comment = f"{what} {name} is as defined"
    if changes:
        parts = [_sentence(changes.get("processes", {}), __opts__["test"])]
        if "definition" in changes:
            told = ", ".join(changes["definition"])
            parts.insert(0, f"definition {'would change' if __opts__['test'] else 'set'}: {told}")
        comment = f"{what} {name}: " + ("; ".join(part for part in parts if part) or "adjusted")
    return _success(name, changes, _join(comment, done["comment"]))


def _plan_running(name, seen, restart, update, where):
    """
    Steps (execution functions and arguments) that make a program run, the changes they will make,
    and what is in the way (str): with changes expected or a problem, in test mode, the problem may
    be gone by the time of a run.
    """
    if seen["down"]:
        return [], {}, seen["why"]
    table = seen["processes"]
    unit = _group_of(name, table)
    names = django_supervisor_plan.resolve(name, table)
    if seen["refused"] and (update or not names):
        problem = f"supervisord cannot read its configuration: {seen['refused']}"
        return [], {name: "started"}, problem
    if not names:
        if unit not in seen["added"]:
            message = django_supervisor_plan.unknown(name, table)
            return [], {}, f"{message}. No file defines it either"
        added = _configured(unit, where)
        chosen = set(django_supervisor_plan.resolve(name, added))
        expected = {
            full: "started" if full in chosen or info["autostart"] else "added"
            for full, info in added.items()
        }
        return [("add", {"name": unit}), ("start", {"name": name})], expected, ""
    if update and unit in seen["removed"]:
        return [], {name: "removed"}, f"No file defines {name} any more"
    if update and unit in seen["changed"]:
        fresh = _configured(unit, where)
        chosen = set(django_supervisor_plan.resolve(name, fresh))
        expected = dict.fromkeys(django_supervisor_plan.resolve(unit, table), "removed")
        for full, info in fresh.items():
            up = table.get(full, {}).get("statename") in UP
            if full in chosen or info["autostart"]:
                expected[full] = "restarted" if up else "started"
            elif up:
                expected[full] = "stopped"
            elif full in table:
                expected.pop(full, None)
            else:
                expected[full] = "added"
        steps = [("update", {"name": unit}), ("start", {"name": name})]
        return steps, dict(sorted(expected.items())), ""
    states = {full: table[full]["statename"] for full in names}
    if restart:
        expected = {
            full: "restarted" if state in UP else "started" for full, state in states.items()
        }
        return [("restart", {"name": name})], expected, ""
    expected = {full: "started" for full, state in states.items() if state not in UP}
    pending = any(state != "RUNNING" for state in states.values())
    return [("start", {"name": name})] if pending else [], expected, ""


def _configured(unit, where):
    found = __salt__["supervisord.configured"](**where)
    return {full: info for full, info in found.items() if info["group"] == unit}


def _group_of(name, table):
    name = str(name)
    if name in table:
        return table[name]["group"]
    return name.partition(":")[0]


def _changes(name, before, groups, where):
    """What happened to the processes of some groups since ``before``."""
    where = {key: where[key] for key in ("conf_file", "bin_env")}
    try:
        after = __salt__["supervisord.processes"](**where)
    except CommandExecutionError:
        return {}
    before, after = (
        {full: info for full, info in table.items() if name == "all" or info["group"] in groups}
        for table in (before, after)
    )
    return django_supervisor_plan.verbs(before, after)


def _sentence(actions, test):
    """``started: a, b; stopped: c`` of ``{a: started, …}``."""
    words = {}
    for full, verb in actions.items():
        words.setdefault(verb, []).append(full)
    would = "would be " if test else ""
    return "; ".join(f"{would}{verb}: {', '.join(names)}" for verb, names in words.items())


def _own(keywords):
    return {key: value for key, value in keywords.items() if not key.startswith("__")}


def _join(*parts):
    return "\n".join(part for part in parts if part)


def _success(name, changes, comment):
    """A result that is None where changes are only predicted."""
    return _result(name, None if changes and __opts__["test"] else True, comment, changes)


def _result(name, result, comment, changes=None):
    made = {"name": name, "result": result, "comment": comment, "changes": changes or {}}
    if result is False:
        # Otherwise what mod_watch says would take the place of the failure.
        made["skip_watch"] = True
    return made
