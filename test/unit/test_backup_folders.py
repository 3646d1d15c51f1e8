"""Folders of uploads: how django-backup lets them change places, and whose they are then."""

import os
import pathlib
import types

import pytest
from backup_modules import module


@pytest.fixture(scope="module")
def folders():
    return module("folders")


def test_folders_change_places_with_owners_and_files_in_use(folders, tmp_path):
    live = tmp_path / "media"
    live.mkdir(mode=0o750)
    (live / "new.txt").write_text("new")
    (live / "used.sqlite3").write_text("used")
    room = folders.beside(live)
    assert room.stat().st_mode & 0o777 == 0o700
    fetched = room / "there"
    fetched.mkdir(mode=0o755)
    (fetched / "old.txt").write_text("old")
    inode = (live / "used.sqlite3").stat().st_ino
    folders.exchange(fetched, live, room, [str(live / "used.sqlite3"), "/elsewhere"])
    assert sorted(each.name for each in live.iterdir()) == ["old.txt", "used.sqlite3"]
    assert (live / "used.sqlite3").stat().st_ino == inode
    assert live.stat().st_mode & 0o777 == 0o750
    assert (fetched / "new.txt").exists(), "the old one is kept until all is done"


def test_a_file_system_without_the_call_renames(folders, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_swap", lambda one, other: False)
    live = tmp_path / "media"
    live.mkdir()
    (live / "new.txt").write_text("new")
    room = folders.beside(live)
    (room / "there").mkdir()
    folders.exchange(room / "there", live, room)
    assert list(live.iterdir()) == [] and (room / "there/new.txt").exists()


@pytest.mark.parametrize("made", ["nothing", "empty", "full"])
def test_what_a_killed_restore_had_moved_away_comes_back(folders, tmp_path, made):
    live = tmp_path / "media"
    room = folders.beside(live)
    (room / "old").mkdir()
    (room / "old/new.txt").write_text("new")
    if made != "nothing":
        live.mkdir()  # by a run of the states
    if made == "full":
        (live / "later.txt").write_text("later")
        with pytest.raises(folders.FolderError, match="is what .* was before"):
            folders.beside(live)
        assert (live / "later.txt").exists() and (room / "old/new.txt").exists()
    else:
        folders.beside(live)
        assert (live / "new.txt").exists()


def test_owners_are_those_of_this_host(folders, tmp_path, monkeypatch):
    fetched, live = tmp_path / "fetched", tmp_path / "live"
    (fetched / "deep").mkdir(parents=True)
    live.mkdir()
    for name in ("deep/a.txt", "moved.txt"):
        (fetched / name).write_text("a")
    (fetched / "link").symlink_to("/etc")
    saved = {live: (996, 33), fetched / "moved.txt": (900, 901)}  # that one never was in the folder
    given = {}

    def lstat(path):
        uid, gid = saved.get(pathlib.Path(path), (900, 33))
        mode = os.stat(path, follow_symlinks=False).st_mode
        return types.SimpleNamespace(st_mode=mode, st_uid=uid, st_gid=gid)

    def lchown(path, *owner):
        given[str(pathlib.Path(path).relative_to(fetched))] = owner

    monkeypatch.setattr(folders.os, "lstat", lstat)
    monkeypatch.setattr(folders.os, "lchown", lchown)
    folders.own(fetched, live, ((900, 901), (996, 995)))
    assert given.pop("moved.txt") == (996, 995)
    assert given == dict.fromkeys((".", "deep", "deep/a.txt", "link"), (996, 33))


@pytest.mark.parametrize("place", ["live", "there"])
def test_a_file_in_use_is_not_looked_for_behind_a_link(folders, tmp_path, place):
    live, room = tmp_path / "live", tmp_path / "room"
    for folder in (live / "deep", room / "there/deep", tmp_path / "elsewhere"):
        folder.mkdir(parents=True)
    folder = live if place == "live" else room / "there"
    (folder / "deep").rmdir()
    (folder / "deep").symlink_to(tmp_path / "elsewhere")
    (live / "deep/used").write_text("used")
    with pytest.raises(folders.FolderError, match="by a link"):
        folders.exchange(room / "there", live, room, [str(live / "deep/used")])
    assert (live / "deep/used").exists()


@pytest.mark.parametrize("kind", ["missing", "link"])
def test_what_is_no_folder_is_not_replaced(folders, tmp_path, kind):
    if kind == "link":
        (tmp_path / "media").symlink_to("/etc")
    room = folders.beside(tmp_path / "media")
    (room / "there").mkdir()
    with pytest.raises(folders.FolderError, match="is no folder"):
        folders.exchange(room / "there", tmp_path / "media", room)


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_a_link_is_no_folder_of_roots(folders, tmp_path, kind):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    assert folders.is_ours(tmp_path / kind / "media") == (kind == "folder")
