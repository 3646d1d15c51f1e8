"""
Supervisord without supervisorctl: programs as data, the files they are written to, and the daemon's
own XML-RPC interface over its Unix socket (or HTTP).

Three parts. *Definitions*: :func:`unit` turns a dict of supervisord's option names into the text
of one configuration file, :func:`differences` compares it with the file that is there.
*Decisions*: :func:`plan` and :func:`plan_removal` say what has to happen, from data alone, so that
a test run and a real run decide alike. *Acts*: :class:`Daemon` talks to supervisord and carries a
plan out.

One file is one process group of supervisord, hence the smallest thing that can be exchanged without
touching a neighbour.

Facts of supervisord 4 that shape this module:

- A value is read by ``RawConfigParser`` with ``;`` and ``#`` as inline comments, then expanded as a
  Python format string (log file names twice), then parsed; ``environment`` by a non-POSIX ``shlex``
  that knows no escapes.
- ``reloadConfig`` only re-reads files. What runs is left alone until its group is removed and added
  again, and groups that are removed must be stopped.
- A group that is added starts by itself when ``autostart`` is true; a process that was stopped
  stays so as long as its group is left alone.
- The exit status of a process that ended too quickly is found in the daemon's log only.
"""

import base64
import configparser
import contextlib
import dataclasses
import difflib
import errno
import functools
import glob
import http.client
import os
import platform
import re
import shlex
import socket
import stat
import time
import xmlrpc.client

CONFIGS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
SOCKET = "/run/supervisor.sock"
INCLUDE = "/etc/supervisor/conf.d/*.conf"
HEADER = "; Written by Salt (django-formula): the next run replaces what is changed here.\n"
HIDDEN = "**********"

UP = ("RUNNING", "STARTING")
ACTIVE = ("RUNNING", "STARTING", "BACKOFF")
DOWN = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")

FAULTS = {
    1: "UNKNOWN_METHOD",
    2: "INCORRECT_PARAMETERS",
    3: "BAD_ARGUMENTS",
    4: "SIGNATURE_UNSUPPORTED",
    6: "SHUTDOWN_STATE",
    10: "BAD_NAME",
    11: "BAD_SIGNAL",
    20: "NO_FILE",
    21: "NOT_EXECUTABLE",
    30: "FAILED",
    40: "ABNORMAL_TERMINATION",
    50: "SPAWN_ERROR",
    60: "ALREADY_STARTED",
    70: "NOT_RUNNING",
    90: "ALREADY_ADDED",
    91: "STILL_RUNNING",
    92: "CANT_REREAD",
}


class SupervisorError(Exception):
    """Anything that went wrong between us and supervisord; the message is for the operator."""


class DefinitionError(SupervisorError):
    """A definition that supervisord would refuse or read differently; one line per mistake."""


class Unreachable(SupervisorError):
    """Supervisord does not answer. ``down`` (bool): nothing listens at its address at all."""

    def __init__(self, message, down=False):
        super().__init__(message)
        self.down = down


class Fault(SupervisorError):
    """Supervisord refused a call. ``kind`` (str): the fault's name, such as ``BAD_NAME``."""

    def __init__(self, code, text):
        self.kind = FAULTS.get(code, str(code))
        super().__init__(text)


class Failed(SupervisorError):
    """Processes that should run do not, or should have stopped and did not."""


# Definitions -------------------------------------------------------------------------------------

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
# What supervisord fills in; every other percent sign of a value is meant literally.
_EXPANSION = re.compile(
    r"%\((?:program_name|process_num|numprocs|group_name|host_node_name|here"
    r"|ENV_[A-Za-z_][A-Za-z0-9_]*)\)[-0]*[0-9]*(?:\.[0-9]+)?[diouxXsr]"
)
# Expands to nothing. Between a blank and a ';' or '#' it keeps the parser from seeing a comment.
_NOTHING = "%(program_name).0s"
_COMMENT = re.compile(r"(?:^|(?<=\s))(?=[;#])")


class _Wrong(Exception):
    """A value that does not fit its option; the message says what was expected."""


def escape(text, times=1):
    """
    A text as supervisord has to read it in its configuration: literal percent signs doubled, inline
    comment signs defused, its own expansions such as ``%(process_num)02d`` left as they are.

    times
        How often supervisord expands the value (2 for log file names).
    """
    parts, position = [], 0
    for match in _EXPANSION.finditer(text):
        parts += [text[position : match.start()].replace("%", "%%" * times), match.group()]
        position = match.end()
    parts.append(text[position:].replace("%", "%%" * times))
    return _COMMENT.sub(lambda _: _NOTHING, "".join(parts))


def unescape(raw, times=1):
    """The text behind a raw value of a configuration file, for people to read."""
    return raw.replace(_NOTHING, "").replace("%%" * times, "%")


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
    if isinstance(value, str) and value.lower() in ("true", "yes", "on", "1"):
        return "true"
    if isinstance(value, str) and value.lower() in ("false", "no", "off", "0"):
        return "false"
    if not isinstance(value, bool):
        raise _Wrong("true or false")
    return "true" if value else "false"


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
    if not _SIGNAL.fullmatch(_plain(value).upper()):
        raise _Wrong("a signal, such as TERM")
    return _plain(value).upper().removeprefix("SIG")


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
KINDS = ("program", "fcgi-program", "eventlistener")


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
    if group is None:
        section, options = _section(name, definition, running, wrong)
        group, sections = name, {section: options}
    else:
        _check_name("group", group, wrong)
        if "socket" in definition or "events" in definition:
            wrong.append(f"program {name}: group: only plain programs can be in a group")
        section, options = _section(name, definition, running, wrong)
        sections = {section: options, f"group:{group}": _group_section([name], options)}
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


def redact(text, secrets):
    """``text`` without the given values; those of under four characters hide nothing."""
    for secret in sorted(filter(lambda value: len(value) > 3, secrets), key=len, reverse=True):
        for form in {secret, escape(secret)}:
            text = text.replace(form, HIDDEN)
    return text


def full_name(group, process):
    """Name of a process as supervisord's calls expect it."""
    return process if group == process else f"{group}:{process}"


# Files -------------------------------------------------------------------------------------------


def parse(text, source="configuration"):
    """
    Sections of a configuration file as supervisord itself would read them, nothing expanded.

    Returns ``{section: {option: raw value}}``.
    """
    parser = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(";", "#"))
    try:
        parser.read_string(text, source)
    except configparser.Error as error:
        reason = str(error).splitlines()[0]
        raise SupervisorError(f"{source} is not a supervisord configuration: {reason}") from None
    return {section: dict(parser.items(section)) for section in parser.sections()}


def parse_environment(raw):
    """Variables of a raw ``environment`` value, as supervisord's own parser splits it."""
    lexer = shlex.shlex(raw)
    lexer.wordchars += "/.+-():"
    try:
        tokens = list(lexer)
    except ValueError:
        return {}
    return {
        tokens[index]: tokens[index + 2].strip("'\"")
        for index in range(0, len(tokens) - 2, 4)
        if tokens[index + 1] == "="
    }


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
class File:
    """A configuration file as it is now: path, text (None: it does not exist), mode."""

    path: str
    text: str | None = None
    mode: int | None = None

    @functools.cached_property
    def sections(self):
        """The file's sections; raises :class:`SupervisorError` when it is no configuration."""
        return parse(self.text or "", self.path)

    @property
    def readable(self):
        """The file's sections, or none when it is no configuration."""
        try:
            return self.sections
        except SupervisorError:
            return {}


def read_file(path):
    """The :class:`File` at a path; one that does not exist has ``text`` None."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            text = handle.read()
    except FileNotFoundError:
        return File(path)
    except OSError as error:
        raise SupervisorError(f"Cannot read {path}: {error.strerror}") from None
    return File(path, text, mode)


def write_file(path, text, mode):
    """Replace a file in one step, so that neither supervisord nor a power cut sees half of it."""
    folder, base = os.path.split(path)
    temporary = os.path.join(folder, f".{base}.{os.getpid()}.new")
    try:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise SupervisorError(f"Cannot write {path}: {error.strerror}") from None


# Where supervisord is ----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Settings:
    """
    What the main configuration says of supervisord: path of that file (None when there is none),
    url, username, password, and include (absolute glob patterns of further files).
    """

    path: str | None = None
    url: str = f"unix://{SOCKET}"
    username: str | None = None
    password: str | None = None
    include: tuple = (INCLUDE,)

    def files(self):
        """Every configuration file there is, the main one first (list of str)."""
        found = [self.path] if self.path else []
        for pattern in self.include:
            found += [path for path in sorted(glob.glob(pattern)) if path not in found]
        return found

    def program_path(self, name):
        """Path of the file for a program, in the first folder that supervisord includes."""
        for pattern in self.include:
            folder, base = os.path.split(pattern)
            if base.startswith("*") and not glob.has_magic(folder) and not glob.has_magic(base[1:]):
                return os.path.join(folder, f"{name}{base[1:]}")
        raise SupervisorError(
            f"{self.path} includes no folder for programs. Add to it:\n"
            "[include]\nfiles = conf.d/*.conf"
        )


def find_config(conf_file=None, bin_env=None):
    """
    Path of supervisord's main configuration (None when there is none).

    conf_file
        The path, if it is known.
    bin_env
        A virtual environment that supervisord lives in, or its supervisorctl.
    """
    if conf_file:
        return str(conf_file)
    candidates = list(CONFIGS)
    if bin_env:
        root = str(bin_env) if os.path.isdir(bin_env) else os.path.dirname(os.path.dirname(bin_env))
        candidates = [f"{root}/etc/supervisord.conf", f"{root}/supervisord.conf", *candidates]
    return next((path for path in candidates if os.path.isfile(path)), None)


def read_settings(path):
    """:class:`Settings` from the main configuration at ``path``; defaults when it is None."""
    if path is None:
        return Settings()
    path = os.path.abspath(path)
    found = read_file(path)
    if found.text is None:
        # A host on which it is still to be installed: only a test run gets further than this.
        return Settings(None, include=(os.path.join(os.path.dirname(path), "conf.d", "*.conf"),))
    return settings_from(found.sections, path)


def settings_from(sections, path):
    """:class:`Settings` from the sections of the main configuration, which lies at ``path``."""
    here = os.path.dirname(path)
    values = {f"ENV_{name}": value for name, value in os.environ.items()}
    values.update(here=here, host_node_name=platform.node())

    def get(section, option):
        raw = sections.get(section, {}).get(option)
        if raw is None:
            return None
        try:
            return raw % values
        except (KeyError, TypeError, ValueError):
            raise SupervisorError(f"{path}: [{section}] {option} cannot be expanded") from None

    section = next((name for name in sections if name.startswith("unix_http_server")), None)
    if section and get(section, "file"):
        file = get(section, "file").strip()
        url = "unix://" + os.path.normpath(os.path.join(here, os.path.expanduser(file)))
    elif get("supervisorctl", "serverurl"):
        section, url = "supervisorctl", get("supervisorctl", "serverurl").strip()
    else:
        section = next((name for name in sections if name.startswith("inet_http_server")), None)
        port = (get(section, "port") if section else None) or ""
        host, _, number = port.strip().rpartition(":")
        host = "127.0.0.1" if host in ("", "*", "0.0.0.0") else host  # noqa: S104
        url = f"http://{host}:{number}" if port else f"unix://{SOCKET}"
    username, password = (get(section, key) if section else None for key in _CREDENTIALS)
    if password is None or password.startswith("{SHA}"):
        username, password = (get("supervisorctl", key) for key in _CREDENTIALS)
    include = get("include", "files") or ""
    patterns = tuple(os.path.join(here, pattern) for pattern in include.split())
    return Settings(path, url, username, password, patterns)


_CREDENTIALS = ("username", "password")


# Transport ---------------------------------------------------------------------------------------


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """
    Calls to supervisord's XML-RPC interface. None of them waits for a process, so each returns at
    once and ``timeout`` (seconds) only guards against a daemon that hangs.

    url
        ``unix:///path/of/socket`` or ``http://host:port``.
    username, password
        Credentials, when supervisord asks for them.
    """

    def __init__(self, url, username=None, password=None, timeout=30):
        self.url = url
        self._headers = {"Content-Type": "text/xml", "Connection": "close"}
        self._timeout = timeout
        if username is not None and password is not None:
            token = base64.b64encode(f"{username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def _connection(self):
        scheme, _, rest = self.url.partition("://")
        if scheme == "unix" and rest:
            return _UnixConnection(rest, self._timeout)
        if scheme == "http" and rest:
            return http.client.HTTPConnection(rest.rstrip("/"), timeout=self._timeout)
        raise SupervisorError(f"{self.url}: expected unix:///path or http://host:port")

    def call(self, method, *params):
        """Result of a call such as ``supervisor.getState``; raises :class:`Fault` if refused."""
        body = xmlrpc.client.dumps(params, method, encoding="utf-8", allow_none=False).encode()
        connection = self._connection()
        try:
            connection.request("POST", "/RPC2", body, self._headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            raise Unreachable(
                f"supervisord at {self.url} wants a username and a password; give them in "
                "[unix_http_server] or [supervisorctl] of its configuration"
            )
        if response.status != http.HTTPStatus.OK:
            raise Unreachable(
                f"supervisord at {self.url} answered {method} with {response.status} "
                f"{response.reason}; its log tells more"
            )
        try:
            return xmlrpc.client.loads(answer)[0][0]
        except xmlrpc.client.Fault as fault:
            raise Fault(fault.faultCode, fault.faultString) from None
        except Exception as error:  # the parser raises whatever its XML library does
            raise SupervisorError(f"{self.url}: {method}: unreadable answer: {error}") from None

    def together(self, *calls):
        """
        Several calls, each ``(method, parameter, …)``, in one round trip. A result that is a
        :class:`Fault` was refused; the others went through.
        """
        wanted = [{"methodName": method, "params": list(params)} for method, *params in calls]
        return [
            Fault(result["faultCode"], result["faultString"])
            if isinstance(result, dict) and "faultCode" in result
            else result
            for result in self.call("system.multicall", wanted)
        ]

    def _unreachable(self, error):
        down = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        advice = "start supervisord" if down else "look at supervisord's log"
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM):
            advice = "run this as a user that may use the socket"
        return Unreachable(f"supervisord does not answer at {self.url}: {reason}; {advice}", down)


# Decisions ---------------------------------------------------------------------------------------


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
    supervisord has nothing of that name.
    """
    if name == "all":
        return sorted(processes)
    if name in processes:
        return [name]
    group = name[:-1] if name.endswith(":") else name.removesuffix(":*")
    return sorted(full for full, info in processes.items() if info["group"] == group)


def unknown(name, processes):
    """What to tell about a name that means no process."""
    groups = sorted({info["group"] for info in processes.values()})
    close = difflib.get_close_matches(name, [*processes, *groups], 1, 0.6)
    hint = f"; did you mean {close[0]}?" if close else f"; it has {', '.join(groups) or 'none'}"
    return f"supervisord has no process or group {name}{hint}"


# Acts --------------------------------------------------------------------------------------------

_EXITED = re.compile(r"exited: (?P<name>\S+) \((?P<how>.*?)(?:; (?:not )?expected)?\)$", re.M)
_SPAWN_FAILURE = re.compile(r"can't find command|command at |no permission|bad command|can't parse")
_TAIL_BYTES = 8192
QUIET_SECONDS = 0.3


class Daemon:
    """
    A supervisord and its files.

    settings
        :class:`Settings`.
    client
        Something with :class:`Client`'s ``call`` and ``together``.
    """

    def __init__(self, settings, client=None):
        self.settings = settings
        self._client = client or Client(settings.url, settings.username, settings.password)

    def call(self, method, *params):
        """Result of a call in supervisord's own namespace."""
        return self._client.call(f"supervisor.{method}", *params)

    def processes(self):
        """Every process: ``{full name: info}`` with the keys of ``getAllProcessInfo``."""
        return _by_name(self.call("getAllProcessInfo"))

    def overview(self):
        """An :class:`Overview`, in one round trip. What runs is not touched by it."""
        table, pending = self._client.together(
            ("supervisor.getAllProcessInfo",), ("supervisor.reloadConfig",)
        )
        for result in (table, pending):
            if isinstance(result, Fault) and result.kind != "CANT_REREAD":
                raise result
        if isinstance(pending, Fault):
            return Overview(_by_name(table), refused=_scrub(str(pending)))
        return Overview(_by_name(table), *map(tuple, pending[0]))

    def reload(self):
        """Have the files read again; ``(added, changed, removed)`` groups. Nothing is started."""
        try:
            return tuple(self.call("reloadConfig")[0])
        except Fault as fault:
            raise SupervisorError(
                f"supervisord cannot read its configuration: {_scrub(str(fault))}"
            ) from None

    def configs(self):
        """Options of every process that the files define: ``{full name: info}``."""
        return {
            full_name(info["group"], info["name"]): info for info in self.call("getAllConfigInfo")
        }

    def defined_in(self, name, besides=None):
        """Path of a file other than ``besides`` that defines a program or group; None if none."""
        wanted = {f"{kind}:{name}" for kind in (*KINDS, "group")}
        for path in self.settings.files():
            if path == besides:
                continue
            with contextlib.suppress(SupervisorError):
                if wanted & set(read_file(path).sections):
                    return path
        return None

    def define(self, wanted, made, timeout=None):
        """
        Carry out a :class:`Plan` for a :class:`Unit` and wait until its processes run.

        timeout
            Seconds to wait for them; None: long enough for all their start attempts.

        Raises :class:`Failed` when a process does not come up. A configuration that supervisord
        refuses is taken back before anything is stopped.
        """
        path = self.settings.program_path(wanted.name)
        file = read_file(path)
        if made.write or made.chmod:
            self._check_write(wanted, file)
        if made.retire or made.load:
            _check_command(wanted)
        limits = self.configs() if made.retire or made.stop else {}
        if made.write:
            write_file(path, wanted.text, wanted.mode)
        elif made.chmod:
            os.chmod(path, wanted.mode)
        if made.write or made.load or made.retire:
            try:
                self.reload()
            except SupervisorError as error:
                if made.write:
                    self._restore(file)
                raise SupervisorError(
                    f"{redact(str(error), wanted.secrets)}\nNothing was changed."
                ) from None
        for group in made.retire:
            self.retire(group, limits=limits)
        if made.load:
            self._add(wanted.group)
            made.loaded = True
        if made.stop:
            self.stop(made.stop, limits=limits)
        if made.start:
            self.request_start(made.start, wanted.secrets)
        if made.wait:
            self.wait_running(made.wait, timeout, wanted.processes, wanted.secrets)

    def undefine(self, name, made, timeout=None):
        """Carry out a removal's :class:`Plan`: stop, forget, delete the file."""
        limits = self.configs() if made.retire and timeout is None else {}
        for group in made.retire:
            self.retire(group, timeout, limits)
        if made.write:
            path = self.settings.program_path(name)
            try:
                os.unlink(path)
            except OSError as error:
                raise SupervisorError(f"Cannot remove {path}: {error.strerror}") from None
        if made.write or made.retire:
            try:
                self.reload()
            except SupervisorError as error:
                made.notes.append(str(error))

    def _check_write(self, wanted, file):
        extra = sorted(
            section
            for section in file.readable
            if section.partition(":")[0] not in (*KINDS, "group")
            or section.partition(":")[2] not in _names(wanted)
        )
        if extra and not (file.text or "").startswith(HEADER):
            raise SupervisorError(
                f"{file.path} also has [{'], ['.join(extra)}], which would be lost; "
                "move them to another file"
            )
        for name in _names(wanted):
            other = self.defined_in(name, besides=file.path)
            if other:
                raise SupervisorError(f"{name} is defined in {other} already; remove it there")

    def _restore(self, file):
        if file.text is None:
            os.unlink(file.path)
        else:
            write_file(file.path, file.text, file.mode)
        with contextlib.suppress(SupervisorError):
            self.reload()

    def _add(self, group):
        try:
            self.call("addProcessGroup", group)
        except Fault as fault:
            if fault.kind != "ALREADY_ADDED":
                raise

    def retire(self, group, timeout=None, limits=None):
        """Stop a group's processes and take it out of supervisord; its file stays."""
        members = [name for name, info in self.processes().items() if info["group"] == group]
        for attempt in range(3):
            self.stop(members, timeout, limits)
            try:
                self.call("removeProcessGroup", group)
            except Fault as fault:
                if fault.kind == "BAD_NAME":
                    return
                # It restarted by itself between the two calls.
                if fault.kind != "STILL_RUNNING" or attempt == 2:
                    raise
            else:
                return

    def stop(self, names, timeout=None, limits=None):
        """
        Stop processes and wait until they have ended.

        timeout
            Seconds; None: the longest ``stopwaitsecs`` of them and ten more.
        limits
            Result of :meth:`configs`, if it is known.

        Raises :class:`Failed` when one is still there.
        """
        asked, deadline = set(), None
        while names:
            table = self.processes()
            left = [
                name
                for name in names
                if table.get(name, {}).get("statename", "STOPPED") not in DOWN
            ]
            if not left:
                return
            if deadline is None:
                if timeout is None:
                    limits = limits or self.configs()
                    known = [limits.get(name, {}).get("stopwaitsecs", 10) for name in left]
                    timeout = max(known) + 10
                deadline = time.monotonic() + timeout
            elif time.monotonic() > deadline:
                states = ", ".join(f"{name} is {table[name]['statename']}" for name in left)
                raise Failed(f"Not stopped after {timeout} s: {states}")
            for name in left:
                if table[name]["statename"] in ACTIVE and (
                    name not in asked or table[name]["statename"] == "BACKOFF"
                ):
                    asked.add(name)
                    try:
                        self.call("stopProcess", name, False)
                    except Fault as fault:
                        if fault.kind not in ("NOT_RUNNING", "BAD_NAME"):
                            raise Failed(f"{name} cannot be stopped: {fault}") from None
                elif table[name]["statename"] not in ACTIVE:
                    asked.discard(name)
            time.sleep(0.05)

    def request_start(self, names, secrets=()):
        """Ask supervisord to start processes, without waiting for them."""
        table = self.processes()
        # Supervisord says yes to the start of a process that is still stopping, and does nothing.
        self.stop([name for name in names if table.get(name, {}).get("statename") == "STOPPING"])
        refused = []
        for name in names:
            try:
                self.call("startProcess", name, False)
            except Fault as fault:
                # An attempt that failed is told with its reasons by whoever waits for the process.
                if fault.kind not in ("ALREADY_STARTED", "SPAWN_ERROR"):
                    refused.append(f"{name}: {fault}")
        if refused:
            raise Failed(redact("Cannot start " + "; ".join(refused), secrets))

    def wait_running(self, names, timeout=None, options=None, secrets=()):
        """
        Wait until processes have stayed up for their ``startsecs``.

        timeout
            Seconds; None: as long as supervisord itself goes on trying.
        options
            ``{full name: raw options}``, to know of which exit a process may have ended.

        Raises :class:`Failed`, with each one's state, exit status and last lines of output.
        """
        options = options or {}
        deadline = None if timeout is None else time.monotonic() + timeout
        calm_since, pids = time.monotonic(), None
        while True:
            table = self.processes()
            chosen = {name: table.get(name) for name in names}
            bad = [
                name for name, info in chosen.items() if _has_failed(info, options.get(name, {}))
            ]
            busy = [
                name
                for name, info in chosen.items()
                if info
                and info["statename"] != "RUNNING"
                and not finished(info, options.get(name, {}))
            ]
            if bad:
                break
            if not busy:
                seen = {name: info["pid"] for name, info in chosen.items()}
                if pids != seen:
                    calm_since, pids = time.monotonic(), seen
                # Without startsecs RUNNING says nothing, so it has to last a moment.
                unsure = [
                    name
                    for name, info in chosen.items()
                    if info["start"] + 1 >= info["now"]
                    and options.get(name, {}).get("startsecs") == "0"
                ]
                if not unsure or time.monotonic() - calm_since > QUIET_SECONDS:
                    return
            if deadline is None:
                deadline = time.monotonic() + self._patience(names)
            if time.monotonic() > deadline:
                bad = busy or list(names)
                break
            time.sleep(0.05)
        raise Failed(self.explain(bad, secrets))

    def _patience(self, names):
        """Seconds until supervisord has made all its attempts to start processes, at most 90."""
        configs = self.configs()
        longest = 10
        for name in names:
            known = configs.get(name, {})
            seconds, retries = known.get("startsecs", 1), known.get("startretries", 3)
            attempts = (seconds + 1) * (retries + 1) + retries * (retries + 1) // 2 + 5
            longest = max(longest, seconds + 10, min(attempts, 90))
        return longest

    def explain(self, names, secrets=()):
        """Why processes are not running: state, exit status and last lines of their output."""
        table = self.processes()
        try:
            log = self.call("readLog", -16384, 0)
        except SupervisorError:
            log = ""
        exits = {match["name"]: match["how"] for match in _EXITED.finditer(log)}
        parts = []
        for name in names:
            info = table.get(name)
            if info is None:
                parts.append(f"{name} is not in supervisord any more")
                continue
            what = [info["statename"]]
            if info["spawnerr"]:
                what.append(info["spawnerr"].replace(" (process log may have details)", ""))
            if _SPAWN_FAILURE.match(info["spawnerr"]):
                parts.append(f"{name} is {': '.join(what)}")
                continue
            if info["name"] in exits:
                what.append(exits[info["name"]])
            elif info["statename"] == "EXITED":
                what.append(f"exit status {info['exitstatus']}")
            lines = self.tail(info)
            end = f"; its last lines in {lines[0]}:\n{lines[1]}" if lines else ""
            parts.append(f"{name} is {': '.join(what)}{end}")
        return redact("\n".join(parts), secrets)

    def tail(self, info, channel="stderr", lines=20):
        """
        Last lines of a process's output.

        info
            The process's entry of :meth:`processes`.
        channel
            ``stderr`` (the other one where it is redirected there) or ``stdout``.

        Returns ``(path, text)``, or None when nothing was kept.
        """
        if channel == "stderr" and not info["stderr_logfile"]:
            channel = "stdout"
        path = info[f"{channel}_logfile"]
        if not path:
            return None
        size = max(_TAIL_BYTES, lines * 400)
        # The file itself where we can: the call fails on text that is no UTF-8 or no XML.
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None
            with open(path, "rb") as handle:
                handle.seek(max(0, os.fstat(handle.fileno()).st_size - size))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            try:
                name = full_name(info["group"], info["name"])
                text = self.call(f"readProcess{channel.capitalize()}Log", name, -size, 0)
            except SupervisorError:
                return None
        kept = "\n".join(text.splitlines()[-lines:])
        return (path, kept) if kept.strip() else None


def _by_name(table):
    return {full_name(info["group"], info["name"]): info for info in table}


def _names(wanted):
    return {section.partition(":")[2] for section in wanted.sections}


def _has_failed(info, options):
    if info is None or info["statename"] in ("FATAL", "UNKNOWN"):
        return True
    if info["statename"] == "BACKOFF":
        return bool(_SPAWN_FAILURE.match(info["spawnerr"]))
    if info["statename"] == "EXITED":
        return options.get("autorestart") == "false" and not finished(info, options)
    return info["statename"] in ("STOPPED", "STOPPING") and info["start"] > 0


def _scrub(text):
    """A refusal without the values that supervisord quotes in it: they can be environments."""
    text = re.sub(r"Format string (['\"]).*\1 for", "Format string for", text, flags=re.S)
    text = re.sub(
        r"(key/value pairs) in value '.*'(?= in section|$)", r"\1 of environment", text, flags=re.S
    )
    text = re.sub(r"(\[line +\d+\]): .*", r"\1", text)
    text = re.sub(r"(line: \d+)\n.*", r"\1", text, flags=re.S)
    return text.removeprefix("CANT_REREAD: ").strip()


def _check_command(wanted):
    """Refuse to exchange a program for one that cannot be executed or has no folder."""
    for section, options in wanted.sections.items():
        if "command" not in options:
            continue
        name = section.partition(":")[2]
        words = shlex.split(unescape(options["command"]))
        path = words[0]
        if path.startswith("/") and "%(" not in path and not os.access(path, os.X_OK):
            state = "is not executable" if os.path.exists(path) else "does not exist"
            raise SupervisorError(f"program {name}: command: {path} {state}. Nothing was changed.")
        folder = unescape(options.get("directory", "/"))
        if "%(" not in folder and not os.path.isdir(folder):
            raise SupervisorError(
                f"program {name}: directory: {folder} does not exist. Nothing was changed."
            )
