"""Digests, atomic writes, records, links and sealed trees."""

import os
import stat
import threading

import django_layout
import pytest


@pytest.fixture
def layout(tmp_path):
    names = "releases venvs instances shared static media current run log cache".split()
    names += ["socket", "uwsgi_socket", "slot", "embedded"]
    return django_layout.Layout({"root": tmp_path, **{name: tmp_path / name for name in names}})


def test_digest_is_of_the_content_and_not_of_its_order():
    assert django_layout.digest({"a": 1, "b": [2]}) == django_layout.digest({"b": [2], "a": 1})
    assert django_layout.digest({"a": 1}) != django_layout.digest({"a": "1"})
    assert len(django_layout.digest("x")) == 12


def test_digest_with_a_key_is_another_one():
    assert django_layout.digest("x", b"key") not in (
        django_layout.digest("x"),
        django_layout.digest("x", b"other"),
    )


def test_write_sets_content_mode_and_leaves_no_other_file(tmp_path):
    path = tmp_path / "environment"
    django_layout.write_atomic(path, "a\n", 0o400, os.getuid(), os.getgid())
    django_layout.write_atomic(path, b"b\n", 0o440, os.getuid(), os.getgid())
    assert path.read_text() == "b\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o440
    assert os.listdir(tmp_path) == ["environment"]


def test_failed_write_keeps_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "record.json"
    path.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        django_layout.write_atomic(path, "new", 0o644, os.getuid(), os.getgid())
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["record.json"]


def test_write_replaces_a_link_and_not_what_it_points_to(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("safe")
    path = tmp_path / "file"
    path.symlink_to(victim)
    django_layout.write_atomic(path, "new", 0o644, os.getuid(), os.getgid())
    assert victim.read_text() == "safe"
    assert not path.is_symlink()


@pytest.mark.parametrize("kind", ["missing", "link", "hard link"])
def test_log_is_never_somebody_elses_file(tmp_path, kind):
    victim = tmp_path / "victim"
    victim.write_text("safe")
    log = tmp_path / "web.log"
    if kind == "link":
        log.symlink_to(victim)
    elif kind == "hard link":
        log.hardlink_to(victim)
    django_layout.claim_log(log, os.getgid())
    log.write_text("line\n")
    assert victim.read_text() == "safe"
    assert stat.S_IMODE(log.stat().st_mode) == 0o640


def test_log_that_is_there_is_kept(tmp_path):
    log = tmp_path / "web.log"
    log.write_text("line\n")
    django_layout.claim_log(log, os.getgid())
    assert log.read_text() == "line\n"


def test_file_differences_names_what_differs(tmp_path):
    path = tmp_path / "file"
    own = (os.getuid(), os.getgid())
    assert django_layout.file_differences(path, "a", 0o600, *own) == ["content", "mode", "owner"]
    django_layout.write_atomic(path, "a", 0o600, *own)
    assert django_layout.file_differences(path, "a", 0o600, *own) == []
    assert django_layout.file_differences(path, "b", 0o600, *own) == ["content"]
    assert django_layout.file_differences(path, "a", 0o640, *own) == ["mode"]
    assert django_layout.file_differences(path, "a", 0o600, own[0] + 1, own[1]) == ["owner"]


def test_folder_that_the_project_could_change_is_closed_again(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(os, "chown", lambda path, uid, gid: given.append((path, uid, gid)))
    tmp_path.chmod(0o770)
    status = os.stat(tmp_path)
    assert "mode" in django_layout.folder_differences(tmp_path, status.st_gid)
    assert "owner" in django_layout.folder_differences(tmp_path, status.st_gid + 1)
    django_layout.close_folder(tmp_path, 4711)
    assert given == [(tmp_path, 0, 4711)]
    assert "mode" not in django_layout.folder_differences(tmp_path, status.st_gid)
    assert django_layout.folder_differences(tmp_path / "none", 0) == []


@pytest.mark.parametrize("content", ["", '{"stage": "bui', "[1]", "null", "\x00\xff"])
def test_a_record_that_was_cut_off_reads_as_empty(tmp_path, content):
    path = tmp_path / "release.json"
    path.write_text(content)
    assert django_layout.read_json(path) == {}
    assert django_layout.read_json(tmp_path / "none") == {}


def test_link_is_moved_without_a_moment_of_absence(tmp_path):
    link = tmp_path / "current"
    django_layout.point(link, "releases/a")
    missing, done = [], threading.Event()

    def watch():
        while not done.is_set():
            if django_layout.target_of(link) is None:
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(300):
        django_layout.point(link, f"releases/{number}")
    done.set()
    watcher.join()
    assert missing == []
    assert django_layout.target_of(link) == "releases/299"
    assert os.listdir(tmp_path) == ["current"]


def test_target_of_what_is_no_link(tmp_path):
    (tmp_path / "file").touch()
    assert django_layout.target_of(tmp_path / "file") is None
    assert django_layout.target_of(tmp_path / "none") is None


@pytest.fixture
def chowned(monkeypatch):
    """Owners are given by root only: here it is enough to see which were asked for."""
    calls = []
    monkeypatch.setattr(os, "fchown", lambda fd, uid, gid: calls.append((uid, gid)))
    return calls


def test_sealed_tree_can_be_read_by_the_group_and_changed_by_nobody_else(tmp_path, chowned):
    tree = tmp_path / "source"
    (tree / "app").mkdir(parents=True)
    (tree / "app/code.py").write_text("")
    (tree / "app/code.py").chmod(0o666)
    (tree / "manage.py").write_text("")
    (tree / "manage.py").chmod(0o775)
    tree.chmod(0o777)
    django_layout.seal(tree, 1234)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (tree, tree / "app", tree / "app/code.py", tree / "manage.py")
    }
    assert modes == {"source": 0o750, "app": 0o750, "code.py": 0o640, "manage.py": 0o750}
    assert set(chowned) == {(0, 1234)}


def test_sealing_never_follows_a_link(tmp_path, chowned):
    victim = tmp_path / "shadow"
    victim.write_text("secret")
    victim.chmod(0o600)
    tree = tmp_path / "source"
    tree.mkdir()
    (tree / "link").symlink_to(victim)
    (tree / "folder").symlink_to(tmp_path)
    (tree / "dangling").symlink_to("nowhere")
    django_layout.seal(tree, 1234)
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert len(chowned) == 1


@pytest.mark.parametrize(
    "act", [lambda t: django_layout.seal(t, 1), lambda t: django_layout.give(t, 1, 1)]
)
def test_folder_exchanged_for_a_link_meanwhile_is_not_followed(tmp_path, monkeypatch, act):
    victim = tmp_path / "etc"
    victim.mkdir()
    (victim / "shadow").write_text("secret")
    tree = tmp_path / "source"
    (tree / "app").mkdir(parents=True)
    (tree / "app/shadow").write_text("")
    inode = (tree / "app").stat().st_ino
    touched = []

    def fchown(handle, uid, gid):
        touched.append(os.fstat(handle).st_ino)
        if touched[-1] == inode:
            (tree / "app").rename(tree / "aside")
            (tree / "app").symlink_to(victim)

    def chown(name, uid, gid, *, dir_fd, follow_symlinks):
        touched.append(os.stat(name, dir_fd=dir_fd, follow_symlinks=follow_symlinks).st_ino)

    monkeypatch.setattr(os, "fchown", fchown)
    monkeypatch.setattr(os, "chown", chown)
    act(tree)
    assert (victim / "shadow").stat().st_ino not in touched
    assert (tree / "aside/shadow").stat().st_ino in touched


def test_sealing_does_not_wait_on_a_pipe(tmp_path, chowned):
    tree = tmp_path / "source"
    tree.mkdir()
    os.mkfifo(tree / "pipe")
    django_layout.seal(tree, 1234)


def test_remove_tree_takes_what_a_killed_run_left_in_the_place_of_a_folder(tmp_path):
    (tmp_path / "0123.constraints").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in os.listdir(tmp_path):
        django_layout.remove_tree(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_remove_tree_takes_a_folder_that_is_not_there(tmp_path):
    django_layout.remove_tree(tmp_path / "none")
    (tmp_path / "a/b").mkdir(parents=True)
    django_layout.remove_tree(tmp_path / "a")
    assert os.listdir(tmp_path) == []


def test_records_are_added_to(layout):
    layout.release("r1").mkdir(parents=True)
    layout.save_record("r1", stage="fetched", revision="abc")
    layout.save_record("r1", stage="built")
    assert layout.record("r1") == {"stage": "built", "revision": "abc"}
    assert layout.record("r2") == {}
    layout.instance("r1-c1").mkdir(parents=True)
    layout.save_instance_record("r1-c1", checked=True)
    assert layout.instance_record("r1-c1") == {"checked": True}


def test_what_is_live_is_read_from_the_links(layout):
    assert (layout.live_release(), layout.live_instance()) == (None, None)
    django_layout.point(layout.current, "releases/r1")
    django_layout.point(layout.live, "instances/r1-c1")
    assert (layout.live_release(), layout.live_instance()) == ("r1", "r1-c1")


def test_folders_are_listed_sorted(layout):
    assert layout.release_ids() == []
    for name in ("b", "a"):
        layout.release(name).mkdir(parents=True)
    (layout.releases / "file").touch()
    assert layout.release_ids() == ["a", "b"]
    assert layout.instance_ids() == []


def test_sockets_of_instances_lie_in_the_run_folder(layout, tmp_path):
    assert layout.instance_socket("r-c") == tmp_path / "run/web-r-c.sock"


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("1")
    (tmp_path / "link").symlink_to("package")
    return tmp_path


@pytest.mark.parametrize(
    "damage",
    [
        lambda tree: (tree / "package/a.py").write_text("2"),
        lambda tree: (tree / "package/a.py").chmod(0o777),
        lambda tree: (tree / "package/a.py").unlink(),
        lambda tree: (tree / "b.py").write_text("1"),
        lambda tree: (tree / "empty").mkdir(),
        lambda tree: ((tree / "link").unlink(), (tree / "link").symlink_to("/")),
    ],
)
def test_a_fingerprint_sees_every_change(tree, damage):
    before = django_layout.fingerprint(tree)
    assert django_layout.fingerprint(tree) == before
    damage(tree)
    assert django_layout.fingerprint(tree) != before


def test_a_fingerprint_does_not_see_compiled_python(tree):
    before = django_layout.fingerprint(tree)
    (tree / "package/__pycache__").mkdir()
    (tree / "package/__pycache__/a.pyc").write_text("1")
    assert django_layout.fingerprint(tree) == before


def test_size_of_a_tree(tree):
    (tree / "package" / "large").write_bytes(b"x" * 100_000)
    assert 100_000 <= django_layout.size(tree) <= 120_000


def test_what_a_user_had_is_handed_over(tmp_path, monkeypatch):
    """Only that, and nothing that a link leads to."""
    (tmp_path / "media/2024").mkdir(parents=True)
    (tmp_path / "media/2024/a.txt").write_text("a")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "media/link").symlink_to(tmp_path / "elsewhere")
    given = {}

    def chown(name, uid, gid, *, dir_fd, follow_symlinks):
        assert not follow_symlinks
        place = os.readlink(f"/proc/self/fd/{dir_fd}")
        given[os.path.relpath(os.path.join(place, name), tmp_path)] = (uid, gid)

    monkeypatch.setattr(os, "chown", chown)
    own = os.getuid(), (tmp_path / "media").stat().st_gid
    django_layout.hand_over(tmp_path / "media", own, (33, 34))
    assert given == dict.fromkeys(
        ["media", "media/2024", "media/2024/a.txt", "media/link"], (33, 34)
    )
    given.clear()
    django_layout.hand_over(tmp_path / "media", (own[0], own[1] + 1), (33, 34))
    assert set(given.values()) == {(33, -1)}, "a group of somebody else stays"
    given.clear()
    django_layout.hand_over(tmp_path / "media", (own[0] + 1, own[1] + 1), (33, 34))
    assert given == {}
