"""The example project as it is developed: its source on the host, releases of it, visitors."""

import contextlib
import http.client
import json
import os
import threading
import time
import warnings

from .server import CHECKOUT

SOURCE = "/srv/src/guestbook"
ROOT = "/srv/django/guestbook"
LONG = 5
INDEX = "guestbook/templates/guestbook/index.html"


def develop(server):
    """Put the source into a folder that is a git repository too, with the tag v1."""
    server.run(f"mkdir -p /srv/src && cp -r {CHECKOUT}/examples/guestbook {SOURCE}")
    server.git = f"git -C {SOURCE} -c user.name=a -c user.email=a@b"
    server.run(
        f"{server.git} init -q -b main && {server.git} add . && "
        f"{server.git} commit -qm one && {server.git} tag v1"
    )


class Visitors:
    """
    A few visitors who ask for a page over and over; `failed` tells what they did not get, and
    `slow` who waited for an answer more than LONG seconds.
    """

    def __init__(self, host, path="/whoami/", count=3):
        self.host, self.path = host, path
        self.answers, self.failed, self.slow = [], [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(count)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _visit(self):
        end = time.monotonic() + 300
        while not self._stop.is_set() and time.monotonic() < end:
            asked = time.monotonic()
            try:
                answer = self.host.get(self.path)
                (self.answers if answer.status == 200 else self.failed).append(answer.text)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{time.strftime('%X')} {error!r}")
            if (waited := time.monotonic() - asked) > LONG:
                self.slow.append(f"{time.strftime('%X')} after {waited:.1f} s")
            time.sleep(0.05)


@contextlib.contextmanager
def no_failed_request(server):
    """
    Nothing that visitors ask for while the body runs fails. Who waited long is shown with pytest's
    warnings: on a machine with more to do than cores it is no failure, and worth a look.
    """
    with Visitors(server.host) as visitors:
        time.sleep(0.5)
        yield visitors
        time.sleep(0.5)
    if visitors.slow:
        load = os.getloadavg()[0]
        warnings.warn(f"slow answers at a load of {load:.1f}: {visitors.slow[:5]}", stacklevel=3)
    assert visitors.failed == [], visitors.failed[:5]
    assert len(visitors.answers) > 50


def whoami(server):
    return json.loads(server.host.get("/whoami/").text)


def change(server, name, old, new):
    """Edit a file of the source."""
    path = f"{SOURCE}/{name}"
    text = server.host.read(path)
    assert old in text
    server.host.write(path, text.replace(old, new))


def restore(server):
    """The source as it was."""
    server.run(f"{server.git} checkout -q -f v1 && {server.git} clean -qfd")
