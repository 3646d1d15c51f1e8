"""
Tools of this formula that come from PyPI (uv, supervisor), each in a virtual environment of its own
with exactly the packages of a lock file, checked by their hashes.
"""

import csv
import pathlib
import re

import django_layout
import django_venv
from django_run import CommandError, build_environment, run

TIMEOUT = 600
_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)\s*(;[^\\]*)?", re.MULTILINE)


class ToolError(Exception):
    """A tool cannot be installed; the message says why."""


def normalise(name):
    """A distribution's name as PEP 503 compares them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lock):
    """
    What a lock file pins: ``{name: version}``; packages with a condition are left out, because
    whether they apply is the installer's to say.
    """
    return {normalise(name): version for name, version, marker in _PIN.findall(lock) if not marker}


def installed(venv, lock):
    """
    What a virtual environment has of the packages that ``lock`` (text) pins:
    ``{name: (version, whether all of it is there)}``.
    """
    wanted, found = pins(lock), {}
    for folder in pathlib.Path(venv).glob("lib/python3*/site-packages/*.dist-info"):
        name, _, version = folder.stem.rpartition("-")
        if normalise(name) in wanted:
            found[normalise(name)] = (version, is_complete(folder))
    return found


def is_complete(folder):
    """
    Whether every file of a package is there in its size, by the RECORD in its ``.dist-info``
    folder. An installation that was killed may leave that folder without all of the rest.
    """
    try:
        with open(folder / "RECORD", encoding="utf-8", newline="") as stream:
            rows = [row for row in csv.reader(stream) if "__pycache__" not in row[0]]
        sizes = [((folder.parent / name).stat().st_size, size) for name, _, size in rows]
    except (OSError, ValueError, IndexError):
        return False
    return bool(rows) and all(not size or int(size) == there for there, size in sizes)


def differences(venv, lock):
    """Packages that are missing or of another version: ``{name: {"old": …, "new": …}}``."""
    there = installed(venv, lock)
    found = {name: version for name, (version, whole) in there.items() if whole}
    return {
        name: {"old": found.get(name), "new": version}
        for name, version in pins(lock).items()
        if found.get(name) != version
    }


def install(venv, lock, uv):
    """
    Bring the virtual environment to what ``lock`` (text) pins, with uv where it is there.

    uv
        Path of the uv program.
    """
    venv = pathlib.Path(venv)
    venv.parent.mkdir(parents=True, exist_ok=True)
    listing = venv.with_name(f".{venv.name}.lock")
    django_layout.write_atomic(listing, lock)
    own = pathlib.Path(uv).is_relative_to(venv)
    python = f"{venv}/bin/python"
    environment = build_environment(UV_SYSTEM_CERTS="1", UV_PYTHON_DOWNLOADS="never")
    if django_venv.pip_index() and "UV_DEFAULT_INDEX" not in environment:
        environment["UV_DEFAULT_INDEX"] = django_venv.pip_index()
    if own or not pathlib.Path(uv).exists():
        create = ["/usr/bin/python3", "-m", "venv", str(venv)]
        fill = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    else:
        create = [uv, "venv", "--quiet", "--no-project", "--python", "/usr/bin/python3", str(venv)]
        fill = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
    try:
        # No installer mends a package whose folder says that it is there.
        broken = not all(whole for _, whole in installed(venv, lock).values())
        if broken or not pathlib.Path(python).exists():
            django_layout.remove_tree(venv)
            run(create, env=environment, timeout=TIMEOUT)
        argv = [*fill, "--no-deps", "--require-hashes", "--requirement", str(listing)]
        run(argv, env=environment, timeout=TIMEOUT)
    except CommandError as error:
        raise ToolError(str(error)) from None
    finally:
        listing.unlink()
