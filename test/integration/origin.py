"""Git repositories on the builder that hosts fetch from, and the keys of who commits to them."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time

from test.hosts import network

from .server import ROOT, copy


class Origin:
    """A git server for hosts. Keys are those of ``ada`` and ``eve``."""

    def __init__(self, folder):
        self.folder = folder / "repositories"
        self.keys = folder / "keys"
        self.folder.mkdir()
        self.keys.mkdir()
        for name in ("ada", "eve"):
            argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f"]
            subprocess.run([*argv, self.keys / name], check=True)
        with socket.create_server((network.GATEWAY, 0)) as free:
            self.port = free.getsockname()[1]
        self._daemon = None

    def __enter__(self):
        words = [f"--listen={network.GATEWAY}", f"--port={self.port}", "--reuseaddr"]
        words += [f"--base-path={self.folder}", "--export-all"]
        argv = ["git", "daemon", *words, str(self.folder)]
        self._daemon = subprocess.Popen(argv, start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((network.GATEWAY, self.port), 5).close()
                return self
            assert time.monotonic() < deadline, "the git server does not answer"
            time.sleep(0.1)

    def __exit__(self, *_):
        os.killpg(self._daemon.pid, signal.SIGTERM)
        self._daemon.wait()

    @contextlib.contextmanager
    def away(self):
        """While the body runs nobody serves."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()

    def url(self, name):
        """Where hosts find a repository."""
        return f"git://{network.GATEWAY}:{self.port}/{name}"

    def public(self, name):
        """Somebody's public key."""
        return (self.keys / f"{name}.pub").read_text().strip()

    def git(self, name, *words):
        """What git says."""
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
        argv = ["git", "-C", str(self.folder / name), *who, *words]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name, files, by=None, tag=None):
        """Commit files (dict of text) to a repository, signed by somebody or nobody; the commit."""
        folder = self.folder / name
        if not folder.exists():
            folder.mkdir()
            self.git(name, "init", "-q")
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
        self.git(name, "add", ".")
        signed = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={self.keys / by}"] if by else []
        self.git(
            name,
            *signed,
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            "one more",
            *(["-S"] if by else []),
        )
        if tag:
            self.git(name, "tag", tag)
        return self.git(name, "rev-parse", "HEAD")

    def put_guestbook(self):
        """The example project, with the tag v1."""
        shutil.copytree(ROOT / "examples/guestbook", self.folder / "guestbook")
        self.git("guestbook", "init", "-q")
        return self.commit("guestbook", {}, tag="v1")

    def put_formula(self):
        """This repository, with the tag v1."""
        (self.folder / "formula").mkdir()
        copy(self.folder / "formula")
        self.git("formula", "init", "-q")
        return self.commit("formula", {}, tag="v1")
