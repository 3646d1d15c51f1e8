"""
Supervisord's configuration files: the text that it reads as a given value, what a file defines, and
where the main configuration says that supervisord listens and includes its programs.

A value is read by ``RawConfigParser`` with ``;`` and ``#`` as inline comments, then expanded as a
Python format string (log file names twice), then parsed; ``environment`` by a non-POSIX ``shlex``
that knows no escapes.
"""

import configparser
import dataclasses
import functools
import glob
import os
import platform
import re
import shlex
import stat

import django_layout

CONFIGS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
SOCKET = "/run/supervisor.sock"
INCLUDE = "/etc/supervisor/conf.d/*.conf"
KINDS = ("program", "fcgi-program", "eventlistener")
HIDDEN = "**********"

# What supervisord fills in; every other percent sign of a value is meant literally.
_EXPANSION = re.compile(
    r"%\((?:program_name|process_num|numprocs|group_name|host_node_name|here"
    r"|ENV_[A-Za-z_][A-Za-z0-9_]*)\)[-0]*[0-9]*(?:\.[0-9]+)?[diouxXsr]"
)
# Expands to nothing. Between a blank and a ';' or '#' it keeps the parser from seeing a comment.
_NOTHING = "%(program_name).0s"
_COMMENT = re.compile(r"(?:^|(?<=\s))(?=[;#])")
_CREDENTIALS = ("username", "password")


class SupervisorError(Exception):
    """Anything that went wrong between us and supervisord; the message is for the operator."""


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


def redact(text, secrets):
    """``text`` without the given values; those of under four characters hide nothing."""
    for secret in sorted(filter(lambda value: len(value) > 3, secrets), key=len, reverse=True):
        for form in {secret, escape(secret)}:
            text = text.replace(form, HIDDEN)
    return text


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
    try:
        os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        content = text.encode("utf-8", "surrogateescape")
        django_layout.write_atomic(path, content, mode, uid=-1, gid=-1)
    except OSError as error:
        raise SupervisorError(f"Cannot write {path}: {error.strerror}") from None


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
        if "/" in str(name):
            raise SupervisorError(f"{name}: expected the name of a program or group, not a path")
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
        bin_env = str(bin_env)
        root = bin_env if os.path.isdir(bin_env) else os.path.dirname(os.path.dirname(bin_env))
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
