"""
Tools of this formula that come from PyPI (uv, supervisor), each in a virtual environment of its own
with exactly the packages of a lock file, checked by their hashes.
"""

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


def installed(venv):
    """The packages of a virtual environment (``{name: version}``)."""
    found = {}
    for entry in django_venv.installed(venv):
        name, _, version = entry.rpartition("-")
        found[normalise(name)] = version
    return found


def differences(venv, lock):
    """Packages that are missing or of another version: ``{name: {"old": …, "new": …}}``."""
    there = installed(venv)
    return {
        name: {"old": there.get(name), "new": version}
        for name, version in pins(lock).items()
        if there.get(name) != version
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
        if not pathlib.Path(python).exists():
            django_layout.remove_tree(venv)
            run(create, env=environment, timeout=TIMEOUT)
        argv = [*fill, "--no-deps", "--require-hashes", "--requirement", str(listing)]
        run(argv, env=environment, timeout=TIMEOUT)
    except CommandError as error:
        raise ToolError(str(error)) from None
    finally:
        listing.unlink()
