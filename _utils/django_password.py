"""
Where the password of a user of a project comes from. It is named, never given: no password is part
of an argument, an answer or a list of processes.
"""

import os
import pathlib
import stat
import urllib.parse

import django_layout
import django_secrets

SOURCES = ("password_file", "password_env", "password_pillar", "password_secret")


class PasswordError(ValueError):
    """There is no password where one was to be."""


def split(keywords):
    """``(source, rest)``: the one of :data:`SOURCES` that is given (dict), and other keywords."""
    given = {key: keywords[key] for key in SOURCES if keywords.get(key)}
    if len(given) > 1:
        raise PasswordError(f"only one of {', '.join(given)} can be given")
    return given, {key: value for key, value in keywords.items() if key not in SOURCES}


def store(folder, project, username):
    """Path (str) where a generated password is kept for want of another place."""
    name = urllib.parse.quote(f"{project}.{username}", safe="@+")
    return str(pathlib.Path(folder) / f"{name}.password")


def read(path):
    """The first line (str) of a password file, or None where there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            line = stream.readline().rstrip("\r\n")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PasswordError(f"{path}: {error}") from None
    if not line:
        raise PasswordError(f"{path} is empty")
    return line


def keep(path):
    """Generate a password and write it to ``path``, for root only; returns it."""
    password = django_secrets.generate(length=32)
    folder = pathlib.Path(path).parent
    if not folder.exists():
        folder.mkdir(mode=django_secrets.FOLDER_MODE, parents=True)
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o002 and not mode & stat.S_ISVTX:
        raise PasswordError(f"{folder} can be written by everybody; name a file elsewhere")
    uid, gid = os.geteuid(), os.getegid()
    django_layout.write_atomic(path, f"{password}\n", django_secrets.FILE_MODE, uid, gid)
    return password


def find(source, kept_in, look_up):
    """
    ``(password, file)``: the password (str), or None when it is to be generated, and the path of
    the file that it lies in, or None.

    source
        The one of :data:`SOURCES` that is given; empty: the file ``kept_in``.
    look_up
        Functions by kind (``env``, ``pillar``, ``secret``) from a name to a text or None.
    """
    path = source.get("password_file", "" if source else kept_in)
    if path:
        if not str(path).startswith("/"):
            raise PasswordError(f"password_file: {path!r} is no absolute path")
        return read(path), path
    ((key, name),) = source.items()
    kind = key.removeprefix("password_")
    password = look_up[kind](name)
    if not isinstance(password, str) or not password:
        words = {"env": "variable", "pillar": "pillar key", "secret": "secret of the project"}
        raise PasswordError(f"{key}: there is no {words[kind]} {name!r} with a text")
    return password, None
