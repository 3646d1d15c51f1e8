"""
Orders about the whole fleet, given on its Salt master.

What is refused is told in words, and by exit status 1.
"""

import contextlib
import sys

import django_keys
import salt.exceptions
import salt.key
import salt.utils.event

__virtualname__ = "django"

REFUSALS = (django_keys.KeyRefused,)


def __virtual__():
    return __virtualname__


class Refused(salt.exceptions.NotImplemented):
    """The one exception whose words Salt shows without the way through the code."""


def _answer(function, *arguments):
    """The answer of a function, or its refusal."""
    try:
        return function(*arguments)
    except REFUSALS as refusal:
        raise Refused(str(refusal)) from None


def accept(server, fingerprint, wait=120):
    """
    Accept the key of a server that wants to be a minion of this master, if it is the one with the
    fingerprint that its operator read on the server itself; returns a sentence.

    server
        The server's minion id, which is its name in ``django:hosts``.
    fingerprint
        As ``./bootstrap --minion`` prints it there, or ``salt-call --local key.finger``.
    wait
        Seconds for its key to come, and again for the server to be at the master's orders; 0 for
        not to wait. One that does not come then stays accepted, and that is told.

    CLI Example:

    .. code-block:: bash

        salt-run django.accept web1 b5:07:…:9e
    """
    with _arrival(server, wait) as arrived, salt.key.get_key(__opts__) as keys:
        if not _answer(django_keys.accept, keys, server, fingerprint, wait, _say):
            return f"{server} is accepted already: nothing to do"
        if not arrived():
            raise Refused(
                f"{server} is accepted, but did not come within {wait} seconds. See there, by"
                " ./bootstrap --minion or journalctl -u salt-minion: it does not come to a master"
                " with another key than the one that it was told of"
            )
    return f"{server} is accepted" + (" and at this master's orders" if wait else "")


def _say(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _arrival(server, seconds):
    """A function that tells whether a server comes in time, from now on (bool)."""
    if not seconds:
        yield lambda: True
        return
    events = salt.utils.event.get_event("master", __opts__["sock_dir"], opts=__opts__, listen=True)
    with events:
        tag = f"salt/minion/{server}/start"
        events.subscribe(tag)
        yield lambda: events.get_event(wait=seconds, tag=tag) is not None
