"""
Virtual environments of a project: which one a release needs, and the commands that build it.

Releases that need the same packages share one; its name is a digest of all that goes into it.
"""

import configparser
import hashlib
import os
import pathlib
import re
import shlex

from django_layout import digest, read_json
from django_run import BASE_PATH, build_environment

MARKER = ".django-formula.json"
UV_CACHE = "uv"
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]*(\S+)", re.MULTILINE)
# Requirements that are folders of the source: their code gets into the environment.
_LOCAL_REQUIREMENT = re.compile(
    r"^\s*(?:-e|--editable)[\s=]*(?!\S*://)\S|^\s*\.{1,2}(?:/|\[|\s|$)|^\s*file:|@\s*file:",
    re.MULTILINE,
)
_BUILT = re.compile(
    r"^\s*(?:\[\s*build-system\s*\]|\[\s*tool\.setuptools\b|package\s*=\s*true)", re.MULTILINE
)
_NO_PACKAGE = re.compile(r"^\s*package(?:-mode)?\s*=\s*false", re.MULTILINE)
_LOCAL_LOCK = re.compile(r"^source = \{ (?:editable|directory|path) = ", re.MULTILINE)


class VenvError(Exception):
    """The environment that the pillar asks for cannot be built; the message says why."""


def find_interpreter(wanted):
    """
    Path (str) of the Python that ``wanted`` means: a path, a version such as ``3.12``, or a program
    name such as ``python3``. Links are followed, so that another minor version is another path.
    """
    name = f"python{wanted}" if re.fullmatch(r"\d+(\.\d+)*", wanted) else wanted
    candidates = [name] if "/" in name else [f"{folder}/{name}" for folder in _folders()]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return os.path.realpath(candidate)
    raise VenvError(
        f"python:interpreter: {wanted!r} is not on this host (there are: "
        f"{', '.join(installed_interpreters()) or 'none'}); install it through system_packages"
    )


def installed_interpreters():
    """Names of the Python versions on this host, such as ``3.11`` (list of str)."""
    names = {
        match.group(1)
        for folder in _folders()
        for match in (re.fullmatch(r"python(\d+\.\d+)", name) for name in _listdir(folder))
        if match
    }
    return sorted(names, key=lambda name: [int(part) for part in name.split(".")])


def _folders():
    return BASE_PATH.split(":")


def _listdir(folder):
    try:
        return os.listdir(folder)
    except OSError:
        return []


def how_to_install(python, source):
    """
    How the packages of the project in the folder ``source`` are named (str): ``requirements``,
    ``uv-lock``, ``pyproject`` or ``none``.

    python
        The project's resolved ``python`` settings; ``install: auto`` looks at what is there.
    """
    if python["install"] != "auto":
        return python["install"]
    if python["requirements"]:
        return "requirements"
    source = pathlib.Path(source)
    for name, kind in (
        ("uv.lock", "uv-lock"),
        ("requirements.txt", "requirements"),
        ("pyproject.toml", "pyproject"),
    ):
        if (source / name).is_file():
            return kind
    return "none"


def requirement_files(python, source):
    """Paths of the requirement files, in the pillar's order (list of Path)."""
    names = python["requirements"] or ["requirements.txt"]
    paths = [pathlib.Path(source) / name for name in names]
    missing = [str(path.relative_to(source)) for path in paths if not path.is_file()]
    if missing:
        raise VenvError(f"python:requirements: not in the source: {', '.join(missing)}")
    return paths


def is_packaged(source):
    """
    Whether the source is itself a package to be installed: it says how it is built, and not that it
    is none. Of any other pyproject.toml only what it depends on is.
    """
    path = pathlib.Path(source) / "pyproject.toml"
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return bool(_BUILT.search(text)) and not _NO_PACKAGE.search(text)


def inputs(python, source, interpreter, revision, own_package):
    """
    All that decides what is in the environment, as plain data; its digest is the folder's name.

    own_package
        Requirement (str) of the project itself when it comes from PyPI, else None.
    """
    kind = how_to_install(python, source)
    contents = {}
    if kind == "requirements":
        _collect(requirement_files(python, source), pathlib.Path(source), contents)
    elif kind in ("uv-lock", "pyproject"):
        names = ["pyproject.toml"] + (["uv.lock"] if kind == "uv-lock" else [])
        _collect([pathlib.Path(source) / name for name in names], pathlib.Path(source), contents)
    holds_project = _installs_project(kind, python["installer"], source)
    holds_project = holds_project or _names_folders(contents, pathlib.Path(source))
    return {
        "kind": kind,
        "installer": python["installer"],
        "interpreter": interpreter,
        "contents": contents,
        "extras": sorted(python["extras"]),
        "groups": sorted(python["groups"]),
        "packages": sorted(python["packages"]),
        "constraints": sorted(python["constraints"]),
        "own_package": own_package,
        "revision": f"{revision} in {source}" if holds_project or python["isolated"] else None,
    }


def _installs_project(kind, installer, source):
    """Whether the project gets into its environment; pip cannot install only what it needs."""
    if kind == "pyproject":
        return installer == "pip" or is_packaged(source)
    return kind == "uv-lock" and is_packaged(source)


def _names_folders(contents, source):
    """Whether the requirement or lock files name folders of the source."""
    return any(
        (_LOCAL_LOCK if name.endswith(".lock") else _LOCAL_REQUIREMENT).search(
            (source / name).read_text(encoding="utf-8", errors="replace")
        )
        for name in contents
        if not name.endswith(".toml")
    )


def _collect(paths, root, contents):
    for path in paths:
        name = os.path.relpath(path, root)
        if name in contents:
            continue
        if not path.is_file():
            raise VenvError(f"python: the source has no file {name}")
        text = path.read_text(encoding="utf-8", errors="replace")
        contents[name] = hashlib.sha256(text.encode()).hexdigest()
        if path.suffix in (".txt", ".in"):
            nested = [path.parent / match for match in _INCLUDE.findall(text) if "://" not in match]
            _collect(nested, root, contents)


def name_of(values):
    """Folder name of the environment made from :func:`inputs`."""
    return digest(values)


def commands(values, python, source, venv, uv):
    """
    The command lines (list of list of str) that build the environment in the folder ``venv``.

    values
        What :func:`inputs` returned.
    uv
        Path of the uv program.
    """
    venv = str(venv)
    interpreter = f"{venv}/bin/python"
    added = sorted(values["packages"])
    if values["own_package"]:
        added = [values["own_package"], *added]
    if values["installer"] == "pip":
        create = [[values["interpreter"], "-m", "venv", venv]]
        install = [interpreter, "-m", "pip", "install", "--no-input", "--disable-pip-version-check"]
    else:
        create = [[uv, "venv", "--no-project", "--python", values["interpreter"], venv]]
        install = [uv, "pip", "install", "--python", interpreter, "--compile-bytecode"]
    steps = []
    constraints = ["--constraint", _constraint_file(venv)] if values["constraints"] else []
    if values["kind"] == "requirements":
        for path in requirement_files(python, source):
            added += ["--requirement", str(path)]
    elif values["kind"] == "pyproject":
        if _installs_project("pyproject", values["installer"], source):
            extras = f"[{','.join(values['extras'])}]" if values["extras"] else ""
            added.append(f"{source}{extras}")
        else:
            added += ["--requirement", f"{source}/pyproject.toml"]
            for extra in values["extras"]:
                added += ["--extra", extra]
        for group in values["groups"]:
            added += ["--group", f"{source}/pyproject.toml:{group}"]
    elif values["kind"] == "uv-lock":
        sync = [uv, "sync", "--locked", "--no-default-groups", "--compile-bytecode", "--project"]
        sync.append(str(source))
        sync.append("--no-editable" if values["revision"] else "--no-install-project")
        for extra in values["extras"]:
            sync += ["--extra", extra]
        for group in values["groups"]:
            sync += ["--group", group]
        steps.append(sync)
    if added:
        steps.append([*install, *constraints, *added])
    return create + steps


def _constraint_file(venv):
    return f"{venv}.constraints"


def constraint_file(venv, values):
    """Path and text of the file with the pillar's extra constraints, or None without any."""
    if not values["constraints"]:
        return None
    return _constraint_file(venv), "\n".join(values["constraints"]) + "\n"


def environment(own, venv, home, secrets):
    """
    The environment (dict of str) of the commands that build ``venv``.

    own
        The pillar's build-time variables (dict of str), which win.
    home
        Folder for the caches of uv and pip. The first environment is links to what uv unpacks
        there, half the files to write; later ones are copies, since what is linked is root's then.
    secrets
        Secrets of the project: ``python.index_url`` and ``python.extra_index_urls`` may be there.
    """
    extra = {
        "HOME": str(home),
        "UV_CACHE_DIR": f"{home}/{UV_CACHE}",
        "PIP_CACHE_DIR": f"{home}/pip",
        "UV_LINK_MODE": "copy" if os.path.exists(f"{home}/{UV_CACHE}") else "hardlink",
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_SYSTEM_CERTS": "1",
        "UV_NO_PROGRESS": "1",
        "UV_PROJECT_ENVIRONMENT": str(venv),
        "VIRTUAL_ENV": str(venv),
    }
    index = secrets.get("python.index_url") or pip_index()
    if index:
        extra["UV_DEFAULT_INDEX"] = extra["PIP_INDEX_URL"] = index
    more = secrets.get("python.extra_index_urls")
    if more:
        extra["UV_INDEX"] = extra["PIP_EXTRA_INDEX_URL"] = more
    return build_environment(**{**extra, **own})


def pip_index(path="/etc/pip.conf"):
    """The package index that this host's pip uses (str), or None: uv does not read pip.conf."""
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
    except configparser.Error:
        return None
    return parser.get("global", "index-url", fallback=None)


def installed(venv):
    """Names of the distributions in a virtual environment, such as ``Django-5.2.19`` (list)."""
    names = []
    for folder in pathlib.Path(venv).glob("lib/python3*/site-packages"):
        names += [
            name.removesuffix(".dist-info").removesuffix(".egg-info")
            for name in _listdir(folder)
            if name.endswith((".dist-info", ".egg-info"))
        ]
    return sorted(names)


def is_intact(venv):
    """Whether a virtual environment was built to its end and still has the same packages."""
    marker = read_json(os.path.join(venv, MARKER))
    return (
        bool(marker)
        and os.path.exists(os.path.join(venv, "bin/python"))
        and marker.get("installed") == installed(venv)
    )


def describe(values):
    """One line that says what the environment is made of."""
    parts = [values["kind"]] if values["kind"] != "none" else []
    parts += [values["own_package"]] if values["own_package"] else []
    parts += values["packages"]
    return f"{os.path.basename(values['interpreter'])} with {shlex.join(parts) or 'no packages'}"
