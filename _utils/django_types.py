"""Scalar types of the pillar schema: what a single value may be and how it is normalised.

Each type is a function ``(value, node) -> normalised value`` that raises :class:`Wrong` when the
value does not fit. ``node`` is the key's entry in the schema (limits, pattern, choices). Sizes
become bytes, durations become seconds, commands become lists of words; everything else keeps the
form in which the pillar gives it. No function here reads a file or asks the system.

Values of these types end up in configuration files of Nginx, PostgreSQL, Redis and Supervisord, so
the patterns are strict: no type but ``text`` and ``any`` lets a control character, a quote, a
semicolon or a brace through.
"""

import datetime
import ipaddress
import math
import re
import shlex

import django_cron

REFERENCE = re.compile(r"@\{[^{}\s]*\}")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
CONTROL_BUT_LINES = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = re.compile(rf"(?:\*\.|\.)?(?:{LABEL}\.)*{LABEL}", re.IGNORECASE)
DURATION = re.compile(r"(\d{1,9})(s|m|h|d|w)?")
SECONDS = {None: 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
SIZE = re.compile(r"(\d{1,9})([KMGT])i?B?", re.IGNORECASE)
BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
URL = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9._~!&()*+,=:@%/?#\[\]-]+")
URL_PATH = re.compile(r"/[A-Za-z0-9._~@%+,=:/-]*")
PATH = re.compile(r"[A-Za-z0-9._@+~:/=-]+")
MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)
MODE = re.compile(r"0?[0-7]{3}")
INTEGER_LIMIT = 1 << 63
DEPTH_LIMIT = 40


class Wrong(Exception):
    """A value that its type refuses. ``hint`` says how to put it right, or None."""

    def __init__(self, hint=None):
        super().__init__(hint or "")
        self.hint = hint


def text(value, node):
    """Text of one line, or of several with ``multiline``; ``pattern`` must match all of it."""
    if isinstance(value, bool):
        raise Wrong("YAML reads yes, no, on and off as booleans: put it in quotes")
    if isinstance(value, float):
        raise Wrong("put it in quotes: YAML reads 3.10 as the number 3.1")
    if isinstance(value, int):
        raise Wrong("put it in quotes: YAML reads it as a number")
    if isinstance(value, (datetime.date, datetime.time)):
        raise Wrong("put it in quotes: YAML reads it as a date")
    if isinstance(value, bytes):
        raise Wrong("write it as text, not as binary data")
    if not isinstance(value, str):
        raise Wrong()
    value = str(value)  # a YAML loader may give a subclass
    control = CONTROL_BUT_LINES if node.get("multiline") else CONTROL
    if control.search(value):
        if value.endswith("\n") and not control.search(value.rstrip("\n")):
            raise Wrong("it ends with a line break")
        raise Wrong("it has a control character or a line break in it")
    if not value and not node.get("empty"):
        raise Wrong("it is empty; remove the key to get the default")
    if len(value) > node.get("max", 65536):
        raise Wrong(f"it is longer than {node.get('max', 65536)} characters")
    if len(value) < node.get("min", 0):
        raise Wrong(f"it is shorter than {node['min']} characters")
    pattern = node.get("pattern")
    if pattern and not re.fullmatch(pattern, _plain(value, node), re.ASCII):
        raise Wrong()
    return value


def choice(value, node):
    """One of the words in ``choices``."""
    value = text(value, {})
    if value not in node["choices"]:
        raise Wrong()
    return value


def boolean(value, node):
    """true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in ("true", "false", "yes", "no", "on", "off"):
        raise Wrong("write it without quotes")
    raise Wrong()


def integer(value, node):
    """A whole number between ``min`` and ``max``, both included."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}", value, re.ASCII):
        raise Wrong("write it without quotes")
    if isinstance(value, bool) or not isinstance(value, int):
        raise Wrong()
    if not node.get("min", -INTEGER_LIMIT) <= value <= node.get("max", INTEGER_LIMIT):
        raise Wrong()
    return int(value)


def port(value, node):
    """A TCP port."""
    return integer(value, {"min": 1, "max": 65535})


def scalar(value, node):
    """Text, a number or a boolean, for settings passed on to a program."""
    if isinstance(value, (bool, int, float)):
        return any_json(value, node)
    return text(value, node)


def duration(value, node):
    """``30s``, ``15m``, ``2h``, ``1d``, ``1w`` or a number of seconds -> seconds."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise Wrong()
    if isinstance(value, int):
        seconds = value
    else:
        match = DURATION.fullmatch(value)
        if not match:
            raise Wrong()
        seconds = int(match.group(1)) * SECONDS[match.group(2)]
    if not node.get("min", 0) <= seconds <= node.get("max", 10 * 365 * 86400):
        low, high = node.get("min", 0), node.get("max", 10 * 365 * 86400)
        raise Wrong(f"the limits are {low} and {high} seconds")
    return seconds


def size(value, node):
    """``512K``, ``100M``, ``2G`` (powers of 1024) -> bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise Wrong("add the unit, for instance M")
    match = SIZE.fullmatch(value) if isinstance(value, str) else None
    if not match:
        raise Wrong()
    amount = int(match.group(1)) * BYTES[match.group(2).lower()]
    if not node.get("min", 0) <= amount <= node.get("max", 1 << 50):
        raise Wrong("it is out of range")
    return amount


def mode(value, node):
    """A file mode in quotes, ``'0640'`` -> ``'0640'``."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise Wrong("put it in quotes: YAML reads 0640 as the octal number 416")
    if not isinstance(value, str) or not MODE.fullmatch(value):
        raise Wrong()
    return value.rjust(4, "0")


def path(value, node):
    """A path without ``..`` (unless ``climb``); ``kind`` says absolute or relative."""
    value = text(value, {"max": 1024})
    plain = _plain(value, node)
    if value.startswith("~"):
        raise Wrong("a path cannot begin with ~; write it out")
    if ".." in plain.split("/") and not node.get("climb"):
        raise Wrong("it may not climb out with ..")
    if not PATH.fullmatch(plain):
        raise Wrong("only letters, digits and . _ @ + ~ : = - / may be in it")
    kind = node.get("kind")
    begins = value.startswith("/") or (node.get("references") and value.startswith("@{"))
    if kind == "absolute" and not begins:
        raise Wrong("it must begin with /")
    if kind == "relative" and value.startswith("/"):
        raise Wrong("it must not begin with /")
    if value.startswith("-"):
        raise Wrong("it may not begin with -")
    trimmed = re.sub(r"/{2,}", "/", value)
    trimmed = re.sub(r"(/\.)+(?=/|$)", "", trimmed)
    return trimmed.rstrip("/") or "/"


def address(value, node):
    """An IPv4 or IPv6 address -> its canonical text."""
    try:
        return str(ipaddress.ip_address(text(value, {})))
    except ValueError:
        raise Wrong() from None


def network(value, node):
    """An address or a network such as ``10.0.0.0/24`` -> its canonical text."""
    value = text(value, {})
    try:
        if "/" not in value:
            return str(ipaddress.ip_address(value))
        return str(ipaddress.ip_network(value, strict=False))
    except ValueError:
        raise Wrong() from None


def domain(value, node):
    """A host name, also ``*.example.org`` or ``.example.org``, or an IPv4 address -> lower case."""
    value = text(value, {"max": 253})
    if "://" in value or "/" in value:
        raise Wrong("only the name, without http:// and path")
    if ":" in value:
        raise Wrong("only the name, without a port")
    if not value.isascii():
        raise Wrong("write an international name in its xn-- form")
    if "_" in value:
        raise Wrong("a domain name has no underscore; Django would refuse it too")
    if not DOMAIN.fullmatch(value.rstrip(".")):
        raise Wrong()
    return value.rstrip(".").lower()


def host(value, node):
    """A host name or an address to connect to -> lower case."""
    value = text(value, {"max": 253})
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        pass
    if not DOMAIN.fullmatch(value) or value[0] in "*.":
        raise Wrong()
    return value.lower()


def url(value, node):
    """An URL whose scheme is one of ``schemes`` (default http and https)."""
    value = text(value, {"max": 2048})
    scheme = value.split("://")[0]
    if not URL.fullmatch(_plain(value, node)) or scheme not in node.get(
        "schemes", ["http", "https"]
    ):
        raise Wrong()
    return value


def url_path(value, node):
    """The path of an URL, ``/static/``; with ``full`` also a whole URL (a CDN)."""
    value = text(value, {"max": 1024})
    if node.get("full") and "://" in value:
        return url(value, node)
    if not value.startswith("/"):
        raise Wrong("it must begin with /")
    if not URL_PATH.fullmatch(value) or ".." in value.split("/"):
        raise Wrong()
    return value


def module(value, node):
    """A dotted Python module name."""
    value = text(value, {"max": 200})
    if value.endswith(".py") or "/" in value:
        raise Wrong("name the module with dots, not its file")
    if not MODULE.fullmatch(value):
        raise Wrong()
    return value


def identifier(value, node):
    """A name of letters, digits and underscores that does not begin with a digit."""
    value = text(value, {"max": node.get("max", 63)})
    if not IDENTIFIER.fullmatch(value):
        raise Wrong()
    return value


def command(value, node):
    """A command as a list of words, or as text that is split as a shell would -> list of words.

    A word may have a line break in it only with ``multiline``: others end up in unit files.
    """
    if not isinstance(value, list):
        value = text(value, {"multiline": True})
        try:
            value = shlex.split(value)
        except ValueError as error:
            raise Wrong(f"it cannot be split into words: {str(error).lower()}") from None
    words = []
    for number, word in enumerate(value, 1):
        try:
            words.append(text(word, {"empty": True, "multiline": node.get("multiline")}))
        except Wrong as wrong:
            raise Wrong(f"word {number}: {wrong.hint or 'expected text'}") from None
    if not words or not words[0]:
        raise Wrong("it is empty")
    return words


def shell(value, node):
    """A list of words (run as it is), or text (run by ``sh -ec``) -> list or text."""
    if isinstance(value, list):
        return command(value, {**node, "multiline": True})
    return text(value, {"multiline": True})


def cron(value, node):
    """Five cron fields, or hourly, daily, weekly, monthly, yearly -> the same text."""
    value = " ".join(text(value, {"max": 200}).split())
    if value in django_cron.WORDS:
        return value
    problem = django_cron.problem(value)
    if problem:
        raise Wrong(problem)
    return value


def any_json(value, node, depth=0):
    """Anything that JSON can say: text, numbers, booleans, null, lists, maps with text keys."""
    if depth > DEPTH_LIMIT:
        raise Wrong(f"it is nested deeper than {DEPTH_LIMIT} levels")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        if abs(value) > INTEGER_LIMIT:
            raise Wrong("a number in it has more than 64 bits")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Wrong("a number in it is not finite")
        return value
    if isinstance(value, str):
        return text(value, {"multiline": True, "empty": True, "max": 1 << 20})
    if isinstance(value, (list, tuple)):
        return [any_json(item, node, depth + 1) for item in value]
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise Wrong("a key in it is not text: put it in quotes")
            text(key, {"empty": True})
        return {str(key): any_json(item, node, depth + 1) for key, item in value.items()}
    raise Wrong("put dates and times in quotes")


def _plain(value, node):
    """The value with its references replaced by a word, where the key may have references."""
    return REFERENCE.sub("x", value) if node.get("references") else value


# name -> (function, what is expected, in words)
TYPES = {
    "text": (text, "text"),
    "choice": (choice, "one of the choices"),
    "boolean": (boolean, "true or false"),
    "integer": (integer, "a whole number"),
    "port": (port, "a port between 1 and 65535"),
    "scalar": (scalar, "text, a number or a boolean"),
    "duration": (duration, "a duration such as 30s, 15m or 1h"),
    "size": (size, "a size such as 100M or 2G"),
    "mode": (mode, "a file mode in quotes such as '0640'"),
    "path": (path, "a path"),
    "address": (address, "an IPv4 or IPv6 address"),
    "network": (network, "an address or a network such as 10.0.0.0/24"),
    "domain": (domain, "a domain name such as shop.example.org"),
    "host": (host, "a host name or an address"),
    "url": (url, "an URL such as https://example.org/"),
    "url_path": (url_path, "the path of an URL such as /static/"),
    "module": (module, "a Python module such as shop.settings"),
    "identifier": (identifier, "a name of letters, digits and underscores"),
    "command": (command, "a command (text, or a list of words)"),
    "shell": (shell, "a command (text for the shell, or a list of words)"),
    "cron": (cron, "hourly, daily, weekly, monthly, yearly or cron fields such as '*/5 * * * *'"),
    "any": (any_json, "text, a number, a boolean, a list or a map"),
}
