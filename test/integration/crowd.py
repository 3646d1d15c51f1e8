"""A crowd of visitors of the example site (see load.py), and what must be true of what they saw."""

import json
import signal
import subprocess
import sys
from collections import Counter

from .server import ROOT

KINDS = {"keep-alive", "new connection", "post", "slow"}
ROWS = "SELECT name FROM guestbook_entry WHERE name LIKE 'load %'"


class Crowd:
    """
    Visitors of all kinds from before the body until after it, and until ``requests`` were made;
    then ``report`` has what they saw, as load.py describes it. ``leisure`` as there. ``through``
    is a host in front of the server, where the site is known by its ``name``.
    """

    def __init__(self, server, folder, requests, leisure=1, through=None, name=None):
        self.server, self.requests = server, requests
        self._path = folder / "report.json"
        address = (through or server.host).address
        words = [address, self._path, requests, leisure, name or address]
        self._argv = [sys.executable, "-m", "test.integration.load", *map(str, words)]

    def __enter__(self):
        self._before = Counter(self._rows())
        self._visitors = subprocess.Popen(self._argv, cwd=ROOT)
        return self

    def __exit__(self, *_):
        self._visitors.send_signal(signal.SIGTERM)
        self._visitors.wait(600)

    @property
    def report(self):
        return json.loads(self._path.read_text())

    def _rows(self):
        return self.server.psql(ROWS, "guestbook")

    def assert_all_served(self):
        """Every request got its answer, from one release, and every row is there once."""
        report = self.report
        assert report["failed"] == [], report["failed"][:5]
        assert report["mixed"] == []
        assert report["requests"] >= self.requests, report["kinds"]
        assert set(report["kinds"]) == KINDS
        assert Counter(self._rows()) - self._before == Counter(report["posted"])
