"""
The command ``django-backup``: saves databases and uploads of this host's projects in a repository
of restic, lists what is kept, and brings it back. A timer calls it each night, and Salt's
``django.backup``, ``django.backups`` and ``django.restore`` do.

How each run ended is noted beside the dumps, which ``django.status`` and every run of the states
read. Nothing but the system's own Python is needed, so that a server whose Salt is broken can be
brought back, too.
"""

import argparse
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import syslog
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import databases
import folders
import repository

SETTINGS = pathlib.Path("/etc/django-formula/backup/settings.json")
STATE = pathlib.Path("/var/lib/django-backup")  # dumps on their way, and notes
METRICS = pathlib.Path("/var/lib/prometheus/node-exporter/django-backup.prom")
LOCK = pathlib.Path("/run/django-backup.lock")
PROJECT_LOCKS = pathlib.Path("/run/lock")  # those that releases of a project hold, too
MANIFEST = "manifest.json"
OPENED = "repository.json"  # Salt's note of the repository that has opened
LATEST = "latest"
SHORT = 8  # characters by which restic shows an id
LONGEST_HOOK = 60  # seconds
# Secrets that belong to this host's own servers, and not to the project's data.
OF_THE_HOST = ("database.", "cache.", "broker.", "flower.", "source.", "python.", "media.", "cdn.")
FAILED, BUSY = 1, 75
ERRORS = (repository.RepositoryError, databases.DatabaseError, folders.FolderError, OSError)


class Refused(Exception):
    """What is asked for is not done; the message says why."""


class HalfLoaded(Refused):
    """A database may have a part of a backup alone."""


def main(words):
    """Do what the command line says; the exit status."""
    options = vars(arguments().parse_args(words))
    command, as_json = options.pop("command"), options.pop("json")
    os.umask(0o077)
    if not SETTINGS.exists():
        return tell(f"{SETTINGS} is not there: this host makes no backups", FAILED)
    try:
        settings = json.loads(SETTINGS.read_text(encoding="utf-8"))
        told = COMMANDS[command](settings, **options)
    except BlockingIOError:
        return tell("a backup or a restore is under way", BUSY)
    except (Refused, *ERRORS) as error:
        return tell(str(error), FAILED)
    print(json.dumps(told) if as_json else words_of(told))
    return FAILED if isinstance(told, dict) and told.get("failed") else 0


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="django-backup", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="answer as data")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="save projects now, all of them unless some are named")
    run.add_argument("projects", nargs="*", metavar="PROJECT")
    commands.add_parser("open", help="make the repository unless it is there")
    show = commands.add_parser("list", help="what is kept of a project, the newest first")
    show.add_argument("project")
    back = commands.add_parser("restore", help="bring a backup back")
    back.add_argument("project")
    back.add_argument("backup", help="its id as list shows it, or latest")
    where = back.add_mutually_exclusive_group()
    where.add_argument("--into", metavar="FOLDER", help="as files in a new folder, beside all else")
    where.add_argument("--replace", action="store_true", help="in the place of what is there now")
    back.add_argument("--only", choices=["database", "files"], help="a part of it")
    back.add_argument(
        "--no-save", dest="save", action="store_false", help="do not save what is there before"
    )
    # Salt holds the project's lock itself.
    back.add_argument("--held", action="store_true", help=argparse.SUPPRESS)
    return parser


def tell(text, status):
    """Say what is wrong; returns the exit status."""
    print(f"django-backup: {text}", file=sys.stderr)
    return status


def words_of(told):
    """An answer as an operator reads it (str)."""
    if isinstance(told, list):
        lines = [f"{e['id'][:SHORT]}  {e['time']}  {e['size']:>16,}  {e['tag']}" for e in told]
        return "\n".join(lines) or "nothing is kept of it"
    if "saved" in told:
        return "\n".join(_told_of(*each) for each in told["saved"].items())
    lines = []
    for key, value in told.items():
        several = value.values() if isinstance(value, dict) else value
        text = value if isinstance(value, str) else ", ".join(several or ())
        lines += [f"{key}: {text}"] if value else []
    return "\n".join(lines)


def _told_of(name, note):
    """How the backup of a project went, with the time, since it is the log that this is for."""
    if note.get("problem"):
        return f"{note['ended']} {name}: failed: {note['problem']}"
    return f"{note['ended']} {name}: saved as {note['id'][:SHORT]}, {note['size']:,} bytes"


# What is asked for


def open_repository(settings):
    """Make the repository unless it is there, or was there before."""
    known = _read(STATE / OPENED).get("repository") == settings["repository"]
    try:
        told = repository.Repository(settings).open(known)
    except repository.RepositoryError as error:
        hint = f"; to begin another: rm {STATE / OPENED}" if known else ""
        raise Refused(f"{error}{hint}") from None
    _measure(settings)
    return {"repository": told}


def run(settings, projects):
    """Save these projects, or all; what each came to, and whether one failed."""
    names = projects or sorted(settings["projects"])
    for name in names:
        _project(settings, name)
    told, problems = {}, []
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked())
        except BlockingIOError:
            if not projects:  # the one of the night, whose exit status nobody sees
                _alarm(settings, "nothing was saved: a backup or a restore is still under way")
            raise
        for name in names:
            told[name] = noted(settings, name)
            if told[name].get("problem"):
                problems.append(f"{name}: {told[name]['problem']}")
    _measure(settings)
    if problems:
        _alarm(settings, "\n".join(problems))
    return {"failed": problems, "saved": told}


def listed(settings, project):
    """What is kept of a project, the newest first, each with its size."""
    _project(settings, project)
    kept = repository.Repository(settings)
    known = _sizes(project)
    found = kept.snapshots(project)
    for each in found:
        short = each["id"][:SHORT]
        each["size"] = known[short] if short in known else kept.size(each["id"])
    _write(STATE / f"{project}.sizes", {each["id"][:SHORT]: each["size"] for each in found})
    return found


def restore(settings, project, backup, into, replace, only, save, held):
    """Bring a backup back: into a folder, or in the place of what is there."""
    own = _project(settings, project)
    kept = repository.Repository(settings)
    found = _find(kept, project, backup)
    if not into and not replace:
        names, files = (", ".join(own[key]) or "none" for key in ("databases", "folders"))
        raise Refused(
            f"{project} has live data here. A backup is brought back beside it with into=FOLDER, or"
            f" in its place with replace=True: its databases ({names}) and files ({files}) are then"
            f" as they were at {found['time']}."
        )
    with locked():
        if into:
            return _beside(kept, project, found, pathlib.Path(into), only)
        with contextlib.nullcontext() if held else _no_release(project):
            return _replace(settings, kept, project, found, only, save)


COMMANDS = {"open": open_repository, "run": run, "list": listed, "restore": restore}


# Saving


def noted(settings, name):
    """Save a project and note how that ended (dict)."""
    note = {key: value for key, value in _read(STATE / f"{name}.last").items() if key == "good"}
    note.update(started=now(), pid=os.getpid())
    _write(STATE / f"{name}.last", note)
    try:
        shutil.rmtree(STATE / f"{name}.restore", ignore_errors=True)  # one that was broken off
        note.update(save_project(settings, name, repository.NIGHTLY))
        kept = repository.Repository(settings)
        if note.get("problem") is None:
            note["good"] = now()
            kept.forget(name)
        for path in filter(folders.is_ours, settings["projects"][name]["folders"].values()):
            folders.clear(path)
    except ERRORS as error:
        note["problem"] = str(error)
    except Exception as error:  # the other projects are saved nevertheless
        note["problem"] = f"{type(error).__name__}: {error}"
    note["ended"] = now()
    _write(STATE / f"{name}.last", {key: each for key, each in note.items() if each is not None})
    return note


def save_project(settings, name, tag):
    """Save a project: ``{id, size}``, with ``problem`` where some of it could not be read."""
    own = _project(settings, name)
    kept = repository.Repository(settings)
    for path in own["folders"].values():
        if not os.path.isdir(path):  # restic passes over it, as if it had been empty
            raise folders.FolderError(f"the folder {path} is not there")
    room = STATE / name
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True, mode=0o711)
    room.chmod(0o711)  # users of projects come to their own files in it
    try:
        files = {}
        for alias, database in own["databases"].items():
            files[alias] = databases.file_name(alias, database)
            databases.dump(database, room / files[alias], own["user"])
        engines = {alias: database["engine"] for alias, database in own["databases"].items()}
        manifest = {"databases": files, "engines": engines, "folders": own["folders"]}
        manifest["owner"] = _numbers(own["user"])
        _write(room / MANIFEST, manifest)
        paths = [str(room), *own["folders"].values()]
        paths += [own["secrets"]] if os.path.exists(own["secrets"]) else []
        snapshot, size, unread = kept.save(name, tag, paths, own["excludes"])
        if unread:  # a file may have been removed while it was read
            kept.discard(snapshot)
            snapshot, size, unread = kept.save(name, tag, paths, own["excludes"])
        if unread:
            snapshot = kept.set_apart(name, snapshot)
    finally:
        shutil.rmtree(room, ignore_errors=True)
    _write(STATE / f"{name}.sizes", {**_sizes(name), snapshot[:SHORT]: size})
    problem = f"the backup {snapshot[:SHORT]} is incomplete: {unread}" if unread else None
    return {"id": snapshot[:SHORT], "size": size, "problem": problem}


def _measure(settings):
    """Tell Prometheus, where its exporter is on this host, when the last good ones were."""
    if not METRICS.parent.is_dir():
        return
    set_up = int(SETTINGS.stat().st_mtime)  # what has no backup yet is overdue from then on
    lines = [f"django_backup_patience_seconds {settings['patience']}"]
    for name in sorted(settings["projects"]):
        good = _read(STATE / f"{name}.last").get("good")
        seconds = int(datetime.datetime.fromisoformat(good).timestamp()) if good else set_up
        labels = '{project="' + name + '"}'
        lines.append(f"django_backup_good_seconds{labels} {seconds}")
    new = METRICS.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    new.chmod(0o644)
    new.replace(METRICS)


def _alarm(settings, text):
    """Tell the system's log, and the operator's command."""
    print(text, file=sys.stderr)
    syslog.openlog("django-backup")
    syslog.syslog(syslog.LOG_ERR, text)
    if settings["on_failure"]:
        try:
            how = {"input": text + "\n", "text": True, "timeout": LONGEST_HOOK, "cwd": "/"}
            subprocess.run(settings["on_failure"], check=True, **how)  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            print(f"on_failure: {error}", file=sys.stderr)


# Bringing back


def _find(kept, project, backup):
    found = kept.snapshots(project)
    nightly = [each for each in found if each["tag"] == repository.NIGHTLY]
    fits = nightly[:1] if backup == LATEST else [e for e in found if e["id"].startswith(backup)]
    if len(fits) != 1:
        words = "no backup" if not fits else f"{len(fits)} backups"
        shown = ", ".join(each["id"][:SHORT] for each in found[:5]) or "none"
        raise Refused(f"{project} has {words} {backup!r}; the newest are: {shown}")
    return fits[0]


def _beside(kept, project, found, into, only):
    """The backup as files in a new folder."""
    if not into.is_absolute():
        raise Refused(f"into: expected an absolute path, got {str(into)!r}")
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise Refused(f"{into} is there already")
    into.mkdir(parents=True, mode=0o700, exist_ok=True)
    fetched = into / ".fetched"
    try:
        manifest = _manifest(kept, project, found, fetched)
        wanted = _paths(project, manifest, found, only)
        kept.fetch(found["id"], fetched, wanted.values())
        _check(found, fetched, wanted.values())
        for name, path in wanted.items():
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            os.rename(_below(fetched, path), into / name)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)
    return {
        "id": found["id"],
        "time": found["time"],
        "into": {name: str(into / name) for name in wanted},
    }


def _paths(project, manifest, found, only):
    """Paths in a backup by what they are called in a folder (dict)."""
    wanted = {}
    if only != "files":
        files = manifest["databases"].values()
        wanted.update({file: f"{STATE}/{project}/{file}" for file in files})
        wanted.update({pathlib.Path(each).name: each for each in found["paths"] if _secret(each)})
    if only != "database":
        wanted.update(manifest["folders"])
    return wanted


def _check(found, fetched, paths):
    """Refused unless all of these paths came out of a backup."""
    for path in paths:
        if not os.path.lexists(_below(fetched, path)):
            raise Refused(
                f"the backup {found['id'][:SHORT]} lacks {path}: nothing was changed;"
                " only=database or only=files bring back a part"
            )


def _secret(path):
    return path.endswith(".json") and "/secrets/" in path


def _manifest(kept, project, found, room):
    kept.fetch(found["id"], room, [f"{STATE}/{project}/{MANIFEST}"])
    manifest = _read(_below(room, f"{STATE}/{project}/{MANIFEST}"))
    if not manifest:
        raise Refused(f"{found['id'][:SHORT]} is no backup of this command: it has no {MANIFEST}")
    return manifest


def _below(folder, path):
    return pathlib.Path(f"{folder}{path}")


def _replace(settings, kept, project, found, only, save):
    """The backup in the place of what is there."""
    own = settings["projects"][project]
    room = STATE / f"{project}.restore"
    shutil.rmtree(room, ignore_errors=True)
    room.mkdir(parents=True, mode=0o711)
    room.chmod(0o711)
    rooms = {}
    try:
        manifest = _manifest(kept, project, found, room / "fetched")
        loads = {} if only == "files" else _loads(own, manifest)
        moves = {} if only == "database" else _moves(own, manifest)
        owners = (manifest.get("owner"), _numbers(own["user"]))
        # All of it is here, and fits, before anything is changed.
        if loads:
            dumps = _paths(project, manifest, found, "database")
            kept.fetch(found["id"], room / "fetched", dumps.values())
            _check(found, room / "fetched", dumps.values())
        for name, path in moves.items():
            rooms[name] = folders.beside(path)
            kept.fetch(found["id"], rooms[name], [manifest["folders"][name]])
            _check(found, rooms[name], [manifest["folders"][name]])
            folders.check(_below(rooms[name], manifest["folders"][name]), path, _live_files(own))
        before = _save_first(settings, project) if save else {}
        with _told_if_broken_off(project, found["id"], before.get("id")) as replaced:
            for alias, file in loads.items():
                dumped = room / file
                os.rename(_below(room / "fetched", f"{STATE}/{project}/{file}"), dumped)
                _load(kept, project, own, alias, dumped, before.get("id"), room)
                replaced.append(f"database {alias}")
            for name, path in moves.items():
                fetched = _below(rooms[name], manifest["folders"][name])
                known = owners if all(owners) else None
                folders.exchange(fetched, path, rooms[name], _live_files(own), known)
                replaced.append(f"folder {name}")
            secrets = _restore_secrets(own, room / "fetched", found) if loads else []
    finally:
        shutil.rmtree(room, ignore_errors=True)
        for name in rooms:
            folders.clear(moves[name])
    return {
        "id": found["id"],
        "time": found["time"],
        "databases": list(loads),
        "files": list(moves),
        "secrets": secrets,
        "before": before.get("id"),
    }


@contextlib.contextmanager
def _told_if_broken_off(project, backup, before):
    """
    A list of what was replaced; whatever fails then says so, and what leads back. A note stays
    until a restore has done all of it, so that one that is killed is told of, too.
    """
    note, replaced = STATE / f"{project}.replacing", []
    earlier = _read(note)
    _write(note, {"started": now(), "pid": os.getpid(), "id": backup[:SHORT], "before": before})
    try:
        yield replaced
    except (Refused, *ERRORS) as error:
        if replaced:
            way = f"; what was there: django.restore {project} {before} replace=True"
            told = f"{error}\nReplaced before that: {', '.join(replaced)}{way if before else ''}"
            raise Refused(told) from None
        if earlier:
            _write(note, earlier)
        elif not isinstance(error, HalfLoaded):
            note.unlink()
        raise
    note.unlink()


def _save_first(settings, project):
    """Save what is there before it is replaced."""
    try:
        saved = save_project(settings, project, repository.BEFORE)
        if saved["problem"]:
            raise Refused(saved["problem"])
        return saved
    except (Refused, *ERRORS) as error:
        raise Refused(
            f"{error}\nWhat is there could not be saved, so nothing was changed. Without saving it"
            " first (save=False, or --no-save) nothing would lead back."
        ) from None


def _loads(own, manifest):
    """Dumps by alias, of the databases that the project has."""
    for alias, database in own["databases"].items():
        engine = manifest["engines"].get(alias)
        if engine != database["engine"]:
            raise Refused(
                f"the backup has {engine or 'nothing'} for the database {alias}, and the project"
                f" {database['engine']}; only=files or into= bring back what there is"
            )
    return {alias: manifest["databases"][alias] for alias in own["databases"]}


def _moves(own, manifest):
    """Folders by name that both the project and the backup have."""
    return {name: path for name, path in own["folders"].items() if name in manifest["folders"]}


def _numbers(user):
    """Numbers of a user and its group (list of int), or None on a host that has no such user."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return None
    return [found.pw_uid, found.pw_gid]


def _live_files(own):
    """Files (list of str) of databases in use, which may lie in a folder that is exchanged."""
    names = [each["name"] for each in own["databases"].values() if each["engine"] == "sqlite"]
    return [name + ending for name in names for ending in databases.SQLITE_FILES]


def _load(kept, project, own, alias, dumped, before, room):
    """Load a dump; one that fails half-way is undone by what was saved before."""
    database = own["databases"][alias]
    try:
        databases.load(database, dumped, own["user"])
    except databases.DatabaseError as error:
        if databases.is_whole(database):
            raise Refused(f"{error}\nThis database is as it was.") from None
        if not before:
            told = f"{error}\nIt may lack a part now: restore another backup."
            raise HalfLoaded(told) from None
        path = f"{STATE}/{project}/{databases.file_name(alias, database)}"
        try:
            kept.fetch(before, room / "before", [path])
            databases.load(database, _below(room / "before", path), own["user"])
        except ERRORS as second:
            raise HalfLoaded(
                f"{error}\nIt may lack a part now, since what was there could not be brought back,"
                f" either: {second}\nTo try that again: django.restore {project} {before}"
                " replace=True only=database save=False"
            ) from None
        raise Refused(f"{error}\nThis database was brought back to what it was.") from None


def _restore_secrets(own, fetched, found):
    """
    Let generated secrets of the project itself, such as its SECRET_KEY, be those of the backup,
    since its data may be signed or encrypted with them. Returns the names (list of str) of those
    that changed.
    """
    saved = [path for path in found["paths"] if _secret(path)]
    here = pathlib.Path(own["secrets"])
    if not saved or not here.exists():
        return []
    kept, now_kept = _read(_below(fetched, saved[0])), _read(here)
    changed = {
        name: value
        for name, value in kept.items()
        if not name.startswith(OF_THE_HOST) and now_kept.get(name) not in (None, value)
    }
    if changed:
        _write(here, {**now_kept, **changed})
    return sorted(changed)


# What is shared


@contextlib.contextmanager
def locked():
    """Alone at it; BlockingIOError where somebody else is."""
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        STATE.mkdir(mode=0o711, exist_ok=True)
        STATE.chmod(0o711)
        yield


@contextlib.contextmanager
def _no_release(project):
    """No release of a project meanwhile, nor does one run; :class:`Refused` where one does."""
    PROJECT_LOCKS.mkdir(exist_ok=True)
    with open(PROJECT_LOCKS / f"django-formula-{project}.lock", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another run works on {project}: try again when it has ended") from None
        yield


def now():
    """This moment (str)."""
    zone = datetime.timezone.utc
    return datetime.datetime.fromtimestamp(int(time.time()), zone).isoformat()


def _project(settings, name):
    if name not in settings["projects"]:
        known = ", ".join(sorted(settings["projects"])) or "none"
        raise Refused(f"this host saves no project {name!r}; there are: {known}")
    return settings["projects"][name]


def _sizes(project):
    return _read(STATE / f"{project}.sizes")


def _read(path):
    try:
        found = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path, value):
    """Write a record, so that no reader ever sees a part of it."""
    path = pathlib.Path(path)
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(json.dumps(value, indent=1, sort_keys=True) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(new, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
