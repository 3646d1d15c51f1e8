"""
What a project's processes and tasks find in their environment and in rendered files.

The environment is one file that a POSIX shell reads (``set -a; . FILE``): every value is quoted, so
spaces, ``%``, ``$``, quotes, JSON and line ends come through unchanged wherever it is read.
"""

import configparser
import io
import json
import pprint
import re
import shlex

import django_references
import yaml

FORMATS = ("env", "ini", "json", "toml", "python", "yaml", "text")
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def variables(environment, names):
    """
    Environment variables (dict of str) with their references replaced.

    environment
        Variables as the configuration has them; None leaves one out.
    names
        What ``django_namespace.namespace`` returned.
    """
    return {
        name: django_references.expand_text(value, names)
        for name, value in environment.items()
        if value is not None
    }


def shell_file(environment):
    """The text of an environment file, sorted by name."""
    lines = [f"{name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return "\n".join(lines) + "\n"


def parse_shell_file(text):
    """The variables (dict of str) in a file that :func:`shell_file` made."""
    pairs = (word.partition("=") for word in shlex.split(text))
    return {name: value for name, _, value in pairs}


def serialise(content, kind):
    """
    Text of a rendered file.

    content
        Data (already expanded), or str that is taken as it is.
    kind
        One of :data:`FORMATS`.

    Raises ValueError when the data cannot be said in that format.
    """
    if isinstance(content, str):
        return content if content.endswith("\n") else content + "\n"
    if kind == "json":
        return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if kind == "yaml":
        return yaml.safe_dump(content, sort_keys=True, allow_unicode=True)
    if not isinstance(content, dict):
        raise ValueError(f"a {kind} file needs a mapping of names to values")
    if kind == "env":
        return shell_file(
            {name: django_references.as_text(value) for name, value in content.items()}
        )
    if kind == "python":
        return _python(content)
    if kind == "ini":
        return _ini(content)
    if kind == "toml":
        return "".join(_toml(content))
    raise ValueError(f"a {kind} file needs its text")


def _python(content):
    lines = []
    for name, value in content.items():
        if not str(name).isidentifier():
            raise ValueError(f"{name!r} is no Python name")
        lines.append(f"{name} = {pprint.pformat(value, width=96, sort_dicts=True)}\n")
    return "".join(lines)


def _ini(content):
    """Sections of plain values; ``%`` is doubled, as configparser reads it."""
    parser = configparser.RawConfigParser()
    parser.optionxform = str
    for section, values in content.items():
        if not isinstance(values, dict):
            raise ValueError(f"ini: section {section!r} must map names to values")
        parser[section] = {
            str(name): django_references.as_text(value).replace("%", "%%").replace("\n", "\n ")
            for name, value in values.items()
        }
    stream = io.StringIO()
    parser.write(stream)
    return stream.getvalue()


def _toml(content, path=()):
    """Lines of a TOML document: plain values of a table first, then its tables."""
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    if path and (len(tables) < len(content) or not content):
        yield f"[{'.'.join(_toml_key(name) for name in path)}]\n"
    for name, value in content.items():
        if name not in tables:
            yield f"{_toml_key(name)} = {_toml_value(value)}\n"
    for name, value in tables.items():
        yield from _toml(value, (*path, name))


def _toml_key(name):
    name = str(name)
    return name if _BARE_KEY.fullmatch(name) else _toml_value(name)


def _toml_value(value):
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{_toml_key(name)} = {_toml_value(item)}" for name, item in value.items())
        return "{" + ", ".join(pairs) + "}"
    if value is None:
        raise ValueError("toml has no null")
    if isinstance(value, str):
        # JSON escapes are TOML escapes, but for the solidus and DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
