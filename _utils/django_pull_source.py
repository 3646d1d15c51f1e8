"""
What a server pulls, from git: which commit is meant, whether it may be applied, its files.

A commit may be applied if one of the given SSH keys has signed it, or the tag that names it, and if
it builds on the one that was applied last. Both are seen before a file of it is laid down.
"""

import hashlib
import os
import pathlib
import re
import shutil
import tempfile

from django_run import CommandError, run
from django_source import GIT_TIMEOUT, SourceError, git_environment, masked

MIRROR_REF = "refs/pulled/{}"
COMMIT = re.compile(r"[0-9a-f]{40}")
SIGNER = re.compile(r"(SHA256:\S+)")
SHORT = 12  # digits of a commit for people
PRINCIPAL = "operator"
# Signatures of other kinds would be looked for in root's own key rings.
ONLY_SSH = ("gpg.program=false", "gpg.openpgp.program=false", "gpg.x509.program=false")
NO_OTHER_SETTINGS = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
PRIVATE = 0o077


class Refused(SourceError):
    """What was fetched may not be applied; the message says why and what to do."""


def short(commit):
    """A commit for people (str)."""
    return commit[:SHORT]


def title(rev):
    """What an operator calls that which is pulled (str)."""
    return rev or "the default branch"


def list_argv(url, rev):
    """The command that asks a repository what it has of a name."""
    names = ["HEAD"] if rev is None else [f"refs/tags/{rev}", f"refs/heads/{rev}"]
    return ["git", "ls-remote", "--", url, *names]


def pick(listing, rev):
    """
    The reference (str) that a name means in the answer to :func:`list_argv`, a tag before a branch;
    None where there is none.
    """
    found = {line.partition("\t")[2] for line in listing.splitlines()}
    names = ["HEAD"] if rev is None else [f"refs/tags/{rev}", f"refs/heads/{rev}"]
    return next((name for name in names if name in found), None)


def fetch_argv(mirror, url, reference):
    """The command that brings a reference, or all that there is (None), into the mirror."""
    every = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"]
    wanted = every if reference is None else [f"+{reference}:{MIRROR_REF.format('new')}"]
    git = ["git", f"--git-dir={mirror}", "fetch", "--quiet", "--no-tags", "--force"]
    return [*git, "--no-write-fetch-head", "--", url, *wanted]


def verify_argv(mirror, keys, kind, name):
    """
    The command that looks at the signature of a commit or tag.

    keys
        Path of a file of allowed signers.
    kind
        ``commit`` or ``tag``.
    """
    options = [f"gpg.ssh.allowedSignersFile={keys}", "gpg.ssh.program=ssh-keygen", *ONLY_SSH]
    words = [word for option in options for word in ("-c", option)]
    return ["git", f"--git-dir={mirror}", *words, f"verify-{kind}", name]


def allowed_signers(keys):
    """The text of a file of allowed signers for public keys (list of str)."""
    lines = [f'{PRINCIPAL} namespaces="git" {" ".join(key.split()[:2])}\n' for key in keys]
    return "".join(lines)


def is_for_tag(text, rev):
    """Whether the text of a tag's object names the tag that it is asked for by."""
    head = text.partition("\n\n")[0].splitlines()
    return f"tag {rev}" in head


def builds_on(mirror, old, new):
    """``True``, or in words how a commit does not build on the one before it."""
    if old == new or _is_ancestor(mirror, old, new):
        return True
    return "went back" if _is_ancestor(mirror, new, old) else "was rewritten"


def _is_ancestor(mirror, old, new):
    argv = ["git", f"--git-dir={mirror}", "merge-base", "--is-ancestor", old, new]
    return run(argv, check=False).returncode == 0


class Source:
    """
    A repository that is pulled.

    kind
        ``pillar`` or ``formula``.
    settings
        What the pillar says of it (dict).
    folder
        Where its mirror and its files are (path).
    """

    def __init__(self, kind, settings, folder):
        self.kind, self.settings = kind, settings
        self.mirror = pathlib.Path(folder, f"{kind}.git")
        self.folder = pathlib.Path(folder, kind)

    @property
    def name(self):
        """What the pillar calls that which is wanted."""
        return title(self.settings["rev"])

    def pull(self, force, rewind=False):
        """
        What there is to apply now (dict): ``commit``, ``git``, ``rev``, ``folder`` with its files,
        and ``signed_by``, the fingerprint of a key, where one is asked for.

        force
            What was applied last, as this returned it; empty without one.
        rewind
            Whether it may be a commit that does not build on that.

        Raises SourceError, or Refused where it must not be applied.
        """
        settings = self.settings
        commit = self._fetch()
        found = {"commit": commit, "git": settings["git"], "rev": settings["rev"]}
        if settings["signed_by"]:
            found["signed_by"] = self._signer(commit)
        is_same_name = all(force.get(key) == found[key] for key in ("git", "rev"))
        if is_same_name and not (rewind or settings["rewind"]):
            self._see_that_it_goes_on(force["commit"], commit)
        found["folder"] = str(self._lay_down(commit))
        return found

    def keep(self, commit):
        """Let the mirror keep a commit, whatever its repository does to the branch."""
        self._git("update-ref", MIRROR_REF.format("in-force"), commit)

    def prune(self, kept):
        """Remove files of commits that are not needed; ``kept``: text that names those that are."""
        for path in self.folder.glob("*"):
            if str(path) not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def _git(self, *words, **options):
        return run(["git", f"--git-dir={self.mirror}", *words], **options).stdout

    def _fetch(self):
        """Fetch what is wanted; its commit (str)."""
        url, rev = self.settings["git"], self.settings["rev"]
        is_commit = bool(rev and COMMIT.fullmatch(rev))
        self.mirror.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            with git_environment(self.settings, self.settings["deploy_key"]) as env:
                for lock in self.mirror.rglob("*.lock"):
                    lock.unlink()  # of a git that was killed
                run(["git", "init", "--quiet", "--bare", str(self.mirror)], umask=PRIVATE)
                reference = None
                if not is_commit:
                    listing = run(list_argv(url, rev), env=env, timeout=GIT_TIMEOUT).stdout
                    reference = pick(listing, rev)
                    if reference is None:
                        raise SourceError(f"{masked(url)} has no branch or tag {rev!r}")
                argv = fetch_argv(self.mirror, url, reference)
                run(argv, env=env, timeout=GIT_TIMEOUT, umask=PRIVATE)
            if is_commit:
                self._git("update-ref", MIRROR_REF.format("new"), rev)
            return self._git("rev-parse", f"{MIRROR_REF.format('new')}^{{commit}}").strip()
        except CommandError as error:
            raise SourceError(f"cannot be fetched: {masked(error)}") from None

    def _signer(self, commit):
        """The fingerprint (str) of the key that has signed it. Raises Refused without one."""
        with tempfile.TemporaryDirectory(prefix="django-formula-") as folder:
            keys = pathlib.Path(folder, "allowed_signers")
            keys.write_text(allowed_signers(self.settings["signed_by"]), encoding="utf-8")
            said = []
            for kind, name in self._signed_objects(commit):
                argv = verify_argv(self.mirror, keys, kind, name)
                env = {"PATH": os.environ.get("PATH", os.defpath), **NO_OTHER_SETTINGS}
                done = run(argv, env=env, check=False, timeout=60)
                signer = SIGNER.search(done.stdout + done.stderr)
                if done.returncode == 0 and signer:
                    return signer.group(1)
                said.append(
                    f"signed by {signer.group(1)}" if signer else "without such a signature"
                )
        found = " and ".join(dict.fromkeys(said))
        raise Refused(
            f"{self.name} is {short(commit)}, {found}, and none of the keys in "
            f"django:pull:{self.kind}:signed_by has signed it"
        )

    def _signed_objects(self, commit):
        """What may carry the signature: ``(kind, name)``, the tag of that name and the commit."""
        new = MIRROR_REF.format("new")
        is_tag = self._git("cat-file", "-t", new).strip() == "tag"
        # A tag that was signed as another one says nothing of this name.
        if is_tag and is_for_tag(self._git("cat-file", "tag", new), self.settings["rev"]):
            yield "tag", self._git("rev-parse", new).strip()
        yield "commit", commit

    def _see_that_it_goes_on(self, old, new):
        how = builds_on(self.mirror, old, new)
        if how is not True:
            raise Refused(
                f"{self.name} {how}: it is {short(new)} now, which does not build on {short(old)}, "
                "the last one that was applied. Bring what is wanted as a new commit on top of "
                "that, or accept this one on this server: django-pull --rewind"
            )

    def _lay_down(self, commit):
        """A folder (path) with the files of a commit, as they are in it."""
        folders = self.settings.get("folders") or []
        named = hashlib.sha256("\n".join(folders).encode()).hexdigest()[:6] if folders else ""
        final = self.folder / "-".join(filter(None, (commit, named)))
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = pathlib.Path(tempfile.mkdtemp(prefix="new-", dir=self.folder))
        try:
            tree = new / "tree"
            tree.mkdir(mode=0o700)
            env = {"PATH": os.environ.get("PATH", os.defpath), "GIT_INDEX_FILE": f"{new}/index"}
            words = [f"--work-tree={tree}", "checkout", "--quiet", "--force", commit, "--", "."]
            try:
                self._git(*words, env=env, timeout=GIT_TIMEOUT)
            except CommandError as error:
                raise SourceError(f"cannot be laid down: {masked(error)}") from None
            whole = self._merged(tree, folders, new, commit) if folders else tree
            if not _has_all(whole, final):
                shutil.rmtree(final, ignore_errors=True)
                os.rename(whole, final)
        finally:
            shutil.rmtree(new)
        return final

    def _merged(self, tree, folders, new, commit):
        merged = new / "merged"
        merged.mkdir(mode=0o700)
        for folder in reversed(folders):
            if not (tree / folder).is_dir():
                raise Refused(f"{self.name} ({short(commit)}) has no folder {folder}")
            shutil.copytree(tree / folder, merged, symlinks=True, dirs_exist_ok=True)
        return merged


def _has_all(tree, folder):
    """Whether a folder has all that a tree has, just so; what else it has does not matter."""
    return all(
        _content(path) == _content(folder / path.relative_to(tree)) for path in tree.rglob("*")
    )


def _content(path):
    """What a file says, where a link leads, or what else a path is."""
    if path.is_symlink():
        return os.readlink(path)
    return path.read_bytes() if path.is_file() else path.is_dir()
