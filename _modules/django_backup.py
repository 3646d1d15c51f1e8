"""
Backups: what the command ``django-backup`` is told, and what operators ask of it.

One module with ``django.py`` to Salt.
"""

import json
import os

import django_access
import django_backup
import django_backup_note
import django_config
import django_layout
import django_pull_note
import django_secrets
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"
MODE = 0o600
LONGEST = 7 * 86400  # seconds of a backup or a restore
OPENED = django_backup_note.STATE / "repository.json"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _config():
    config = _access().valid()["backup"]
    if not config:
        raise CommandExecutionError(
            "This host makes no backups: django:backup is not in its pillar, or another host has"
            " the role backup."
        )
    return config


# What a run of the states looks after


def configure_backup(test=False):
    """
    Write what ``django-backup`` has to know to files for root only: the repository, and how it
    comes to the databases. A password that the pillar leaves out is generated once.

    Returns ``{"changes": dict, "comment": str}``, with ``"warnings"`` while a generated password is
    nowhere else, and for backups that failed or are overdue. Raises CommandExecutionError on a host
    that makes no backups.

    CLI Example:

    .. code-block:: bash

        salt-call django.configure_backup test=True
    """
    config = _config()
    folder, given = django_config.PATHS["secrets"], config["password"]
    specs = _specs(config)
    missing = django_secrets.missing(specs, django_secrets.load(folder, django_backup.STORE))
    changes = {"password": "generated"} if missing else {}
    if missing and not test:
        django_secrets.keep(folder, django_backup.STORE, specs)
    password = django_secrets.values(specs, django_secrets.load(folder, django_backup.STORE))
    for path, text in _files(config, password["password"]).items():
        if text is None:
            if os.path.exists(path):
                changes[path] = "removed"
                if not test:
                    os.unlink(path)
            continue
        differing = django_layout.file_differences(path, text, MODE, 0, 0)
        if differing:
            changes[path] = differing
            if not test:
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                django_layout.write_atomic(path, text, MODE)
    words = "is known" if not changes else "would be told" if test else "was told"
    told = {"changes": changes, "comment": f"What to save, and where to, {words}."}
    warnings = django_backup_note.complaints(config["projects"], config["patience"])
    if not given:
        store = django_secrets.store(folder, django_backup.STORE)
        warnings.insert(
            0,
            f"The password of the backups is on this server alone ({store}): without it nobody can"
            " read them. Keep it elsewhere, best as django:backup:password in an encrypted pillar.",
        )
    return {**told, "warnings": warnings} if warnings else told


def _specs(config):
    """Of the password: what the pillar gives, or how it is generated."""
    length = {"generate": django_backup.LENGTH, "format": "letters"}
    return {"password": {"value": config["password"]} if config["password"] else length}


def _files(config, password):
    """What the files say (dict of str by path, None for one that must not be there)."""
    access = _access()
    store = {name: access.secrets(name) for name in config["projects"]}
    text = django_backup.settings(
        config,
        password,
        store,
        lambda name: django_secrets.store(django_config.PATHS["secrets"], name),
    )
    ssh = config["ssh"] or {"private_key": None, "known_hosts": []}
    lines = "".join(f"{line}\n" for line in ssh["known_hosts"])
    return {
        django_backup.KEY: ssh["private_key"] and ssh["private_key"].rstrip("\n") + "\n",
        django_backup.KNOWN_HOSTS: lines or None,
        django_backup.SETTINGS: text,
    }


def open_repository(test=False):
    """
    See to it that the repository of backups is there, made unless it is, and opens with this
    password. What opened once, as the settings have it, is not asked again: each backup asks.

    Returns ``{"changes": dict, "comment": str}``. Raises CommandExecutionError when it does not
    open: the password is another, or nobody answers.

    CLI Example:

    .. code-block:: bash

        salt-call django.open_repository
    """
    config = _config()
    where = config["repository"]
    specs = _specs(config)
    store = django_secrets.load(django_config.PATHS["secrets"], django_backup.STORE)
    wanted = _files(config, django_secrets.values(specs, store)["password"])
    identity = _identity(json.loads(wanted[django_backup.SETTINGS]))
    if django_layout.read_json(OPENED).get("opened") == identity:
        return {"changes": {}, "comment": f"{where} opens."}
    if test:
        return {"changes": {"repository": where}, "comment": f"{where} would be opened or made."}
    done = _ask("open")["repository"]
    os.makedirs(OPENED.parent, mode=0o711, exist_ok=True)
    known = django_layout.read_json(django_backup.SETTINGS)  # by which it was opened
    note = {"opened": _identity(known), "repository": known["repository"]}
    django_layout.write_json(OPENED, note, MODE)
    return {"changes": {"repository": where}, "comment": f"{where} was {done}."}


def _identity(told):
    """A digest (str) of what decides whether the repository opens."""
    keys = ("repository", "password", "environment", "options")
    return django_layout.digest([told[key] for key in keys], told["password"].encode())


# What operators ask for


def backup(project=None):
    """
    Save databases and uploads now.

    project : None
        Name of a project of this host; left out, all are saved.

    Returns ``{"changes": {project: {"id", "size"}}, "comment": str}``, sizes in bytes. Raises
    CommandExecutionError when one failed, with the reason.

    CLI Example:

    .. code-block:: bash

        salt-call django.backup shop
    """
    _config()
    told = _ask("run", *([project] if project else []))
    if told["failed"]:
        raise CommandExecutionError("\n".join(told["failed"]))
    saved = {
        name: {"id": each["id"][:8], "size": each["size"]} for name, each in told["saved"].items()
    }
    return {"changes": saved, "comment": f"Saved: {', '.join(saved)}."}


def backups(project):
    """
    What is kept of a project, the newest first.

    project
        Its name.

    Returns a list of ``{"id", "time", "age", "size", "kind"}``: ``size`` in bytes of what comes
    back, ``kind`` is ``backup``, ``before-restore`` for what was saved just before a restore, or
    ``incomplete`` for one that lacks files which could not be read, and is nobody's ``latest``.
    Raises CommandExecutionError when the repository does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call django.backups shop
    """
    _config()
    return [
        {
            "id": each["id"][:8],
            "time": each["time"],
            "age": django_pull_note.age(each["time"]),
            "size": each["size"],
            "kind": each["tag"],
        }
        for each in _ask("list", project)
    ]


def restore(project, backup, into=None, replace=False, only=None, save=True):
    """
    Bring a backup back, beside what is there or in its place.

    project
        Its name.
    backup
        Id of a backup, as :func:`backups` tells it, or ``latest``.
    into : None
        A folder that is not there yet: dumps and uploads are written to it as files, and nothing
        else changes.
    replace : False
        Put it in the place of the live databases and uploads. All of it is fetched before anything
        changes. A database of PostgreSQL or SQLite is exchanged in one transaction, one of MariaDB
        is brought back to what it was if its dump cannot be loaded; then folders change places, and
        generated secrets of the project (its SECRET_KEY) come back, for the next run of the states
        to use.
    only : None
        ``database`` or ``files`` for a part of it.
    save : True
        Save what is there first, as a backup of the kind ``before-restore``. Without that nothing
        leads back.

    Returns ``{"changes": dict, "comment": str}``. Raises CommandExecutionError when neither
    ``into`` nor ``replace`` is given, and when it fails; the message says what is as it was.

    CLI Example:

    .. code-block:: bash

        salt-call django.restore shop 4f2a9c1e into=/root/shop
        salt-call django.restore shop latest replace=True
    """
    _config()
    if only not in (None, "database", "files"):
        raise CommandExecutionError(f"only: expected database or files, got {only!r}")
    if into and replace:
        raise CommandExecutionError("expected into or replace=True, got both")
    words = [f"--into={into}"] if into else ["--replace"] if replace is True else []
    words += [f"--only={only}"] if only else []
    words += [] if save else ["--no-save"]
    words += ["--held"] if replace is True and _hold(project) else []
    # A number is what Salt makes of an id without letters.
    told = _ask("restore", *words, "--", project, str(backup))
    comment = f"The backup {told['id'][:8]} of {told['time']} is back"
    if into:
        return {"changes": told["into"], "comment": f"{comment}, in {into}."}
    before = f" What was there is the backup {told['before'][:8]}." if told["before"] else ""
    changes = {key: told[key] for key in ("databases", "files", "secrets") if told[key]}
    hint = "A run of the states applies migrations that it lacks: salt-call state.apply"
    return {"changes": changes, "comment": f"{comment}.{before} {hint}"}


def _hold(project):
    """No release of the project meanwhile, on a host that runs it: whether this process has it."""
    config = _access().valid()
    runs = project in config["projects"] and "django.app.project" in config["tiers"]
    if runs:
        _access().lock(project)
    return runs


def _ask(*words):
    """The answer of ``django-backup``; CommandExecutionError with its words when it fails."""
    try:
        done = run([django_backup.PROGRAM, "--json", *words], check=False, timeout=LONGEST)
    except CommandError as error:
        raise CommandExecutionError(str(error)) from None
    try:
        return json.loads(done.stdout)
    except ValueError:
        said = done.stderr.strip().removeprefix("django-backup: ")
        raise CommandExecutionError(said or "django-backup says nothing") from None
