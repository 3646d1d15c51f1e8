"""References in pillar strings: ``@{database.url}``.

A reference names a value that is known only when a host is configured: a credential, a path, the
release. ``@{name|json}`` puts the value in as JSON, ``@{name|jsontext}`` as the inside of a JSON
string, ``@{name|url}`` percent-encoded for an URL. ``@@{`` is a literal ``@{``.
"""

import difflib
import json
import re
import urllib.parse

TOKEN = re.compile(r"@@\{|@\{([^{}]*)\}")
BROKEN = re.compile(r"(?<!@)@\{[^}]*\Z")
IN_URL = re.compile(r"://[^\s]*?@@\{([^{}|]*)")
NAME = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
FILTERS = {
    "json": lambda value: json.dumps(value, sort_keys=True),
    "jsontext": lambda value: json.dumps(as_text(value))[1:-1],
    "url": lambda value: urllib.parse.quote(as_text(value), safe=""),
}


class UnknownReference(KeyError):
    """A reference to a name that the namespace does not have. ``name`` is that name."""

    def __init__(self, name):
        super().__init__(name)
        self.name = name

    def __str__(self):
        return f"unknown reference @{{{self.name}}}"


def as_text(value):
    """A value as it reads inside a longer string or an environment variable.

    Booleans are ``true`` and ``false``, lists are joined by commas, maps (and lists of anything but
    plain values) are JSON, nothing is the empty string.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)) and all(
        isinstance(item, (str, int, float)) and "," not in str(item) for item in value
    ):
        return ",".join(as_text(item) for item in value)
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, sort_keys=True)
    return str(value)


def parse(text):
    """The parts of a string: literal text as str, a reference as a tuple ``(name, filter)``.

    Filter is None when there is none. Text without references gives one literal part.
    """
    parts, position = [], 0

    def literal(piece):
        if piece and parts and isinstance(parts[-1], str):
            parts[-1] += piece
        elif piece:
            parts.append(piece)

    for match in TOKEN.finditer(text):
        literal(text[position : match.start()])
        if match.group(1) is None:
            literal("@{")
        else:
            name, _, name_filter = match.group(1).partition("|")
            parts.append((name.strip(), name_filter.strip() or None))
        position = match.end()
    literal(text[position:])
    return parts


def find(value):
    """All references in a value, however nested: a sorted list of names, each once."""
    return sorted({name for name, _ in _walk(value)})


def problems(value, known):
    """What is wrong with the references in a value, one sentence each, never quoting the value.

    ``known`` is the collection of the names that exist. Suggests the nearest one.
    """
    result = []
    for name, name_filter in sorted(set(_walk(value)), key=str):
        if not NAME.fullmatch(name):
            result.append("a reference is written @{name}, and @@{ stands for a plain @{")
        elif name not in known:
            close = difflib.get_close_matches(name[:80], known, 1, 0.6)
            hint = f" (did you mean @{{{close[0]}}}?)" if close else ""
            result.append(f"unknown reference @{{{name[:80]}}}{hint}")
        if name_filter and name_filter not in FILTERS:
            result.append(
                f"unknown filter in @{{{name[:80]}|…}}, expected {', '.join(sorted(FILTERS))}"
            )
    for text in _strings(value):
        if any(name in known for name in IN_URL.findall(text)):
            result.append(
                "@@{ in an URL stands for a plain @{ (write @{at}@{ for an @ and a value)"
            )
    if any(BROKEN.search(text) for text in _strings(value)):
        result.append("a reference @{ is not closed by }, and @@{ stands for a plain @{")
    return result


def expand(value, namespace):
    """The value with its references replaced, lists and maps in depth.

    A string that is one whole reference becomes the value itself and keeps its type; inside a
    longer string the value is put in as text (see :func:`as_text`).

    namespace: map of reference name -> value, flat (``{"database.name": "shop"}``).
    Raises UnknownReference.
    """
    if isinstance(value, str):
        return _expand_text(value, namespace)
    if isinstance(value, dict):
        return {expand_text(key, namespace): expand(item, namespace) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [expand(item, namespace) for item in value]
    return value


def expand_text(value, namespace):
    """Like :func:`expand` for one value that has to be text: the result is always a str."""
    return as_text(expand(value, namespace))


def embed_json(value):
    """A list or map as JSON text in which every reference still stands, safe to expand later.

    Whole references become ``@{name|json}`` without quotes, others ``@{name|jsontext}`` inside
    their string, so that quotes in a secret cannot break the JSON.
    """
    if isinstance(value, dict):
        items = (f"{embed_json(str(key))}: {embed_json(value[key])}" for key in sorted(value))
        return "{" + ", ".join(items) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(embed_json(item) for item in value) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    parts = parse(value)
    if len(parts) == 1 and isinstance(parts[0], tuple) and parts[0][1] is None:
        return f"@{{{parts[0][0]}|json}}"
    pieces = []
    for part in parts:
        if isinstance(part, str):
            pieces.append(json.dumps(part)[1:-1].replace("@{", "@@{"))
        else:
            pieces.append(f"@{{{part[0]}|{part[1] or 'jsontext'}}}")
    return '"' + "".join(pieces) + '"'


def _expand_text(text, namespace):
    if "@" not in text:
        return text
    parts = parse(text)
    if len(parts) == 1 and isinstance(parts[0], tuple):
        return _value(parts[0], namespace)
    return "".join(
        part if isinstance(part, str) else as_text(_value(part, namespace)) for part in parts
    )


def _value(reference, namespace):
    name, name_filter = reference
    if name not in namespace or (name_filter and name_filter not in FILTERS):
        raise UnknownReference(name if name not in namespace else f"{name}|{name_filter}")
    value = namespace[name]
    return FILTERS[name_filter](value) if name_filter else value


def _strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _strings(key)
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _walk(value):
    for text in _strings(value):
        for part in parse(text):
            if isinstance(part, tuple):
                yield part
