"""
What supervisord shall run: :func:`unit` checks a dict of supervisord's option names and turns it
into the text of one configuration file.

One file is one process group of supervisord, hence the smallest thing that can be exchanged without
touching a neighbour.
"""

import dataclasses
import difflib
import platform
import re
import shlex

from django_supervisor_ini import SupervisorError, escape

HEADER = "; Written by Salt (django-formula): the next run replaces what is changed here.\n"

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]{0,199}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")
_OWNER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*(?::[A-Za-z0-9_][A-Za-z0-9_.@-]*)?")
_DOTTED = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_SOCKET = re.compile(r"unix:///\S+|tcp://[^\s:]+:\d+")
_SIZE = re.compile(r"\d+\s*(?:[KMG]B)?", re.IGNORECASE)
_OCTAL = re.compile(r"0?[0-7]{3}")
_SIGNAL = re.compile(r"(?:SIG)?[A-Z][A-Z0-9]{1,7}|\d{1,2}")
_EVENT = re.compile(r"[A-Z][A-Z0-9_]*")
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


class DefinitionError(SupervisorError):
    """A definition that supervisord would refuse or read differently; one line per mistake."""


class _Wrong(Exception):
    """A value that does not fit its option; the message says what was expected."""


def _plain(value):
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise _Wrong("a text")
    value = str(value).strip()
    if not value:
        raise _Wrong("a text that is not empty")
    if _CONTROL.search(value):
        raise _Wrong("a text of one line without control characters")
    return value


def _text(value):
    return escape(_plain(value))


def _logfile(value):
    return escape(_plain(value), times=2)


def _matching(pattern, expected):
    def render(value):
        value = _plain(value)
        if not pattern.fullmatch(value):
            raise _Wrong(expected)
        return value

    return render


def _integer(minimum, maximum=1 << 31):
    def render(value):
        try:
            number = int(_plain(value))
        except ValueError:
            raise _Wrong("a whole number") from None
        if not minimum <= number <= maximum:
            raise _Wrong(f"a whole number of at least {minimum}")
        return str(number)

    return render


def _boolean(value):
    text = str(value).lower() if isinstance(value, (bool, str)) else ""
    if text in ("true", "yes", "on", "1"):
        return "true"
    if text in ("false", "no", "off", "0"):
        return "false"
    raise _Wrong("true or false")


def _autorestart(value):
    if value == "unexpected":
        return value
    try:
        return _boolean(value)
    except _Wrong:
        raise _Wrong("true, false or unexpected") from None


def _octal(value):
    if not isinstance(value, str) or not _OCTAL.fullmatch(value):
        raise _Wrong("three octal digits in quotes, such as '022'")
    return value


def _signal(value):
    value = _plain(value).upper()
    if not _SIGNAL.fullmatch(value):
        raise _Wrong("a signal, such as TERM")
    return value.removeprefix("SIG")


def _size(value):
    value = _plain(value)
    if not _SIZE.fullmatch(value):
        raise _Wrong("a number of bytes, such as 1048576 or 10MB")
    return value.upper().replace(" ", "")


def _items(value):
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return [item.strip() for item in _plain(value).split(",")]


def _exitcodes(value):
    codes = _items(value)
    if not all(code.isascii() and code.isdigit() and int(code) <= 255 for code in codes):
        raise _Wrong("numbers from 0 to 255, such as 0,2")
    return ",".join(codes)


def _events(value):
    events = [item.upper() for item in _items(value)]
    if not events or not all(_EVENT.fullmatch(event) for event in events):
        raise _Wrong("names of events, such as PROCESS_STATE")
    return ",".join(events)


def _command(value):
    if isinstance(value, (list, tuple)):
        if not value:
            raise _Wrong("a command line that is not empty")
        for word in value:
            if isinstance(word, bool) or not isinstance(word, (str, int, float)):
                raise _Wrong("a list of texts")
            if _CONTROL.search(str(word)):
                raise _Wrong("words without line breaks and control characters")
        return escape(shlex.join(str(word) for word in value))
    value = _plain(value)
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise _Wrong(f"a command line that a shell could split ({error})") from None
    if not words:
        raise _Wrong("a command line that is not empty")
    return escape(value)


def _environment(value):
    if not isinstance(value, dict):
        raise _Wrong("a map from names to values")
    pairs = []
    for name, content in sorted(value.items(), key=lambda item: str(item[0])):
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise _Wrong(f"names of environment variables, got {name!r}")
        if isinstance(content, bool) or not isinstance(content, (str, int, float)):
            raise _Wrong(f"a text as the value of {name}")
        pairs.append(f"{name}={_quoted(name, str(content))}")
    return ",".join(pairs)


def _quoted(name, content):
    """A value in the quotes that supervisord's parser takes off again. Its content is not told."""
    if _CONTROL.search(content):
        raise _Wrong(f"a value of {name} without line breaks and control characters")
    if content[:1] in ("'", '"') or content[-1:] in ("'", '"'):
        raise _Wrong(f"a value of {name} that neither begins nor ends with a quotation mark")
    if "'" in content and '"' in content:
        raise _Wrong(f"a value of {name} with one kind of quotation marks only")
    quote = "'" if '"' in content else '"'
    return escape(f"{quote}{content}{quote}")


def _log_options(channel):
    return {
        f"{channel}_logfile": _logfile,
        f"{channel}_logfile_maxbytes": _size,
        f"{channel}_logfile_backups": _integer(0),
        f"{channel}_capture_maxbytes": _size,
        f"{channel}_events_enabled": _boolean,
        f"{channel}_syslog": _boolean,
    }


# Options by name, in the order in which they are written, with the function that renders each.
PROGRAM_OPTIONS = {
    "command": _command,
    "process_name": _text,
    "numprocs": _integer(1, 10000),
    "numprocs_start": _integer(0),
    "priority": _integer(-(1 << 31)),
    "directory": _text,
    "user": _matching(_USER, "the name of a user"),
    "umask": _octal,
    "autostart": _boolean,
    "autorestart": _autorestart,
    "startsecs": _integer(0),
    "startretries": _integer(0),
    "exitcodes": _exitcodes,
    "stopsignal": _signal,
    "stopwaitsecs": _integer(0),
    "stopasgroup": _boolean,
    "killasgroup": _boolean,
    "redirect_stderr": _boolean,
    **_log_options("stdout"),
    **_log_options("stderr"),
    "environment": _environment,
    "serverurl": _text,
}
FCGI_OPTIONS = {
    "socket": _matching(_SOCKET, "unix:///path or tcp://host:port"),
    "socket_owner": _matching(_OWNER, "user or user:group"),
    "socket_mode": _octal,
    "socket_backlog": _integer(1, 65535),
}
LISTENER_OPTIONS = {
    "events": _events,
    "buffer_size": _integer(1),
    "result_handler": _matching(_DOTTED, "module:function"),
}
OPTIONS = {**PROGRAM_OPTIONS, **FCGI_OPTIONS, **LISTENER_OPTIONS}


@dataclasses.dataclass(frozen=True)
class Unit:
    """
    What one configuration file defines.

    name (file and program or group), group (process group in supervisord), sections
    (``{section: {option: raw value}}``), processes (``{full name: options of its program}``),
    secrets (values that must not be shown).
    """

    name: str
    group: str
    sections: dict
    processes: dict
    secrets: tuple

    @property
    def text(self):
        """Content of the configuration file."""
        blocks = [
            "".join([f"\n[{section}]\n", *(f"{key} = {raw}\n" for key, raw in options.items())])
            for section, options in self.sections.items()
        ]
        return HEADER + "".join(blocks)

    @property
    def mode(self):
        """Permissions of the file: only root may read environments."""
        private = any("environment" in options for options in self.sections.values())
        return 0o600 if private else 0o644


def unit(name, definition, running=None):
    """
    A :class:`Unit` from a definition as data.

    name
        Of the program, or of the group when the definition has ``programs``.
    definition
        Dict of supervisord's options: ``command`` (str or list of words), ``environment`` (dict),
        and any other by its name. ``socket`` makes it a FastCGI program, ``events`` an event
        listener; ``group`` puts it into a process group of that name. With ``programs`` (dict from
        program names to definitions) and optionally ``priority`` it is a group of several programs.
    running
        False: it must not start by itself, so ``autostart`` is written as false.

    Raises :class:`DefinitionError` with all mistakes at once.
    """
    wrong = []
    if not isinstance(definition, dict):
        raise DefinitionError(f"program {name}: expected a map of options")
    if "programs" in definition:
        made = _group_unit(name, definition, running, wrong)
    else:
        made = _program_unit(name, definition, running, wrong)
    if wrong:
        raise DefinitionError("\n".join(wrong))
    return made


def _program_unit(name, definition, running, wrong):
    definition = dict(definition)
    group = definition.pop("group", None)
    section, options = _section(name, definition, running, wrong)
    sections = {section: options}
    if group is None:
        group = name
    else:
        _check_name("group", group, wrong)
        if "socket" in definition or "events" in definition:
            wrong.append(f"program {name}: group: only plain programs can be in a group")
        sections[f"group:{group}"] = _group_section([name], options)
    processes = _processes(name, group, options, wrong)
    return Unit(name, group, sections, processes, _secrets(definition))


def _group_unit(name, definition, running, wrong):
    _check_name("group", name, wrong)
    programs = definition["programs"]
    for key in sorted(set(definition) - {"programs", "priority"}, key=str):
        wrong.append(f"group {name}: {key}: unknown; a group has programs and priority")
    if not isinstance(programs, dict) or not programs:
        wrong.append(f"group {name}: programs: expected a map from program names to definitions")
        programs = {}
    sections, processes, secrets = {}, {}, ()
    for program, options in programs.items():
        if not isinstance(options, dict):
            wrong.append(f"program {program}: expected a map of options")
            continue
        if {"socket", "events", "group"} & set(options):
            wrong.append(f"program {program}: a group's programs have no socket, events or group")
            continue
        section, raw = _section(program, options, running, wrong)
        sections[section] = raw
        processes.update(_processes(program, name, raw, wrong))
        secrets += _secrets(options)
    priority = {}
    if definition.get("priority") is not None:
        _render(f"group {name}", "priority", definition["priority"], priority, wrong)
    sections[f"group:{name}"] = _group_section(programs, priority)
    return Unit(name, name, sections, processes, secrets)


def _group_section(programs, options):
    found = {"programs": ",".join(programs)}
    if "priority" in options:
        found["priority"] = options["priority"]
    return found


def _check_name(what, name, wrong):
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "all":
        wrong.append(
            f"{what} {name!r}: expected a name of letters, digits and . _ + @ - that begins with "
            "a letter, a digit or _"
        )


def _section(name, definition, running, wrong):
    """Name and raw options of a program's section."""
    _check_name("program", name, wrong)
    kind = "program"
    known = PROGRAM_OPTIONS
    if definition.get("socket") is not None:
        kind, known = "fcgi-program", {**PROGRAM_OPTIONS, **FCGI_OPTIONS}
    elif definition.get("events") is not None:
        kind, known = "eventlistener", {**PROGRAM_OPTIONS, **LISTENER_OPTIONS}
    where = f"program {name}"
    for key in sorted(set(definition) - set(known), key=str):
        if definition[key] is None:
            continue
        if key in FCGI_OPTIONS or key in LISTENER_OPTIONS:
            needs = "socket" if key in FCGI_OPTIONS else "events"
            wrong.append(f"{where}: {key}: needs {needs}")
            continue
        close = difflib.get_close_matches(str(key), known, 1)
        wrong.append(f"{where}: {key}: unknown" + (f"; did you mean {close[0]}?" if close else ""))
    options = {}
    for key in known:
        value = definition.get(key)
        if value is not None and value != {}:
            _render(where, key, value, options, wrong)
    if "command" not in definition or definition["command"] is None:
        wrong.append(f"{where}: command: missing")
    if running is False:
        if options.get("autostart") == "true":
            wrong.append(f"{where}: autostart: cannot be true for a program that must not run")
        options["autostart"] = "false"
    if options.get("stopasgroup") == "true" and options.get("killasgroup") == "false":
        wrong.append(f"{where}: killasgroup: cannot be false when stopasgroup is true")
    if kind == "eventlistener" and options.get("redirect_stderr") == "true":
        wrong.append(f"{where}: redirect_stderr: an event listener talks on its standard output")
    if int(options.get("numprocs", "1")) > 1:
        options.setdefault("process_name", "%(program_name)s_%(process_num)02d")
        if "%(process_num)" not in options["process_name"]:
            wrong.append(f"{where}: process_name: needs %(process_num)02d when numprocs is over 1")
    return f"{kind}:{name}", {key: options[key] for key in known if key in options}


def _render(where, key, value, options, wrong):
    try:
        options[key] = OPTIONS[key](value)
    except _Wrong as error:
        got = "" if key == "environment" else f", got {value!r}"
        wrong.append(f"{where}: {key}: expected {error}{got}")


def _processes(program, group, options, wrong):
    """Full names of a program's processes, with its options."""
    count, first = int(options.get("numprocs", "1")), int(options.get("numprocs_start", "0"))
    pattern = options.get("process_name", "%(program_name)s")
    found = {}
    for number in range(first, first + count):
        values = {
            "program_name": program,
            "group_name": group,
            "process_num": number,
            "numprocs": count,
            "host_node_name": platform.node(),
        }
        try:
            process = pattern % values
        except (KeyError, TypeError, ValueError):
            wrong.append(
                f"program {program}: process_name: only program_name, group_name, process_num, "
                "numprocs and host_node_name can be filled in"
            )
            break
        if re.search(r"[ :/]", process):
            wrong.append(f"program {program}: process_name: {process!r} has a blank, ':' or '/'")
            break
        found[full_name(group, process)] = options
    return found


def _secrets(definition):
    environment = definition.get("environment")
    return tuple(map(str, environment.values())) if isinstance(environment, dict) else ()


def full_name(group, process):
    """Name of a process as supervisord's calls expect it."""
    return process if group == process else f"{group}:{process}"
