"""What is pulled: the commit that is meant, who signed it, whether it goes on, and its files."""

import pathlib
import subprocess

import django_pull_source
import pytest
from django_pull_source import Refused, Source
from django_source import SourceError

OLD, NEW = "1" * 40, "2" * 40


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    argv = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


# Commands


def test_what_a_name_means_is_asked_for():
    url = "https://git.example.org/pillar.git"
    listing = ["git", "ls-remote", "--", url]
    assert django_pull_source.list_argv(url, None) == [*listing, "HEAD"]
    assert django_pull_source.list_argv(url, "v1") == [*listing, "refs/tags/v1", "refs/heads/v1"]


@pytest.mark.parametrize(
    ("rev", "names", "expected"),
    [
        (None, ["HEAD"], "HEAD"),
        ("v1", ["refs/heads/v1", "refs/tags/v1"], "refs/tags/v1"),
        ("v1", ["refs/heads/v1"], "refs/heads/v1"),
        ("v1", ["refs/heads/x/refs/tags/v1", "refs/tags/v10"], None),
    ],
)
def test_a_tag_comes_before_a_branch(rev, names, expected):
    listing = "".join(f"{OLD}\t{name}\n" for name in names)
    assert django_pull_source.pick(listing, rev) == expected


def test_only_what_is_wanted_is_fetched():
    argv = django_pull_source.fetch_argv("/m", "/srv/pillar", "refs/tags/v1")
    assert argv[-3:] == ["--", "/srv/pillar", "+refs/tags/v1:refs/pulled/new"]
    argv = django_pull_source.fetch_argv("/m", "/srv/pillar", None)
    assert argv[-2:] == ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]


def test_signatures_are_looked_at_by_given_ssh_keys_alone():
    argv = django_pull_source.verify_argv("/m", "/keys", "commit", NEW)
    assert argv[-2:] == ["verify-commit", NEW]
    assert "gpg.ssh.allowedSignersFile=/keys" in argv
    for program in ("gpg.program", "gpg.openpgp.program", "gpg.x509.program"):
        assert f"{program}=false" in argv, "a key ring of root's would decide"


def test_comments_of_keys_are_no_part_of_what_is_allowed():
    text = django_pull_source.allowed_signers(['ssh-ed25519 AAAA *\n" evil', "ssh-rsa BBBB"])
    assert text == (
        'operator namespaces="git" ssh-ed25519 AAAA\noperator namespaces="git" ssh-rsa BBBB\n'
    )


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("object 1\ntype commit\ntag v1\ntagger a\n\nNotes", True),
        ("object 1\ntype commit\ntag v2\ntagger a\n\ntag v1", False),
        ("object 1\ntype commit\ntag v10\ntagger a\n\n", False),
    ],
)
def test_a_tag_says_its_name_itself(text, fits):
    assert django_pull_source.is_for_tag(text, "v1") is fits


# Repositories


class Repository:
    """A repository with a branch `main`, and keys to sign with."""

    def __init__(self, folder):
        self.folder, self.keys = folder / "origin", folder / "keys"
        self.folder.mkdir()
        self.keys.mkdir()
        git(self.folder, "init", "-q")
        for name in ("ada", "eve"):
            self.make_key(name)

    def make_key(self, name):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]
        subprocess.run([*argv, str(self.keys / name)], check=True)

    def public(self, name):
        return (self.keys / f"{name}.pub").read_text().strip()

    def signing(self, name):
        return ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.keys / name}"]

    def commit(self, text, by=None, file="top.sls"):
        """Commit a file, signed by somebody or nobody; the commit."""
        (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / file).write_text(text)
        git(self.folder, "add", ".")
        words = ["commit", "-q", "-m", text, "-S"] if by else ["commit", "-q", "-m", text]
        git(self.folder, *(self.signing(by) if by else []), *words)
        return git(self.folder, "rev-parse", "HEAD")

    def tag(self, name, by):
        git(self.folder, *self.signing(by), "tag", "-s", "-m", name, name)


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path)


@pytest.fixture
def source(repository, tmp_path):
    """Function from what the pillar says beside the URL to a source."""

    def make(**keys):
        settings = {"git": str(repository.folder), "rev": "main", "rewind": False}
        settings.update(deploy_key=None, known_hosts=[], signed_by=[])
        return Source("pillar", {**settings, **keys}, tmp_path / "pull")

    return make


def text_of(found, name="top.sls"):
    return pathlib.Path(found["folder"], name).read_text()


def test_a_commit_is_laid_down_once(repository, source):
    commit = repository.commit("one")
    found = source().pull({})
    assert found == {
        "commit": commit,
        "git": str(repository.folder),
        "rev": "main",
        "folder": found["folder"],
    }
    assert text_of(found) == "one" and found["folder"].endswith(commit)
    assert source().pull(found) == found
    assert pathlib.Path(found["folder"]).stat().st_mode & 0o777 == 0o700
    assert not pathlib.Path(found["folder"], ".git").exists()


@pytest.mark.parametrize("rev", [None, "main", "commit"])
def test_it_follows_what_the_pillar_names(repository, source, rev):
    commit = repository.commit("one")
    rev = commit if rev == "commit" else rev
    assert source(rev=rev).pull({})["commit"] == commit


def test_what_cannot_be_fetched_is_told(repository, source, tmp_path):
    repository.commit("one")
    with pytest.raises(SourceError, match="has no branch or tag 'nowhere'"):
        source(rev="nowhere").pull({})
    with pytest.raises(SourceError, match="cannot be fetched"):
        source(rev=OLD).pull({})
    with pytest.raises(SourceError, match="cannot be fetched"):
        source(git=str(tmp_path / "none")).pull({})


def test_a_git_that_was_killed_is_no_obstacle(repository, source, tmp_path):
    repository.commit("one")
    source().pull({})
    (tmp_path / "pull/pillar.git/refs/pulled/new.lock").touch()
    (tmp_path / "pull/pillar.git/config.lock").touch()
    repository.commit("two")
    assert text_of(source().pull({})) == "two"


def test_folders_are_roots_of_which_the_first_counts(repository, source):
    repository.commit("all", file="common/top.sls")
    repository.commit("for all", file="common/shop.sls")
    repository.commit("production", file="production/shop.sls")
    repository.commit("staging", file="staging/shop.sls")
    found = source(folders=["production", "common"]).pull({})
    assert (text_of(found), text_of(found, "shop.sls")) == ("all", "production")
    assert not pathlib.Path(found["folder"], "staging").exists()
    other = source(folders=["staging", "common"]).pull(found)
    assert text_of(other, "shop.sls") == "staging"
    with pytest.raises(Refused, match="has no folder test"):
        source(folders=["test", "common"]).pull({})


def test_what_was_changed_by_hand_is_put_back(repository, source):
    repository.commit("one")
    repository.commit("more", file="shop/init.sls")
    found = source().pull({})
    pathlib.Path(found["folder"], "top.sls").write_text("changed")
    pathlib.Path(found["folder"], "shop/init.sls").unlink()
    assert source().pull(found) == found
    assert (text_of(found), text_of(found, "shop/init.sls")) == ("one", "more")


def test_a_repository_without_a_file_is_one(repository, source):
    git(repository.folder, "commit", "-q", "--allow-empty", "-m", "nothing")
    with pytest.raises(SourceError, match="cannot be laid down"):
        source().pull({})


def test_only_what_is_needed_is_kept(repository, source):
    repository.commit("one")
    first = source().pull({})
    repository.commit("two")
    second = source().pull(first)
    source().prune(second["folder"])
    assert not pathlib.Path(first["folder"]).exists()
    assert text_of(second) == "two"


# Signatures


def test_a_commit_that_a_given_key_signed_is_taken(repository, source):
    repository.commit("one", by="ada")
    found = source(signed_by=[repository.public("eve"), repository.public("ada")]).pull({})
    assert found["signed_by"].startswith("SHA256:")
    assert text_of(found) == "one"


@pytest.mark.parametrize(
    ("by", "said"), [(None, "without such a signature"), ("eve", "signed by SHA256:")]
)
def test_what_no_given_key_signed_is_refused(repository, source, tmp_path, by, said):
    repository.commit("one", by=by)
    with pytest.raises(Refused, match=said) as refused:
        source(signed_by=[repository.public("ada")]).pull({})
    assert "django:pull:pillar:signed_by" in str(refused.value)
    assert not (tmp_path / "pull/pillar").exists(), "no file of it was laid down"


def test_a_commit_on_top_of_a_signed_one_must_be_signed_itself(repository, source):
    repository.commit("one", by="ada")
    repository.commit("two")
    with pytest.raises(Refused):
        source(signed_by=[repository.public("ada")]).pull({})


def test_a_signed_tag_names_a_commit_that_is_not(repository, source):
    repository.commit("one")
    repository.tag("v1", by="ada")
    found = source(rev="v1", signed_by=[repository.public("ada")]).pull({})
    assert text_of(found) == "one"
    with pytest.raises(Refused):
        source(rev="v1", signed_by=[repository.public("eve")]).pull({})


def test_a_tag_that_was_signed_under_another_name_is_refused(repository, source):
    """Who may write to the repository could bring an old version under the name of a new one."""
    repository.commit("one")
    repository.tag("v1", by="ada")
    repository.commit("two")
    git(repository.folder, "update-ref", "refs/tags/v2", "refs/tags/v1")
    with pytest.raises(Refused, match="v2 is"):
        source(rev="v2", signed_by=[repository.public("ada")]).pull({})


@pytest.fixture
def key_ring(tmp_path, monkeypatch):
    """An empty key ring, that of whoever runs this."""
    home = tmp_path / "gpg"
    home.mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(home))
    yield
    subprocess.run(["gpgconf", "--kill", "all"], check=True)


@pytest.mark.usefixtures("key_ring")
def test_a_key_in_root_s_key_ring_is_none_of_the_given(repository, source):
    make = ["gpg", "--batch", "--quiet", "--passphrase", "", "--quick-generate-key", "a@b"]
    subprocess.run([*make, "ed25519", "sign"], check=True, capture_output=True)
    (repository.folder / "top.sls").write_text("one")
    git(repository.folder, "add", ".")
    git(repository.folder, "-c", "user.signingKey=a@b", "commit", "-qm", "one", "-S")
    git(repository.folder, "verify-commit", "HEAD")
    with pytest.raises(Refused, match="without such a signature"):
        source(signed_by=[repository.public("ada")]).pull({})


# Going on


@pytest.fixture
def two(repository, source):
    """A repository of two commits, and what was taken of it."""
    repository.commit("one")
    repository.commit("two")
    return repository, source().pull({})


def test_a_branch_that_went_back_is_refused(two, source):
    repository, force = two
    git(repository.folder, "reset", "-q", "--hard", "HEAD~")
    with pytest.raises(Refused, match="main went back: .* django-pull --rewind"):
        source().pull(force)
    assert text_of(source(rewind=True).pull(force)) == "one"
    assert text_of(source().pull(force, rewind=True)) == "one"


def test_a_branch_that_was_rewritten_is_refused(two, source):
    repository, force = two
    source().keep(force["commit"])
    git(repository.folder, "reset", "-q", "--hard", "HEAD~")
    repository.commit("another two")
    with pytest.raises(Refused, match="main was rewritten"):
        source().pull(force)


def test_a_tag_that_was_moved_back_is_refused(two, source):
    repository, _ = two
    git(repository.folder, "tag", "v1")
    force = source(rev="v1").pull({})
    git(repository.folder, "tag", "-f", "v1", "HEAD~")
    with pytest.raises(Refused, match="v1 went back"):
        source(rev="v1").pull(force)


def test_another_name_in_the_pillar_may_be_older(two, source):
    """The pillar itself has said so, and it was looked at like all of it."""
    repository, force = two
    git(repository.folder, "tag", "v1", "HEAD~")
    assert text_of(source(rev="v1").pull(force)) == "one"
