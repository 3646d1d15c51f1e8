"""
Where a project's code comes from: a git repository, a local folder, an archive or a PyPI package.

``revision`` says which content the pillar means, without fetching more than a reference;
``fetch`` lays that content down in a folder.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
import urllib.error
import urllib.request

import django_archive
from django_run import BASE_PATH, CommandError, build_environment, run

GIT_TIMEOUT = 600
DOWNLOAD_TIMEOUT = 60
_COMMIT = re.compile(r"[0-9a-f]{40}")


class SourceError(Exception):
    """The source cannot be found, reached or trusted; the message says which and what to do."""


def revision(source, deploy_key=None):
    """
    The revision (str) that ``source`` means now.

    git: the full commit; path: a digest of the folder's content; archive: its checksum;
    pypi: ``package==version``.

    source
        The project's resolved ``source`` (dict with ``kind``).
    deploy_key
        Private key (PEM text) for git over SSH, or None.
    """
    return _KINDS[source["kind"]].revision(source, deploy_key)


def missing_program(source):
    """Name (str) of a program that ``revision`` needs and this host does not have, or None."""
    if source["kind"] != "git":
        return None
    needed = ["git"] if re.match(r"(https?|file|git)://|/", source["location"]) else ["git", "ssh"]
    return next((name for name in needed if not shutil.which(name, path=BASE_PATH)), None)


def fetch(source, wanted, destination, cache, deploy_key=None):
    """
    Lay the content of revision ``wanted`` down in the new folder ``destination``.

    cache
        Folder (path) that may keep what a later fetch can use again.
    """
    _KINDS[source["kind"]].fetch(source, wanted, pathlib.Path(destination), cache, deploy_key)


@contextlib.contextmanager
def git_environment(source, deploy_key):
    """
    The environment (dict of str) for git: it never asks, trusts local repositories and uses the
    project's key and host keys only, which lie in root's own folder as long as they are needed.
    """
    with tempfile.TemporaryDirectory(prefix="django-formula-") as folder:
        ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20"]
        if source.get("known_hosts"):
            known = pathlib.Path(folder, "known_hosts")
            known.write_text("\n".join(source["known_hosts"]) + "\n", encoding="utf-8")
            ssh += ["-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=yes"]
        else:
            ssh += ["-o", "StrictHostKeyChecking=accept-new"]
        if deploy_key:
            key = pathlib.Path(folder, "deploy_key")
            key.touch(mode=0o600)
            key.write_text(deploy_key.strip() + "\n", encoding="utf-8")
            ssh += ["-o", "IdentitiesOnly=yes", "-i", str(key)]
        yield build_environment(
            GIT_TERMINAL_PROMPT="0",
            GIT_SSH_COMMAND=" ".join(ssh),
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0="safe.directory",
            GIT_CONFIG_VALUE_0="*",
        )


def pick_reference(listing, rev):
    """
    The commit that ``git ls-remote`` names for ``rev``: a tag (its commit, not the tag object)
    before a branch; None when there is neither. ``rev`` None means the default branch.
    """
    found = {}
    for line in listing.splitlines():
        commit, _, name = line.partition("\t")
        found[name] = commit
    names = ["HEAD"] if rev is None else [f"refs/tags/{rev}^{{}}", f"refs/tags/{rev}"]
    names += [] if rev is None else [f"refs/heads/{rev}", rev]
    return next((found[name] for name in names if name in found), None)


class _Git:
    @staticmethod
    def revision(source, deploy_key):
        rev = source.get("rev")
        if rev and _COMMIT.fullmatch(rev):
            return rev
        patterns = ["HEAD"] if rev is None else [rev, f"refs/tags/{rev}^{{}}"]
        argv = ["git", "ls-remote", "--", source["location"], *patterns]
        try:
            with git_environment(source, deploy_key) as env:
                listing = run(argv, env=env, timeout=GIT_TIMEOUT).stdout
        except CommandError as error:
            raise SourceError(f"cannot reach the git repository: {masked(error)}") from None
        commit = pick_reference(listing, rev)
        if commit is None:
            raise SourceError(
                f"{masked(source['location'])} has no branch or tag {rev!r}; "
                "a commit must be given with all its 40 digits"
            )
        return commit

    @staticmethod
    def fetch(source, wanted, destination, cache, deploy_key):
        mirror = pathlib.Path(cache) / "repository.git"
        try:
            with git_environment(source, deploy_key) as env:
                _update_mirror(mirror, source["location"], wanted, env)
                _check_out(mirror, source, wanted, destination, env)
        except CommandError as error:
            raise SourceError(f"git: {masked(error)}") from None


def _update_mirror(mirror, location, wanted, env):
    """
    Bring the bare repository ``mirror`` to where it holds the commit ``wanted``. Nobody else works
    in it, so whatever a git that was killed left there is completed, and its locks are void.
    """
    for lock in mirror.rglob("*.lock"):
        lock.unlink()
    run(["git", "init", "--quiet", "--bare", str(mirror)], env=env)
    git = ["git", f"--git-dir={mirror}"]
    fetch = [*git, "fetch", "--quiet", "--prune", "--force", "--", location]
    # A commit that no branch or tag holds any more is asked for by its name.
    for refs in (["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], [wanted]):
        present = run([*git, "cat-file", "-e", f"{wanted}^{{commit}}"], env=env, check=False)
        if present.returncode == 0:
            return
        run([*fetch, *refs], env=env, timeout=GIT_TIMEOUT)


def _check_out(mirror, source, wanted, destination, env):
    # Without hard links: the project is given its files, and must not get the mirror's with them.
    clone = ["git", "clone", "--quiet", "--no-checkout", "--no-hardlinks"]
    clone += [str(mirror), str(destination)]
    run(clone, env=env, timeout=GIT_TIMEOUT)
    tree = ["git", "-C", str(destination)]
    run([*tree, "-c", "advice.detachedHead=false", "checkout", "--quiet", wanted], env=env)
    if source["submodules"] and (destination / ".gitmodules").exists():
        run([*tree, "remote", "set-url", "origin", source["location"]], env=env)
        argv = [*tree, "submodule", "update", "--quiet", "--init", "--recursive"]
        run(argv, env=env, timeout=GIT_TIMEOUT)
    run([*tree, "remote", "remove", "origin"], env=env)


class _Path:
    @staticmethod
    def revision(source, deploy_key=None):
        root = pathlib.Path(source["location"])
        if not root.is_dir():
            wrong = "is no folder" if root.exists() else "does not exist on this host"
            raise SourceError(f"the source folder {root} {wrong}")
        return _tree_digest(root, source["exclude"])

    @staticmethod
    def fetch(source, wanted, destination, cache, deploy_key):
        def left_out(folder, names):
            paths = {name: os.path.join(folder, name) for name in names}
            return [
                name
                for name, path in paths.items()
                if _is_excluded(name, source["exclude"]) or _is_special(path)
            ]

        shutil.copytree(source["location"], destination, symlinks=True, ignore=left_out)
        if _tree_digest(destination, source["exclude"]) != wanted:
            raise SourceError(f"{source['location']} changed while it was copied; run again")


class _Archive:
    @staticmethod
    def revision(source, deploy_key=None):
        return source["hash"].removeprefix("sha256:")

    @staticmethod
    def fetch(source, wanted, destination, cache, deploy_key):
        location = source["location"]
        if location.startswith("/"):
            package = pathlib.Path(location)
            if not package.is_file():
                raise SourceError(f"the archive {location} does not exist on this host")
        else:
            package = pathlib.Path(cache) / f"archive-{wanted}"
            if not package.exists():
                _download(location, package)
        actual = _file_digest(package)
        if actual != wanted:
            if not location.startswith("/"):
                package.unlink()
            raise SourceError(
                f"source:hash: expected sha256:{wanted}, but {masked(location)} has sha256:{actual}"
            )
        unpacked = destination.with_name(".unpacked")
        try:
            django_archive.unpack(package, unpacked)
        except django_archive.ArchiveError as error:
            raise SourceError(f"cannot unpack {masked(location)}: {error}") from None
        django_archive.without_only_folder(unpacked, destination)
        for old in pathlib.Path(cache).glob("archive-*"):
            if old != package:
                old.unlink()


class _Pypi:
    @staticmethod
    def revision(source, deploy_key=None):
        return f"{source['package']}=={source['version']}"

    @staticmethod
    def fetch(source, wanted, destination, cache, deploy_key):
        destination.mkdir()


_KINDS = {"git": _Git, "path": _Path, "archive": _Archive, "pypi": _Pypi}


def masked(text):
    """Without the password of an URL such as https://user:token@host/."""
    return re.sub(r"(://[^/\s:@]*:)[^/\s@]+@", r"\1***@", str(text))


def _is_excluded(name, patterns):
    return any(pathlib.PurePath(name).match(pattern) for pattern in patterns)


def _is_special(path):
    """Whether ``path`` is a pipe, socket or device, which is no part of a source."""
    return not (os.path.islink(path) or os.path.isfile(path) or os.path.isdir(path))


def _tree_digest(root, exclude):
    """Digest (hex) of the names, modes that matter, links and contents below ``root``."""
    total = hashlib.sha256()
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not _is_excluded(name, exclude))
        relative = os.path.relpath(folder, root)
        links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
        for name in sorted([*names, *links]):
            if _is_excluded(name, exclude):
                continue
            path = os.path.join(folder, name)
            if os.path.islink(path):
                content = "-> " + os.readlink(path)
            elif _is_special(path):
                continue
            else:
                executable = "x" if os.access(path, os.X_OK) else "-"
                content = executable + _file_digest(path)
            total.update(f"{relative}/{name}\0{content}\0".encode())
    return total.hexdigest()


def _file_digest(path):
    try:
        with open(path, "rb") as stream:
            whole = hashlib.sha256()
            while block := stream.read(1 << 20):
                whole.update(block)
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from None
    return whole.hexdigest()


def _download(url, destination):
    temporary = destination.with_suffix(".part")
    try:
        with (
            urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT) as answer,
            open(temporary, "wb") as stream,
        ):
            shutil.copyfileobj(answer, stream, 1 << 20)
    except (OSError, urllib.error.URLError) as error:
        temporary.unlink(missing_ok=True)
        raise SourceError(f"cannot download {masked(url)}: {error}") from None
    os.replace(temporary, destination)
