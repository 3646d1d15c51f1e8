"""The command django-backup: what it saves and brings back, what it refuses, notes and tells."""

import contextlib
import fcntl
import json
import os
import pathlib
import pwd
import sqlite3
import subprocess
import types

import pytest
from backup_modules import FOLDER, ME, module

RESTIC = """\
#!/bin/sh
echo "$@" >>{log}
case "$*" in
    *backup*) echo '{{"message_type": "summary", "snapshot_id": "{id}",' \\
        '"total_bytes_processed": 7}}' ;;
    *snapshots*) echo '[{{"id": "{id}", "time": "2026-11-27T08:12:10.123456789+01:00",
        "tags": ["backup"], "paths": ["/a"]}}]' ;;
    {fails}) echo 'Fatal: wrong password or no key found' >&2; exit 1 ;;
esac
exit 0
"""
ID = "4f2a9c1e" * 8


@pytest.fixture(scope="module")
def command():
    """The command's own module, with those beside it."""
    return module("main")


@pytest.fixture(autouse=True)
def nobody_else(command, monkeypatch):
    """The command's umask ends with a test; whoever is not root becomes nobody else."""
    before = os.umask(0o022)
    if os.geteuid():
        monkeypatch.setattr(command.databases, "_as", lambda user: {})
    yield
    os.umask(before)


@pytest.fixture
def host(command, tmp_path, monkeypatch):
    """A host with a project ``shop``: SQLite, a folder of uploads, a restic that only says so."""
    (tmp_path / "state").mkdir()
    (tmp_path / "media").mkdir()
    (tmp_path / "media/a.txt").write_text("a")
    (tmp_path / "secrets.json").write_text(
        '{"SECRET_KEY": "new", "database.default.password": "x"}'
    )
    program = tmp_path / "restic"
    program.write_text(RESTIC.format(log=tmp_path / "log", id=ID, fails="nothing"))
    program.chmod(0o755)
    monkeypatch.setattr(command.repository, "PROGRAM", str(program))
    monkeypatch.setattr(command, "STATE", tmp_path / "state")
    monkeypatch.setattr(command, "METRICS", tmp_path / "metrics/django-backup.prom")
    monkeypatch.setattr(command, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(command, "PROJECT_LOCKS", tmp_path / "locks")
    monkeypatch.setattr(command, "SETTINGS", tmp_path / "settings.json")
    database = {"engine": "sqlite", "name": str(tmp_path / "shop.sqlite3")}
    with contextlib.closing(sqlite3.connect(database["name"])) as opened, opened:
        opened.execute("CREATE TABLE entry (name)")
        opened.execute("INSERT INTO entry VALUES ('Ada')")
    settings = {
        "repository": "/mnt/backup",
        "password": "canary",
        "environment": {},
        "options": [],
        "keep": {"last": 3, "daily": 7, "yearly": 0},
        "on_failure": None,
        "patience": 3600,
        "projects": {
            "shop": {
                "user": ME,
                "databases": {"default": database},
                "folders": {"media": str(tmp_path / "media")},
                "excludes": ["/x"],
                "secrets": str(tmp_path / "secrets.json"),
            }
        },
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    return tmp_path


def rows(path):
    with contextlib.closing(sqlite3.connect(path)) as opened:
        return [name for (name,) in opened.execute("SELECT name FROM entry")]


def said(host):
    return (host / "log").read_text().splitlines()


def test_a_run_saves_and_notes_and_lets_old_ones_go(command, host, capsys):
    assert command.main(["run"]) == 0
    assert "shop: saved as 4f2a9c1e, 7 bytes" in capsys.readouterr().out
    unlock, saved, before, partial, nightly = said(host)
    state = host / "state"
    assert saved.startswith(f"backup --json --host=shop --tag=backup --exclude=/x -- {state}/shop ")
    assert saved.endswith(f"{host}/media {host}/secrets.json")
    assert "--keep-within=30d" in before and "--tag=before-restore" in before
    assert "--keep-within=30d" in partial and "--tag=incomplete" in partial
    assert nightly.endswith("--tag=backup --keep-last=3 --keep-daily=7 --prune")
    note = json.loads((state / "shop.last").read_text())
    assert note["good"] and note["id"] == "4f2a9c1e" and "problem" not in note
    assert not (state / "shop").exists(), "dumps do not stay"
    assert "canary" not in (host / "log").read_text()


def test_one_that_fails_is_told_to_everybody(command, host, capsys):
    settings = json.loads((host / "settings.json").read_text())
    settings["on_failure"] = ["tee", str(host / "told")]
    settings["projects"]["shop"]["databases"]["default"]["name"] = "/nowhere/shop.sqlite3"
    (host / "settings.json").write_text(json.dumps(settings))
    assert command.main(["run"]) == 1
    assert "unable to open database file" in (host / "told").read_text()
    assert "unable to open database file" in capsys.readouterr().err
    assert "unable to open" in json.loads((host / "state/shop.last").read_text())["problem"]
    assert not (host / "log").exists(), "a part is not saved as if it were all"


def test_what_could_not_be_read_is_tried_again_and_then_told(command, host):
    program = host / "restic"
    unread = "case $1 in backup) echo 'error: a.txt: permission denied' >&2; exit 3 ;; esac"
    program.write_text(program.read_text().replace("exit 0", f"{unread}\nexit 0"))
    assert command.main(["run"]) == 1
    assert [line.split()[0] for line in said(host)] == [
        "unlock",
        "backup",
        "forget",
        "unlock",
        "backup",
        "tag",
        "snapshots",
    ]
    assert said(host)[-2].startswith("tag --set=incomplete ")
    problem = json.loads((host / "state/shop.last").read_text())["problem"]
    assert "incomplete" in problem and "permission denied" in problem


def test_another_password_is_told_in_words(command, host, capsys):
    program = host / "restic"
    program.write_text(program.read_text().replace("nothing)", "*config*)"))
    assert command.main(["open"]) == 1
    assert capsys.readouterr().err == (
        "django-backup: repository /mnt/backup: it was made with another password\n"
    )


def test_prometheus_is_told_where_it_is(command, host):
    (host / "metrics").mkdir()
    assert command.main(["run"]) == 0
    patience, good = (host / "metrics/django-backup.prom").read_text().splitlines()
    assert patience == "django_backup_patience_seconds 3600"
    assert good.startswith('django_backup_good_seconds{project="shop"} 1')
    assert (host / "metrics/django-backup.prom").stat().st_mode & 0o777 == 0o644


def test_two_do_not_run_at_once(command, host, capsys):
    with command.locked():
        assert command.main(["run", "shop"]) == 75
    assert "under way" in capsys.readouterr().err


def test_one_that_still_runs_at_night_is_told_to_everybody(command, host):
    settings = json.loads((host / "settings.json").read_text())
    settings["on_failure"] = ["tee", str(host / "told")]
    (host / "settings.json").write_text(json.dumps(settings))
    with command.locked():
        assert command.main(["run", "shop"]) == 75
        assert not (host / "told").exists(), "who calls it sees it"
        assert command.main(["run"]) == 75
    assert "a restore is still under way" in (host / "told").read_text()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["restore", "shop", "latest"], "replace=True"),
        (["restore", "shop", "ffff", "--replace"], "no backup 'ffff'; the newest are: 4f2a9c1e"),
        (["restore", "other", "latest", "--replace"], "saves no project 'other'; there are: shop"),
        (["restore", "shop", "latest", "--into", "here"], "expected an absolute path"),
        (["run", "other"], "saves no project 'other'"),
    ],
)
def test_what_is_refused_changes_nothing(command, host, capsys, words, told):
    assert command.main(words) == 1
    assert told in capsys.readouterr().err
    assert rows(host / "shop.sqlite3") == ["Ada"] and (host / "media/a.txt").exists()


def test_a_folder_that_is_there_is_not_written_to(command, host, capsys):
    assert command.main(["restore", "shop", "latest", "--into", str(host / "media")]) == 1
    assert "is there already" in capsys.readouterr().err


def test_sqlite_is_saved_while_it_is_written_to(command, host):
    path, dumped = host / "shop.sqlite3", host / "dumped"
    database = {"engine": "sqlite", "name": str(path)}
    with contextlib.closing(sqlite3.connect(path)) as writer:
        writer.execute("PRAGMA journal_mode=wal")
        writer.execute("INSERT INTO entry VALUES ('Grace')")
        command.databases.dump(database, dumped, ME)
        assert rows(dumped) == ["Ada"], "what is not committed is not in it"
        writer.commit()
        command.databases.load(database, dumped, ME)
        assert rows(path) == ["Ada"]
        assert writer.execute("SELECT name FROM entry").fetchall() == [("Ada",)], (
            "who is connected sees it"
        )
    assert sorted(each.name for each in host.glob("dumped*")) == ["dumped"]


def test_a_copy_that_is_exchanged_for_a_link_is_no_dump(command, host, monkeypatch):
    secret = host / "secret"
    secret.write_text("of root")

    def hostile(source, target, user):
        os.symlink(secret, target.removeprefix("file:").partition("?")[0])

    monkeypatch.setattr(command.databases, "_copy", hostile)
    database = {"engine": "sqlite", "name": str(host / "shop.sqlite3")}
    with pytest.raises(command.databases.DatabaseError, match="is no file any more"):
        command.databases.dump(database, host / "dumped", ME)
    assert not (host / "dumped").exists() and secret.read_text() == "of root"


def test_a_folder_is_filled_before_it_is_given_away(command, host, monkeypatch):
    given = []

    def chown(path, *owner, **more):
        path = pathlib.Path(path)
        given.append((path.name, sorted(each.name for each in path.glob("*"))))

    monkeypatch.setattr(command.databases.shutil, "chown", chown)
    (host / "dumped").write_bytes((host / "shop.sqlite3").read_bytes())
    database = {"engine": "sqlite", "name": str(host / "shop.sqlite3")}
    command.databases.load(database, host / "dumped", ME)
    assert given == [("dumped", []), (f"dumped.{ME}", ["dumped"])]


def test_secrets_of_the_project_come_back_and_those_of_the_host_stay(command, host):
    saved = host / "fetched/etc/secrets/shop.json"
    saved.parent.mkdir(parents=True)
    saved.write_text('{"SECRET_KEY": "old", "database.default.password": "y", "gone": "z"}')
    own = json.loads((host / "settings.json").read_text())["projects"]["shop"]
    found = {"paths": ["/var/x", "/etc/secrets/shop.json"]}
    assert command._restore_secrets(own, host / "fetched", found) == ["SECRET_KEY"]
    kept = json.loads((host / "secrets.json").read_text())
    assert kept == {"SECRET_KEY": "old", "database.default.password": "x"}
    assert (host / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_times_of_restic_are_read_whatever_their_digits(command):
    for text in ("2026-11-27T08:12:10.123456789+01:00", "2026-11-27T07:12:10Z"):
        assert command.repository.moment(text).timestamp() == 1795763530


def test_times_of_several_zones_are_sorted_as_times(command, host):
    program = host / "restic"
    other = '"paths": ["/a"]}, {"id": "b", "time": "2026-11-27T07:30:00+00:00", "paths": []}]'
    program.write_text(program.read_text().replace('"paths": ["/a"]}]', other))
    settings = json.loads((host / "settings.json").read_text())
    found = command.repository.Repository(settings).snapshots("shop")
    assert [each["time"] for each in found] == [
        "2026-11-27T07:30:00+00:00",
        "2026-11-27T07:12:10+00:00",
    ]


# What is missing, half there, or was broken off


@pytest.fixture
def empty(host):
    """A restic that finds no repository until one was made, and says what it was asked."""
    program = host / "restic"
    missing = "echo 'Is there a repository at the following location?' >&2; exit 1"
    program.write_text(f"""\
#!/bin/sh
echo "$@" >>{host}/log
[ "$1" = cat ] && [ ! -e {host}/made ] && {{ {missing}; }}
[ "$1" != init ] || touch {host}/made
""")
    return host


def test_a_repository_is_made_once(command, empty, capsys):
    assert command.main(["open"]) == 0
    (empty / "made").unlink()
    (empty / "state/repository.json").write_text('{"repository": "/mnt/backup"}')
    assert command.main(["open"]) == 1
    said = capsys.readouterr().err
    assert "was there, and is not there any more; to begin another: rm " in said
    assert not (empty / "made").exists()


def test_no_repository_is_made_below_a_drive_that_is_not_mounted(
    command, empty, capsys, monkeypatch
):
    (empty / "drive").mkdir()
    (empty / "fstab").write_text(f"# drives\n\nUUID=1 / ext4\nUUID=2 {empty}/drive ext4\n")
    monkeypatch.setattr(command.repository, "MOUNTS", str(empty / "fstab"))
    settings = json.loads((empty / "settings.json").read_text())
    settings["repository"] = f"{empty}/drive/shop"
    (empty / "settings.json").write_text(json.dumps(settings))
    assert command.main(["open"]) == 1
    assert f"{empty}/drive of {empty}/fstab is not mounted" in capsys.readouterr().err
    assert not (empty / "log").exists()
    monkeypatch.setattr(command.repository.os.path, "ismount", lambda path: True)
    assert command.main(["open"]) == 0


FETCHING = """\
case $1 in restore)
    to={host}/none
    for word in "$@"; do case $word in --target=*) to=${{word#--target=}} ;; esac; done
    case "$*" in *manifest*)
        mkdir -p $to{host}/state/shop
        cp {host}/manifest.json $to{host}/state/shop/ ;;
    esac
    case "$*" in *{brings}*)
        mkdir -p $to{host}/media $to{host}/state/shop
        cp {host}/dumped $to{host}/state/shop/default.sqlite3 ;;
    esac ;;
esac
"""


@pytest.fixture
def fetching(command, host):
    """A function that lets restic bring back a backup, of which it has all or a part."""

    def write(brings, **manifest):
        database = {"engine": "sqlite", "name": str(host / "shop.sqlite3")}
        command.databases.dump(database, host / "dumped", ME)
        with contextlib.closing(sqlite3.connect(host / "shop.sqlite3")) as opened, opened:
            opened.execute("INSERT INTO entry VALUES ('Grace')")
        told = {
            "databases": {"default": "default.sqlite3"},
            "engines": {"default": "sqlite"},
            "folders": {"media": f"{host}/media"},
        }
        (host / "manifest.json").write_text(json.dumps({**told, **manifest}))
        program = host / "restic"
        script = FETCHING.format(host=host, brings=brings)
        program.write_text(program.read_text().replace("exit 0", f"{script}exit 0"))

    return write


def test_a_backup_without_owners_comes_back(command, host, fetching):
    fetching("restore")
    assert command.main(["restore", "shop", "latest", "--replace", "--no-save"]) == 0
    assert rows(host / "shop.sqlite3") == ["Ada"] and not (host / "media/a.txt").exists()
    assert not list(host.glob(".django-backup*"))


def test_a_backup_that_lacks_a_part_changes_nothing(command, host, fetching, capsys):
    fetching("default.sqlite3", folders={"media": f"{host}/gone"})
    assert command.main(["restore", "shop", "latest", "--replace", "--no-save"]) == 1
    assert f"lacks {host}/gone: nothing was changed" in capsys.readouterr().err
    assert rows(host / "shop.sqlite3") == ["Ada", "Grace"] and (host / "media/a.txt").exists()
    for _ in range(2):
        assert command.main(["restore", "shop", "latest", "--into", str(host / "into")]) == 1
        assert f"lacks {host}/gone" in capsys.readouterr().err
        assert list((host / "into").iterdir()) == []


def test_a_restore_that_fails_between_two_steps_keeps_the_files(
    command, host, fetching, monkeypatch
):
    fetching("restore")
    rename = os.rename

    def failing(source, target):
        if target == host / "media" and source.name != "old":
            raise OSError("the drive is gone")
        rename(source, target)

    monkeypatch.setattr(command.folders, "_swap", lambda one, other: False)
    monkeypatch.setattr(command.folders.os, "rename", failing)
    assert command.main(["restore", "shop", "latest", "--replace", "--no-save"]) == 1
    assert (host / "media/a.txt").exists()


def test_a_folder_that_is_not_there_is_no_good_backup(command, host):
    (host / "media").rename(host / "away")
    assert command.main(["run"]) == 1
    note = json.loads((host / "state/shop.last").read_text())
    assert f"the folder {host}/media is not there" in note["problem"] and "good" not in note
    assert not (host / "log").exists(), "nothing older was let go"


def test_what_failed_after_the_database_is_told_with_what_leads_back(
    command, host, fetching, capsys, monkeypatch
):
    def fail(*words):
        raise command.folders.FolderError("no room")

    fetching("restore")
    monkeypatch.setattr(command.folders, "exchange", fail)
    assert command.main(["restore", "shop", "latest", "--replace"]) == 1
    said = capsys.readouterr().err
    assert "no room\nReplaced before that: database default; what was there: " in said
    assert "django.restore shop 4f2a9c1e replace=True" in said
    note = json.loads((host / "state/shop.replacing").read_text())
    assert (note["id"], note["before"]) == ("4f2a9c1e", "4f2a9c1e")


def test_a_restore_that_went_well_leaves_no_note(command, host, fetching):
    fetching("restore")
    assert command.main(["restore", "shop", "latest", "--replace"]) == 0
    assert not (host / "state/shop.replacing").exists()


def test_nothing_is_restored_while_a_release_is_made(command, host, fetching, capsys):
    fetching("restore")
    (host / "locks").mkdir()
    with open(host / "locks/django-formula-shop.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert command.main(["restore", "shop", "latest", "--replace"]) == 1
        assert "another run works on shop" in capsys.readouterr().err
        assert rows(host / "shop.sqlite3") == ["Ada", "Grace"]
        assert command.main(["restore", "shop", "latest", "--replace", "--held"]) == 0


def test_nothing_is_replaced_unless_all_of_it_was_saved(
    command, host, fetching, capsys, monkeypatch
):
    saved = {"id": "4f2a9c1e", "size": 7, "problem": "the backup 4f2a9c1e is incomplete"}
    fetching("restore")
    monkeypatch.setattr(command, "save_project", lambda *words: saved)
    assert command.main(["restore", "shop", "latest", "--replace"]) == 1
    assert "is incomplete" in capsys.readouterr().err
    assert rows(host / "shop.sqlite3") == ["Ada", "Grace"]


def test_what_was_there_and_does_not_come_back_is_told(command, host, monkeypatch):
    def fail(*words):
        raise command.databases.DatabaseError("disk full")

    own = {"databases": {"default": {"engine": "mysql", "name": "shop"}}, "user": ME}
    kept = types.SimpleNamespace(fetch=lambda *words: None)
    monkeypatch.setattr(command.databases, "load", fail)
    with pytest.raises(command.Refused) as told:
        command._load(kept, "shop", own, "default", host / "dump", "4f2a9c1e", host)
    assert "could not be brought back, either" in str(told.value)
    assert "django.restore shop 4f2a9c1e replace=True only=database" in str(told.value)


def test_one_project_that_breaks_lets_the_others_be_saved(command, host, monkeypatch):
    settings = json.loads((host / "settings.json").read_text())
    settings["projects"]["a"] = {**settings["projects"]["shop"], "user": "nobody-here"}
    (host / "settings.json").write_text(json.dumps(settings))
    monkeypatch.setattr(command.databases, "_as", lambda user: {"user": pwd.getpwnam(user).pw_uid})
    assert command.main(["run"]) == 1
    assert "nobody-here" in json.loads((host / "state/a.last").read_text())["problem"]
    assert "good" in json.loads((host / "state/shop.last").read_text())


def test_a_run_clears_what_a_killed_restore_left(command, host):
    room = command.folders.beside(host / "media")
    (room / "copy.txt").write_text("a")
    (host / "state/shop.restore").mkdir()
    assert command.main(["run"]) == 0
    assert not room.exists() and not (host / "state/shop.restore").exists()
    assert (host / "media/a.txt").exists()


def test_a_run_clears_nothing_where_a_project_may_put_links(command, host, monkeypatch):
    monkeypatch.setattr(command.folders, "is_ours", lambda path: False)
    room = command.folders.beside(host / "media")
    assert command.main(["run"]) == 0
    assert room.exists()


def test_a_command_that_does_not_tell_is_told(command, host, capsys):
    settings = json.loads((host / "settings.json").read_text())
    settings["on_failure"] = ["sh", "-c", "exit 7"]
    settings["projects"]["shop"]["databases"]["default"]["name"] = "/nowhere/shop.sqlite3"
    (host / "settings.json").write_text(json.dumps(settings))
    assert command.main(["run"]) == 1
    assert "on_failure: " in capsys.readouterr().err


def test_prometheus_knows_of_backups_that_were_never_made(command, host):
    (host / "metrics").mkdir()
    os.utime(host / "settings.json", (1795763530, 1795763530))
    assert command.main(["open"]) == 0
    told = (host / "metrics/django-backup.prom").read_text()
    assert 'django_backup_good_seconds{project="shop"} 1795763530' in told


def test_it_needs_nothing_but_the_systems_python():
    done = subprocess.run(
        ["python3", "-I", str(FOLDER / "main.py"), "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and "restore" in done.stdout
