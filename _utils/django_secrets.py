"""
Secrets of a project on this host: the pillar's, and those that it leaves out, which are generated
once and kept in a file that only root can read.
"""

import json
import os
import pathlib
import secrets
import shlex
import stat
import string
import urllib.parse

from django_layout import read_json, write_json

FOLDER_MODE = 0o700
FILE_MODE = 0o600
MASK = "**********"
SHORTEST = 4  # characters; to mask less would make a text unreadable and hide nothing
ALPHABETS = {
    "letters": string.ascii_letters + string.digits,
    "hex": "0123456789abcdef",
    "urlsafe": string.ascii_letters + string.digits + "-_",
}


def store(folder, project):
    """Path of the file that keeps a project's generated secrets."""
    return pathlib.Path(folder) / f"{project}.json"


def generate(length=64, alphabet="letters"):
    """
    A new secret (str).

    length
        Number of characters; some products refuse fewer than 50.
    alphabet
        ``letters`` (and digits: safe in every URL and file), ``hex`` or ``urlsafe``.
    """
    letters = ALPHABETS[alphabet]
    return "".join(secrets.choice(letters) for _ in range(length))


def missing(specs, kept):
    """
    Names of the secrets that must be generated (sorted list of str).

    specs
        ``secret_specs`` of the resolved project: by name ``{value: …}``, or ``{generate: length,
        format: alphabet}``.
    kept
        What the store holds (dict).
    """
    return sorted(name for name, spec in specs.items() if "value" not in spec and name not in kept)


def values(specs, kept):
    """Every secret's value by name; one that is not generated yet is an empty text."""
    return {
        name: spec["value"] if "value" in spec else kept.get(name, "")
        for name, spec in specs.items()
    }


def load(folder, project):
    """The generated secrets of a project (dict)."""
    return read_json(store(folder, project))


def exposed(folder, project):
    """Whether others than root could read a project's generated secrets, or put others there."""
    path = store(folder, project)
    return path.exists() and not (_is_private(folder, FOLDER_MODE) and _is_private(path, FILE_MODE))


def _is_private(path, mode):
    status = os.stat(path)
    return stat.S_IMODE(status.st_mode) == mode and status.st_uid == os.geteuid()


def keep(folder, project, specs):
    """Generate what is missing and write it down, for root only; returns the new secrets' names."""
    os.makedirs(folder, mode=FOLDER_MODE, exist_ok=True)
    _make_private(folder, FOLDER_MODE)
    path = store(folder, project)
    kept = load(folder, project)
    names = missing(specs, kept)
    if names:
        if path.exists() and not kept:
            raise ValueError(
                f"{path} holds secrets that cannot be read; mend it or move it away: "
                "new secrets would lock the project out of its own data"
            )
        fresh = {name: generate(specs[name]["generate"], specs[name]["format"]) for name in names}
        write_json(path, {**kept, **fresh}, mode=FILE_MODE)
    elif path.exists():
        _make_private(path, FILE_MODE)
    return names


def _make_private(path, mode):
    os.chown(path, os.geteuid(), os.getegid())
    os.chmod(path, mode)


def redact(text, values):
    """``text`` without any of the secret ``values``, also as URLs, JSON and a shell spell them."""
    forms = set()
    for value in values:
        if len(value) >= SHORTEST:
            forms |= {value, urllib.parse.quote(value, safe=""), urllib.parse.quote(value)}
            forms |= {json.dumps(value)[1:-1], repr(value)[1:-1], shlex.quote(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text
