"""
What a management command is run with: which Python, as whom, where and in which environment. It is
the live release of a project of the pillar, or any settings module of a layout of one's own.

The command lines are data: nothing here runs anything.
"""

import json
import os
import pwd
import re
from typing import NamedTuple

import django_process
import django_secrets
from django_run import BASE_PATH

TIMEOUT = 3600  # seconds
WHERE = ("bin_env", "pythonpath", "env", "runas", "cwd", "timeout")
PYTHON = "/usr/bin/python3"
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
# Variables that Django, too, takes for secrets.
SECRET_NAME = re.compile(r"API|AUTH|TOKEN|KEY|SECRET|PASS|SIGNATURE|COOKIE|DSN|_URL", re.IGNORECASE)
PASSWORD_IN_URL = re.compile(r"(?<=://)([^\s:/@]*):[^\s/@]+(?=@)")


ELSEWHERE = (
    " (this host serves static files alone, and databases do not let it in: ask one with the role"
    " app or worker)"
)


class TargetError(ValueError):
    """What was asked for cannot be run; the message is for the operator."""


class Target(NamedTuple):
    """
    What management commands are run with.

    python
        Path of the Python (str).
    manage
        The command line (list of str) that management commands begin with.
    user
        System user (str), or None for the one that runs Salt.
    env
        The whole environment (dict of str).
    cwd
        Working directory (str).
    umask
        File mode mask (int).
    secrets
        Texts (list of str) that must not be shown.
    hint
        What (str) the words of a command that failed end with.
    """

    python: str
    manage: list
    user: str | None
    env: dict
    cwd: str
    umask: int
    secrets: list
    hint: str = ""

    def redact(self, value):
        """JSON ``value`` without any of the secrets."""
        if isinstance(value, str):
            return django_secrets.redact(value, self.secrets)
        if isinstance(value, list):
            return [self.redact(item) for item in value]
        if isinstance(value, dict):
            return {self.redact(key): self.redact(item) for key, item in value.items()}
        return value


def split(keywords):
    """
    ``(where, options)``: keyword arguments that say what a command is run with, and the command's
    own. Those that Salt adds (``__pub_…``) are left out.
    """
    own = {key: value for key, value in keywords.items() if not key.startswith("__")}
    where = {key: own.pop(key) for key in WHERE if key in own}
    return {key: value for key, value in where.items() if value is not None}, own


def seconds(where):
    """How long (float, seconds) a command may take: ``timeout`` of ``where``, else an hour."""
    value = where.get("timeout")
    try:
        found = TIMEOUT if value is None else float(value)
    except (TypeError, ValueError):
        found = 0
    if not 0 < found < float("inf"):
        raise TargetError(f"timeout: expected a number of seconds, got {value!r}")
    return found


def of_settings(module, where):
    """
    The target of a settings module.

    module
        Its dotted name, such as ``shop.settings``.
    where
        The values of :data:`WHERE` that are given.
    """
    if not MODULE.fullmatch(module):
        raise TargetError(f"{module!r} is neither a project of this host nor a settings module")
    paths = where.get("pythonpath") or []
    paths = paths.split(":") if isinstance(paths, str) else [str(path) for path in paths]
    python = python_of(where.get("bin_env"))
    own = variables(where.get("env"))
    user = where.get("runas")
    env = {
        "PATH": f"{os.path.dirname(python)}:{BASE_PATH}",
        "LANG": "C.UTF-8",
        **_account(user),
        **own,
        "DJANGO_SETTINGS_MODULE": module,
    }
    if paths:
        env["PYTHONPATH"] = ":".join(paths)
    return Target(
        python=python,
        manage=[python, "-m", "django"],
        user=user,
        env=env,
        cwd=str(where.get("cwd") or (paths[0] if paths else "/")),
        umask=0o022,
        secrets=secrets_of(own),
    )


def of_live_release(deployment, where):
    """
    The target of a project of the pillar: its live release, with the variables of ``where`` on top.
    """
    refused = [key for key in where if key not in ("env", "timeout")]
    if refused:
        raise TargetError(
            f"{deployment.name} is a project of the pillar, which says what its commands are run "
            f"with; leave out {', '.join(refused)}"
        )
    instance = deployment.layout.live_instance()
    if instance is None:
        raise TargetError(
            f"{deployment.name} has no live release on this host; apply its state first"
        )
    record = deployment.layout.instance_record(instance)
    source = deployment.source_of(record["release"])
    own = variables(where.get("env"))
    return Target(
        python=f"{record['venv']}/bin/python",
        manage=django_process.manage_argv(deployment.project["manage"], record["venv"], source),
        user=deployment.user,
        env={**deployment.environment_of(instance), **own},
        cwd=source,
        umask=0o027,
        secrets=[*deployment.secrets.values(), *secrets_of(own)],
        hint=ELSEWHERE if deployment.static_only else "",
    )


def python_of(bin_env):
    """
    Path (str) of a Python.

    bin_env
        Folder of a virtual environment, or a program in one (``python``, ``django-admin``); None is
        the system's Python.
    """
    if not bin_env:
        return PYTHON
    bin_env = str(bin_env).rstrip("/")
    if not bin_env.startswith("/"):
        raise TargetError(f"bin_env: {bin_env!r} is no absolute path")
    if os.path.isfile(bin_env):
        folder, name = os.path.split(bin_env)
        return bin_env if name.startswith(("python", "pypy")) else f"{folder}/python"
    return f"{bin_env}/bin/python"


def variables(env):
    """Environment variables (dict of str); None leaves one out."""
    if not isinstance(env or {}, dict):
        raise TargetError(f"env: expected a mapping of names to values, got {env!r}")
    return {name: _word(value) for name, value in (env or {}).items() if value is not None}


def secrets_of(env):
    """Values (list of str) of variables that seem to be secrets, and of passwords in their URLs."""
    found = []
    for name, value in env.items():
        if SECRET_NAME.search(name):
            found.append(value)
            found += [match.group().partition(":")[2] for match in PASSWORD_IN_URL.finditer(value)]
    return found


def _account(user):
    try:
        entry = pwd.getpwnam(user) if user else pwd.getpwuid(os.geteuid())
    except KeyError:
        raise TargetError(f"the system user {user!r} does not exist") from None
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}


def words(arguments):
    """
    Positional arguments as words of a command line (list of str): a list is several words, a
    mapping is one, as JSON (Salt's command line has made data of it).
    """
    found = []
    for argument in arguments:
        if isinstance(argument, (list, tuple)):
            found += words(argument)
        elif isinstance(argument, dict):
            found.append(json.dumps(argument))
        elif argument is not None:
            found.append(_word(argument))
    return found


def option_words(options):
    """
    Keyword arguments as options of a command line (list of str): ``True`` is a bare flag, ``None``
    and ``False`` leave one out, a list repeats it.
    """
    found = []
    for name, value in options.items():
        flag = f"-{name}" if len(name) == 1 else f"--{name.replace('_', '-')}"
        glue = "" if len(name) == 1 else "="
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item is None or item is False:
                continue
            if isinstance(item, (dict, list, tuple)):
                raise TargetError(f"{name}: expected a text, a number, a flag or a list of them")
            found.append(flag if item is True else f"{flag}{glue}{_word(item)}")
    return found


def _word(value):
    return value if isinstance(value, str) else str(value)


def listed(value):
    """A text of names apart by commas or spaces, or a list of them, as a list of str."""
    if value is None:
        return []
    if isinstance(value, str):
        return value.replace(",", " ").split()
    return words(value if isinstance(value, (list, tuple)) else [value])


def without_passwords(value):
    """JSON ``value`` without the passwords in its URLs."""
    if isinstance(value, str):
        return PASSWORD_IN_URL.sub(rf"\1:{django_secrets.MASK}", value)
    if isinstance(value, list):
        return [without_passwords(item) for item in value]
    if isinstance(value, dict):
        return {key: without_passwords(item) for key, item in value.items()}
    return value
