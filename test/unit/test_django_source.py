"""Sources: which revision is meant, and its content laid down."""

import hashlib
import io
import os
import subprocess
import tarfile
import zipfile

import django_source
import pytest

LISTING = """\
1111111111111111111111111111111111111111\tHEAD
1111111111111111111111111111111111111111\trefs/heads/main
2222222222222222222222222222222222222222\trefs/heads/v1
3333333333333333333333333333333333333333\trefs/tags/v1
4444444444444444444444444444444444444444\trefs/tags/v1^{}
5555555555555555555555555555555555555555\trefs/tags/light
6666666666666666666666666666666666666666\trefs/heads/feature/v1
"""


@pytest.mark.parametrize(
    ("rev", "digit"),
    [
        (None, "1"),
        ("main", "1"),
        ("v1", "4"),  # a tag before a branch, and the commit, not the tag object
        ("light", "5"),
        ("feature/v1", "6"),
        ("refs/heads/v1", "2"),
    ],
)
def test_reference_is_picked_from_what_git_lists(rev, digit):
    assert django_source.pick_reference(LISTING, rev) == digit * 40


@pytest.mark.parametrize("rev", ["none", "1111111", "mai"])
def test_reference_that_is_not_there(rev):
    assert django_source.pick_reference(LISTING, rev) is None
    assert django_source.pick_reference("", rev) is None


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    argv = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with a tag `v1` whose file says one, and a branch `main` where it says two."""
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "-q")
    for number, word in enumerate(("one", "two"), 1):
        (folder / "word").write_text(word)
        git(folder, "add", ".")
        git(folder, "commit", "-qm", word)
        git(folder, "tag", "-am", word, f"v{number}")
    return folder


def source_of(location, rev=None):
    return {"kind": "git", "location": str(location), "rev": rev, "submodules": False}


@pytest.mark.parametrize(("rev", "word"), [("v1", "one"), (None, "two"), ("main", "two")])
def test_git_revision_is_fetched(repository, tmp_path, rev, word):
    source, cache = source_of(repository, rev), tmp_path / "cache"
    cache.mkdir()
    wanted = django_source.revision(source)
    assert wanted == git(repository, "rev-parse", f"v{1 if word == 'one' else 2}^{{commit}}")
    django_source.fetch(source, wanted, tmp_path / "release", cache)
    assert (tmp_path / "release/word").read_text() == word


def test_git_commit_needs_no_look_at_the_remote(tmp_path):
    commit = "a" * 40
    assert django_source.revision(source_of(tmp_path / "none", commit)) == commit


def test_git_commit_that_no_branch_holds_any_more_is_fetched_by_name(repository, tmp_path):
    lost = git(repository, "rev-parse", "HEAD")
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(repository, "tag", "-d", "v2")
    git(repository, "reset", "-q", "--hard", "v1")
    (tmp_path / "cache").mkdir()
    location = f"file://{repository}"
    django_source.fetch(source_of(location, lost), lost, tmp_path / "r", tmp_path / "cache")
    assert (tmp_path / "r/word").read_text() == "two"


def test_second_fetch_takes_what_is_cached(repository, tmp_path):
    (tmp_path / "cache").mkdir()
    source = source_of(repository, "v1")
    wanted = django_source.revision(source)
    django_source.fetch(source, wanted, tmp_path / "first", tmp_path / "cache")
    repository.rename(tmp_path / "moved")
    django_source.fetch(source, wanted, tmp_path / "second", tmp_path / "cache")
    assert (tmp_path / "second/word").read_text() == "one"


@pytest.mark.parametrize("left", ["packed-refs.lock", "config.lock", "refs/tags/v1.lock"])
def test_cache_of_a_git_that_was_killed_is_used_on(repository, tmp_path, left):
    mirror = tmp_path / "cache/repository.git"
    (mirror / "refs/tags").mkdir(parents=True)
    (mirror / "HEAD").write_text("ref: refs/heads/main\n")
    (mirror / left).touch()
    source = source_of(repository, "v1")
    wanted = django_source.revision(source)
    django_source.fetch(source, wanted, tmp_path / "release", tmp_path / "cache")
    assert (tmp_path / "release/word").read_text() == "one"


def test_checkout_shares_no_file_with_the_cache(repository, tmp_path):
    source = source_of(repository, "main")
    commit = django_source.revision(source)
    django_source.fetch(source, commit, tmp_path / "release", tmp_path)
    objects = [path for path in (tmp_path / "repository.git/objects").rglob("*") if path.is_file()]
    assert objects and all(path.stat().st_nlink == 1 for path in objects)


def test_checkout_does_not_keep_where_it_came_from(repository, tmp_path):
    (tmp_path / "cache").mkdir()
    source = source_of(repository)
    django_source.fetch(
        source, django_source.revision(source), tmp_path / "release", tmp_path / "cache"
    )
    assert git(tmp_path / "release", "remote") == ""


@pytest.mark.parametrize(
    ("location", "there", "missing"),
    [
        ("https://git.example.org/x.git", {"git"}, None),
        ("https://git.example.org/x.git", set(), "git"),
        ("git@git.example.org:x.git", {"git"}, "ssh"),
        ("ssh://git.example.org/x.git", {"git"}, "ssh"),
        ("ssh://git.example.org/x.git", {"git", "ssh"}, None),
        ("/srv/src/x", {"git"}, None),
    ],
)
def test_programs_that_git_needs(monkeypatch, location, there, missing):
    monkeypatch.setattr("shutil.which", lambda name, path: name if name in there else None)
    assert django_source.missing_program(source_of(location)) == missing
    assert django_source.missing_program({"kind": "path", "location": location}) is None


def test_git_mistakes_are_told(repository, tmp_path):
    with pytest.raises(django_source.SourceError, match="no branch or tag 'v9'.*40 digits"):
        django_source.revision(source_of(repository, "v9"))
    with pytest.raises(django_source.SourceError, match="cannot reach the git repository"):
        django_source.revision(source_of(tmp_path / "none"))


def test_password_in_a_location_is_never_told():
    location = "http://bot:hunter2@127.0.0.1:9/x.git"
    with pytest.raises(django_source.SourceError) as caught:
        django_source.revision(source_of(location))
    assert "hunter2" not in str(caught.value)
    assert "bot:***@127.0.0.1" in str(caught.value)


def test_deploy_key_lies_in_a_private_file_only_as_long_as_it_is_needed():
    source = {"known_hosts": ["git.example.org ssh-ed25519 AAAA"]}
    with django_source.git_environment(source, "KEY\n") as env:
        words = env["GIT_SSH_COMMAND"].split()
        key = words[words.index("-i") + 1]
        with open(key) as stream:
            assert stream.read() == "KEY\n"
        assert os.stat(key).st_mode & 0o077 == 0
        assert "StrictHostKeyChecking=yes" in words
        assert env["GIT_TERMINAL_PROMPT"] == "0"
    assert not os.path.exists(key)


# Local folders


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "src"
    (root / "app").mkdir(parents=True)
    (root / "manage.py").write_text("a")
    (root / "app/models.py").write_text("b")
    (root / "app/link").symlink_to("models.py")
    (root / "app/cache.pyc").write_text("c")
    return root


def path_source(root):
    return {"kind": "path", "location": str(root), "exclude": [".git", "*.pyc"]}


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "manage.py").write_text("x"),
        lambda root: (root / "manage.py").chmod(0o755),
        lambda root: (root / "manage.py").rename(root / "manager.py"),
        lambda root: (root / "app/new.py").touch(),
        lambda root: ((root / "app/link").unlink(), (root / "app/link").symlink_to("cache.pyc")),
        lambda root: (root / "linked").symlink_to("app"),
    ],
    ids=["content", "run-bit", "name", "new-file", "link", "link-to-folder"],
)
def test_revision_of_a_folder_follows_its_content(folder, change):
    before = django_source.revision(path_source(folder))
    change(folder)
    assert django_source.revision(path_source(folder)) != before


def test_revision_of_a_folder_ignores_what_is_excluded_and_times(folder):
    before = django_source.revision(path_source(folder))
    (folder / "app/cache.pyc").write_text("other")
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("x")
    os.utime(folder / "manage.py", (1, 1))
    assert django_source.revision(path_source(folder)) == before


def test_folder_is_copied_without_what_is_excluded(folder, tmp_path):
    source = path_source(folder)
    target = tmp_path / "release"
    django_source.fetch(source, django_source.revision(source), target, tmp_path)
    assert sorted(os.listdir(target / "app")) == ["link", "models.py"]
    assert os.readlink(target / "app/link") == "models.py"


def test_folder_that_changes_while_it_is_copied_is_told(folder, tmp_path):
    source = path_source(folder)
    before = django_source.revision(source)
    (folder / "manage.py").write_text("x")
    with pytest.raises(django_source.SourceError, match="changed while it was copied"):
        django_source.fetch(source, before, tmp_path / "release", tmp_path)


def test_pipes_in_a_folder_are_left_out(folder, tmp_path):
    plain = django_source.revision(path_source(folder))
    os.mkfifo(folder / "events")
    assert django_source.revision(path_source(folder)) == plain
    django_source.fetch(path_source(folder), plain, tmp_path / "release", tmp_path)
    assert not (tmp_path / "release/events").exists()


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(django_source.SourceError, match="does not exist"):
        django_source.revision(path_source(tmp_path / "none"))


# Archives


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def make_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_programs_in_a_zip_stay_programs(tmp_path):
    package = tmp_path / "shop.zip"
    with zipfile.ZipFile(package, "w") as archive:
        for name, mode in (("shop/build", 0o755), ("shop/notes", 0o644)):
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | mode) << 16
            archive.writestr(info, "x")
    source = archive_source(package)
    wanted = django_source.revision(source)
    django_source.fetch(source, wanted, tmp_path / "release", tmp_path)
    assert os.access(tmp_path / "release/build", os.X_OK)
    assert not (tmp_path / "release/notes").stat().st_mode & 0o111


def archive_source(path):
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"kind": "archive", "location": str(path), "hash": f"sha256:{checksum}"}


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("prefix", ["shop-1.0/", ""])
def test_archive_is_unpacked_without_its_only_folder(tmp_path, make, prefix):
    package = tmp_path / "shop.package"
    make(package, {f"{prefix}manage.py": b"a", f"{prefix}shop/urls.py": b"b"})
    source = archive_source(package)
    wanted = django_source.revision(source)
    django_source.fetch(source, wanted, tmp_path / "source", tmp_path)
    assert (tmp_path / "source/shop/urls.py").read_bytes() == b"b"
    assert sorted(os.listdir(tmp_path)) == ["shop.package", "source"]


def test_archive_with_another_checksum_is_refused(tmp_path):
    package = tmp_path / "shop.tar.gz"
    make_tar(package, {"manage.py": b"a"})
    source = {**archive_source(package), "hash": "sha256:" + "0" * 64}
    with pytest.raises(
        django_source.SourceError, match="source:hash: expected sha256:0000.*has sha256:"
    ):
        django_source.fetch(source, "0" * 64, tmp_path / "source", tmp_path)
    assert not (tmp_path / "source").exists()


def add_to_tar(path, kind, name, target):
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        archive.addfile(info)
        info = tarfile.TarInfo(f"{name}/escaped" if kind == tarfile.SYMTYPE else "ok")
        archive.addfile(info, io.BytesIO(b""))


def refusal(tmp_path, package):
    """Why an archive is refused; nothing of it is left outside of the release's folder."""
    target = tmp_path / "deep/er/source"
    target.parent.mkdir(parents=True)
    before = sorted(tmp_path.iterdir())
    source = archive_source(package)
    with pytest.raises(django_source.SourceError, match="cannot unpack") as error:
        django_source.fetch(source, django_source.revision(source), target, tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]
    assert not target.exists()
    return str(error.value)


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("name", ["../../escaped", "a/../../../escaped", "{0}/escaped"])
def test_member_cannot_climb_out(tmp_path, make, name):
    package = tmp_path / "evil.package"
    name = name.format(tmp_path)
    make(package, {"ok": b"a", name: b"b"})
    assert f"its member {name!r} leads out of it" in refusal(tmp_path, package)


@pytest.mark.parametrize(
    ("kind", "name", "target", "words"),
    [
        (tarfile.SYMTYPE, "a", "{0}", "a/escaped: Cannot open"),
        (tarfile.SYMTYPE, "a", "../..", "a/escaped: Cannot open"),
        (tarfile.LNKTYPE, "a", "/etc/passwd", "Cannot hard link"),
        (tarfile.FIFOTYPE, "a", "", "its member 'a' is a pipe"),
    ],
)
def test_tar_cannot_lead_out(tmp_path, kind, name, target, words):
    package = tmp_path / "evil.tar.gz"
    add_to_tar(package, kind, name, target.format(tmp_path))
    assert words in refusal(tmp_path, package)


@pytest.mark.parametrize("make", ["tar", "zip"])
@pytest.mark.parametrize(
    ("target", "fits"),
    [("manage.py", True), ("../manage.py", True), ("/etc/passwd", False), ("../../../x", False)],
)
def test_links_in_an_archive_stay_in_it(tmp_path, make, target, fits):
    package = tmp_path / "shop.package"
    if make == "tar":
        with tarfile.open(package, "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("shop/manage.py"))
            info = tarfile.TarInfo("shop/sub/link")
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    else:
        with zipfile.ZipFile(package, "w") as archive:
            info = zipfile.ZipInfo("shop/sub/link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, target)
            archive.writestr("shop/manage.py", "")
    if not fits:
        assert f"its link 'shop/sub/link' to {target!r} leads out of it" in refusal(
            tmp_path, package
        )
        return
    source = archive_source(package)
    django_source.fetch(source, django_source.revision(source), tmp_path / "source", tmp_path)
    assert os.readlink(tmp_path / "source/sub/link") == target


def test_programs_in_a_tar_do_not_run_as_others(tmp_path):
    package = tmp_path / "shop.tar.gz"
    with tarfile.open(package, "w:gz") as archive:
        for name in ("run", "manage.py"):
            info = tarfile.TarInfo(name)
            info.mode = 0o6777
            archive.addfile(info)
    source = archive_source(package)
    django_source.fetch(source, django_source.revision(source), tmp_path / "source", tmp_path)
    assert (tmp_path / "source/run").stat().st_mode & 0o7777 == 0o755


def test_downloads_of_earlier_versions_are_not_kept(tmp_path, monkeypatch):
    for number in (1, 2):
        package = tmp_path / f"{number}.tar.gz"
        make_tar(package, {"manage.py": b"a" * number})
        source = {**archive_source(package), "location": package.as_uri()}
        wanted = django_source.revision(source)
        django_source.fetch(source, wanted, tmp_path / f"source{number}", tmp_path)
    assert [path.name for path in tmp_path.glob("archive-*")] == [f"archive-{wanted}"]


def test_archive_that_is_none(tmp_path):
    package = tmp_path / "shop.tar.gz"
    package.write_text("not an archive")
    source = archive_source(package)
    with pytest.raises(django_source.SourceError, match="cannot unpack"):
        django_source.fetch(source, django_source.revision(source), tmp_path / "s", tmp_path)
    with pytest.raises(django_source.SourceError, match="does not exist"):
        gone = {**source, "location": str(tmp_path / "none")}
        django_source.fetch(gone, "0" * 64, tmp_path / "s", tmp_path)


def test_download_that_fails_leaves_nothing(tmp_path):
    source = {
        "kind": "archive",
        "location": "http://127.0.0.1:9/x.tgz",
        "hash": "sha256:" + "0" * 64,
    }
    with pytest.raises(django_source.SourceError, match="cannot download"):
        django_source.fetch(source, "0" * 64, tmp_path / "source", tmp_path)
    assert os.listdir(tmp_path) == []


def test_pypi_package_is_named_with_its_version(tmp_path):
    source = {"kind": "pypi", "package": "wagtail", "version": "6.3"}
    assert django_source.revision(source) == "wagtail==6.3"
    django_source.fetch(source, "wagtail==6.3", tmp_path / "source", tmp_path)
    assert os.listdir(tmp_path / "source") == []
