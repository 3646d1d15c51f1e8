"""
Keys by which servers and their Salt master know each other: fingerprints, and the one key that an
operator means to accept.

A fingerprint is that of Salt's ``key.finger`` and ``master_finger``: SHA-256 of the lines between
the first and the last. (``salt-key --finger`` of Salt 3008 hashes those two as well.)
"""

import difflib
import hashlib
import re
import time

HASH = "sha256"
# Nothing else is hashed: in a looser text a second key might hide in a line that is not.
PEM = re.compile(
    r"-----BEGIN (RSA |)PUBLIC KEY-----\n((?:[A-Za-z0-9+/=]+\n)+)-----END \1PUBLIC KEY-----\n*"
)
PAIRS = hashlib.new(HASH).digest_size
SERVER = re.compile(r"[^\s*?\[\],/\\]+")
NAMES_SHOWN = 10
PAUSE = 0.5  # seconds between two looks at the keys
ACCEPTED, PENDING, REJECTED, DENIED = "minions", "minions_pre", "minions_rejected", "minions_denied"


class KeyRefused(Exception):
    """A key is not accepted; the message says why, and what to do."""


def fingerprint(pem):
    """
    The fingerprint (str, pairs of hexadecimal digits with colons) of a public key in PEM (str).

    Raises :class:`KeyRefused` for anything else than one key as Salt writes it.
    """
    found = PEM.fullmatch(pem.replace("\r\n", "\n").strip())
    if not found:
        raise KeyRefused("it is no public key as Salt writes it")
    return _with_colons(hashlib.new(HASH, found[2].encode()).hexdigest())


def _with_colons(digits):
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def normal(text):
    """
    A fingerprint as somebody typed it, in one way of writing: small letters, colons between pairs.

    Raises :class:`KeyRefused` where it is none.
    """
    digits = str(text).strip().lower().replace(":", "")
    if not re.fullmatch(rf"[0-9a-f]{{{2 * PAIRS}}}", digits):
        raise KeyRefused(
            f"expected a fingerprint, {PAIRS} pairs of hexadecimal digits with colons between them;"
            f" got '{text}'"
        )
    return _with_colons(digits)


def accept(keys, server, given, seconds=0, say=None):
    """
    Accept the key of a server if it has the fingerprint that its operator read there; returns
    whether anything was done (bool), which is not so where this key is accepted already.

    keys
        The master's ``salt.key.Key``.
    server
        The server's minion id.
    given
        The fingerprint, as ``./bootstrap --minion`` or ``salt-call --local key.finger`` tells it.
    seconds
        How long to wait for a key of this server, if there is none.
    say
        Function that is told (str) that it is waited for.

    Raises :class:`KeyRefused` where there is no such key, or another one.
    """
    wanted = normal(given)
    server = str(server)
    if not SERVER.fullmatch(server):
        raise KeyRefused(f"expected the name of one server, got '{server}'")
    found = look(keys, server) or _wait(keys, server, seconds, say)
    if found.get(ACCEPTED) == [wanted]:
        return False
    if found.get(PENDING) != [wanted]:
        raise KeyRefused(_why_not(keys, server, wanted, found))
    keys.accept(match_dict={PENDING: [server]})
    now = look(keys, server).get(ACCEPTED)
    if now != [wanted]:
        if now:
            keys.reject(match_dict={ACCEPTED: [server]}, include_accepted=True)
        raise KeyRefused(
            f"{server} is not accepted: its key is no longer the one that was looked at"
        )
    return True


def look(keys, server):
    """
    Fingerprints of the keys that a master has of a server: dict of lists by what it thinks of them
    (:data:`ACCEPTED`, :data:`PENDING`, …). In place of a fingerprint may be why there is none.
    """
    listed = keys.list_keys()
    having = [
        state for state in (ACCEPTED, PENDING, REJECTED, DENIED) if server in _of(listed, state)
    ]
    if not having:
        return {}
    texts = keys.key_str(server)
    found = {}
    for state in having:
        pems = texts.get(state, {}).get(server) or []
        found[state] = [_tell(pem) for pem in ([pems] if isinstance(pems, str) else pems)]
    return found


def _wait(keys, server, seconds, say):
    """As :func:`look`, once there is a key of the server or the time is over."""
    deadline, found = time.monotonic() + seconds, {}
    if seconds:
        say(f"{_nobody(keys, server)}. Waiting up to {seconds} seconds for it.")
    while not found and time.monotonic() < deadline:
        time.sleep(PAUSE)
        found = look(keys, server)
    return found


def _of(listed, state):
    return listed.get(state) or []


def _tell(pem):
    try:
        return fingerprint(pem)
    except KeyRefused as refusal:
        return str(refusal)


def _why_not(keys, server, wanted, found):
    """Why a server's key is not accepted (str)."""
    again = f"salt-key -d {server} here, then restart salt-minion on {server}"
    if not found:
        return _nobody(keys, server)
    if ACCEPTED in found:
        said = f"{server} is accepted with another key, {found[ACCEPTED][0]}"
        if wanted in found.get(DENIED, ()):
            return (
                f"{said}; the one that you name was turned away. Was {server} set up anew? {again}"
            )
        return f"{said}. If that is not {server}'s: {again}"
    if PENDING in found:
        return (
            f"the key of {server} that waits here has another fingerprint, {found[PENDING][0]}:"
            f" compare both with what salt-call --local key.finger tells on {server}."
            f" If it is not {server}'s, somebody else uses its name: salt-key -d {server}"
        )
    state = "rejected" if REJECTED in found else "turned away"
    return f"the key of {server} was {state} before. If it shall be accepted now: {again}"


def _nobody(keys, server):
    waiting = sorted(_of(keys.list_keys(), PENDING))
    close = difflib.get_close_matches(server, waiting, 1)
    if close:
        hint = f"did you mean {close[0]}"
    elif waiting:
        more = ", …" if len(waiting) > NAMES_SHOWN else ""
        hint = f"there are those of {', '.join(waiting[:NAMES_SHOWN])}{more}"
    else:
        hint = "none does: ./bootstrap --minion on the server brings it"
    return f"no key of {server} waits here; {hint}"
