"""A Salt master and its servers, as an operator at the master sees them."""

import json
import re

from .server import Server, told_of

PKI = "/etc/salt/pki"
FINGERPRINT = re.compile(r"its fingerprint +((?:[0-9a-f]{2}:){31}[0-9a-f]{2})\n")


def told(text):
    """The fingerprint that ``./bootstrap`` prints."""
    return FINGERPRINT.search(text)[1]


class Master(Server):
    """The master, and what its minions answer."""

    def become(self, pillar):
        """Make it a master by ``./bootstrap``; ``words`` are those that it tells for a server."""
        said = self.bootstrap("--master", pillar).stdout
        self.words = re.search(r"sudo ./bootstrap (--minion .*) NAME\n", said)[1].split()
        assert self.words[1:] == [self.host.address, "--master-fingerprint", told(said), "--id"]
        return said

    def join(self, name, server):
        """Make a server one of its minions, each knowing the other by its fingerprint."""
        fingerprint = told(server.bootstrap(*self.words, name).stdout)
        return self.obeyed("django.accept", name, fingerprint)

    def salt(self, target, *words, check=True, patience=300):
        """The answers (dict by server) to a function of a module, each within so many seconds."""
        argv = ["salt", "--timeout", str(patience), "--out", "json", "--static", "-C", target]
        done = self.run([*argv, *words], check=False, timeout=600)
        try:
            answers = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}") from None
        assert not check or done.returncode == 0, answers
        return answers

    def apply(self, *words, target="*"):
        """What ``state.apply`` changed and what failed (dict by server of two lists of IDs)."""
        return told_of(self.salt(target, "state.apply", *words, check=False))

    def order(self, *words):
        """An order to a runner (its outcome)."""
        done = self.run(["salt-run", *words], check=False, timeout=600)
        assert "Traceback" not in done.stdout + done.stderr
        return done

    def obeyed(self, *words):
        """What an order says (str) that is carried out."""
        done = self.order(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words):
        """What an order says (str) that fails."""
        done = self.order(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        return done.stdout

    def keys(self, state):
        """The servers of which it has a key that is ``accepted`` or ``unaccepted``."""
        argv = ["salt-key", "--list", state, "--out", "json"]
        return sum(json.loads(self.run(argv).stdout).values(), [])
