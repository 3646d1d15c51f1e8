"""
What has to happen in supervisord, decided from data alone, so that a test run and a real run decide
alike: :func:`differences` compares definitions, :func:`plan` and :func:`plan_removal` say how a
program gets from what is to what is wanted, :func:`verbs` tells what happened to processes.

A group that is added starts by itself when ``autostart`` is true; a process that was stopped stays
so as long as its group is left alone.
"""

import dataclasses
import difflib

from django_supervisor_ini import KINDS, parse_environment, unescape

UP = ("RUNNING", "STARTING")
ACTIVE = ("RUNNING", "STARTING", "BACKOFF")
DOWN = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")


def members(name, sections):
    """A program or group and, of a group, its programs (set of str)."""
    programs = sections.get(f"group:{name}", {}).get("programs", "").split(",")
    return {name, *(item.strip() for item in programs)}


def section_groups(sections):
    """Process groups that the sections of a file define, sorted (list of str)."""
    members, groups = set(), set()
    for section, options in sections.items():
        kind, _, name = section.partition(":")
        if kind == "group":
            groups.add(name)
            members |= {item.strip() for item in options.get("programs", "").split(",")}
    for section in sections:
        kind, _, name = section.partition(":")
        if kind == "eventlistener" or (kind in KINDS and name not in members):
            groups.add(name)
    return sorted(groups)


def differences(old, new):
    """
    What changes from one set of sections to another: ``{option: {old: …, new: …}}``, where
    ``environment`` names the variables only (``{added: […], changed: […], removed: […]}``).
    Options of a group's programs are told as ``program.option``.
    """
    before, after = _flat(old, new), _flat(new, old)
    found = {}
    for label in sorted(set(before) | set(after)):
        was, is_now = before.get(label), after.get(label)
        if was == is_now:
            continue
        if label.rpartition(".")[2] == "environment":
            names = _changed_names(parse_environment(was or ""), parse_environment(is_now or ""))
            if names:
                found[label] = names
        else:
            times = 2 if label.endswith("_logfile") else 1
            found[label] = {
                "old": None if was is None else unescape(was, times),
                "new": None if is_now is None else unescape(is_now, times),
            }
    return found


def _changed_names(was, is_now):
    names = {
        "added": sorted(set(is_now) - set(was)),
        "removed": sorted(set(was) - set(is_now)),
        "changed": sorted(name for name in set(was) & set(is_now) if was[name] != is_now[name]),
    }
    return {how: which for how, which in names.items() if which}


def _flat(sections, others):
    programs = {
        name
        for section in [*sections, *others]
        for kind, _, name in [section.partition(":")]
        if kind in KINDS
    }
    found = {}
    for section, options in sections.items():
        kind, _, name = section.partition(":")
        prefix = f"{name}." if len(programs) > 1 and kind in KINDS else ""
        if kind == "group":
            prefix = "group."
            found["group"] = name
        elif kind != "program":
            found[f"{prefix}kind"] = kind
        found.update({f"{prefix}{option}": raw for option, raw in options.items()})
    return found


@dataclasses.dataclass(frozen=True)
class Overview:
    """
    Everything a decision needs of supervisord at one moment: processes (``{full name: info}``), and
    the groups that its files define but it does not run (added), runs otherwise (changed) and runs
    although no file defines them (removed). ``refused`` (str) is why it could not read its files;
    ``down`` says that it did not answer at all, ``why`` with what error.
    """

    processes: dict
    added: tuple = ()
    changed: tuple = ()
    removed: tuple = ()
    refused: str = ""
    down: bool = False
    why: str = ""

    @property
    def groups(self):
        """Groups that supervisord has now."""
        return {info["group"] for info in self.processes.values()}

    def members(self, group):
        """Processes of a group: ``{full name: info}``."""
        return {name: info for name, info in self.processes.items() if info["group"] == group}


@dataclasses.dataclass
class Plan:
    """
    What has to happen to a unit, and the changes that will be reported.

    write, chmod (bool), definition (differences), retire (groups to stop and remove), load (bool:
    add the group), start, stop, wait (full names), actions (``{full name: verb}``), notes (str);
    loaded (bool) once the group has been added.
    """

    write: bool = False
    chmod: bool = False
    definition: dict = dataclasses.field(default_factory=dict)
    retire: list = dataclasses.field(default_factory=list)
    load: bool = False
    start: list = dataclasses.field(default_factory=list)
    stop: list = dataclasses.field(default_factory=list)
    wait: list = dataclasses.field(default_factory=list)
    actions: dict = dataclasses.field(default_factory=dict)
    changes: dict = dataclasses.field(default_factory=dict)
    notes: list = dataclasses.field(default_factory=list)
    loaded: bool = False

    @property
    def idle(self):
        """Whether nothing has to happen."""
        return not (
            self.write or self.chmod or self.retire or self.load
            or self.start or self.stop or self.wait
        )  # fmt: skip


def plan(wanted, file, overview, running=None):
    """
    How a unit gets from what is to what is wanted.

    wanted
        :class:`Unit`.
    file
        :class:`File` at the unit's path.
    overview
        :class:`Overview`.
    running
        True: every process must run, even one that was stopped by hand. False: none may. None: what
        is new, changed or failed starts, and what was stopped by hand stays so.
    """
    made = Plan()
    made.write = file.text != wanted.text
    made.chmod = file.text is not None and file.mode != wanted.mode
    if made.write:
        made.definition = differences(file.readable, wanted.sections)
    known = wanted.group in overview.groups
    stale = wanted.group in overview.changed or wanted.group in overview.removed
    sections = file.readable if made.write else wanted.sections
    former = [group for group in section_groups(sections) if group != wanted.group]
    made.retire = [group for group in former if group in overview.groups]
    made.load = not known or bool(made.definition) or stale
    if known and made.load:
        made.retire.append(wanted.group)
    before = overview.members(wanted.group)
    if made.load:
        _plan_loaded(made, wanted, before, running)
    else:
        _plan_kept(made, wanted, before, running)
    for group in made.retire:
        for name in overview.members(group):
            made.actions.setdefault(name, "removed")
    if made.definition:
        made.changes["definition"] = made.definition
    elif made.write:
        made.changes["file"] = "rewritten"
    if made.chmod:
        made.changes["mode"] = {"old": f"{file.mode:04o}", "new": f"{wanted.mode:04o}"}
    if made.load:
        made.changes["configuration"] = "loaded"
    if made.actions:
        made.changes["processes"] = dict(sorted(made.actions.items()))
    if overview.refused and made.idle:
        made.notes.append(f"supervisord cannot read its configuration: {overview.refused}")
    return made


def _plan_loaded(made, wanted, before, running):
    for name, options in wanted.processes.items():
        up = before.get(name, {}).get("statename") in UP
        autostart = options.get("autostart", "true") == "true"
        if running is not False and (autostart or running):
            made.actions[name] = "restarted" if up else "started"
            made.wait.append(name)
            if not autostart:
                made.start.append(name)
        elif up:
            made.actions[name] = "stopped"
        elif name not in before:
            made.actions[name] = "added"


def _plan_kept(made, wanted, before, running):
    for name, info in before.items():
        state = info["statename"]
        if running is False:
            if state in ACTIVE or state == "STOPPING":
                made.stop.append(name)
                made.actions[name] = "stopped"
        elif state in ACTIVE:
            if state != "RUNNING":
                made.wait.append(name)
            if state not in UP:
                made.start.append(name)
                made.actions[name] = "started"
        elif running or not _at_rest(info, wanted.processes.get(name, {})):
            made.start.append(name)
            made.wait.append(name)
            made.actions[name] = "started"
        elif state != "EXITED" and info["start"]:
            made.notes.append(
                f"{name} was stopped by hand and is left so; "
                f"`supervisorctl start {name}` or `running: True` starts it"
            )


def _at_rest(info, options):
    """Whether a process that is not running is meant to be so: stopped by hand, or finished."""
    if info["statename"] == "EXITED":
        return finished(info, options)
    return info["statename"] in ("STOPPED", "STOPPING")


def finished(info, options):
    """Whether a process has ended in the way that its definition expects."""
    codes = options.get("exitcodes", "0").split(",")
    return (
        info["statename"] == "EXITED"
        and options.get("autorestart", "unexpected") != "true"
        and str(info["exitstatus"]) in codes
    )


def plan_removal(name, file, overview):
    """How a unit disappears from supervisord and from the disk; a :class:`Plan`."""
    made = Plan()
    groups = {*section_groups(file.readable), name}
    made.retire = sorted(groups & overview.groups)
    made.write = file.text is not None
    for group in made.retire:
        made.actions.update(dict.fromkeys(overview.members(group), "removed"))
    if made.write:
        made.changes["file"] = "removed"
    if made.actions:
        made.changes["processes"] = dict(sorted(made.actions.items()))
    return made


def verbs(before, after):
    """
    What happened to processes between two looks at them: ``{full name: started | restarted |
    stopped | added | removed}``; those to which nothing happened are left out.
    """
    found = {}
    for name in sorted(set(before) | set(after)):
        old, new = before.get(name), after.get(name)
        was_up = bool(old) and old["statename"] in UP
        is_up = bool(new) and new["statename"] in UP
        if new is None:
            found[name] = "removed"
        elif was_up and is_up:
            if old["pid"] != new["pid"]:
                found[name] = "restarted"
        elif is_up:
            found[name] = "started"
        elif was_up or (
            old and old["statename"] in ("BACKOFF", "STOPPING") and new["statename"] == "STOPPED"
        ):
            found[name] = "stopped"
        elif old is None:
            found[name] = "added"
    return found


def resolve(name, processes):
    """
    Full names of the processes that ``name`` means: a process (``group:process``, or ``process``
    where both are the same), a group (``group``, ``group:`` or ``group:*``), or ``all``. Empty when
    supervisord has nothing of that name. A number is a name that Salt took for one.
    """
    name = str(name)
    if name == "all":
        return sorted(processes)
    if name in processes:
        return [name]
    group = name[:-1] if name.endswith(":") else name.removesuffix(":*")
    return sorted(full for full, info in processes.items() if info["group"] == group)


def unknown(name, processes):
    """What to tell about a name that means no process."""
    name = str(name)
    groups = sorted({info["group"] for info in processes.values()})
    close = difflib.get_close_matches(name, [*processes, *groups], 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(groups) or 'none'}"
    return f"supervisord has no process or group {name}{hint}"
