"""HAProxy while it runs: what its administration socket says of the servers behind it."""

import contextlib
import csv
import io
import pathlib
import socket
import sys

SOCKET = "/run/haproxy/admin.sock"
TIMEOUT = 10  # seconds
SERVERS = "show stat -1 4 -1"
# As the kernel numbers them: established, and on the way there.
OPEN = ("01", "02")


class HAProxyError(Exception):
    """HAProxy does not answer, or refuses what it is asked for."""


def ask(command):
    """What HAProxy answers (str) to a command at its administration socket."""
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as stream:
            stream.settimeout(TIMEOUT)
            stream.connect(str(SOCKET))
            stream.sendall(f"{command}\n".encode())
            return b"".join(iter(lambda: stream.recv(65536), b"")).decode(errors="replace")
    except OSError as error:
        reason = error.strerror or error
        raise HAProxyError(f"HAProxy does not answer at {SOCKET}: {reason}") from None


def servers():
    """The state of each server as HAProxy words it, such as UP: ``{backend: {server: state}}``."""
    rows = csv.DictReader(io.StringIO(ask(SERVERS).removeprefix("# ")))
    found = {}
    for row in rows:
        if row.get("pxname") and row.get("svname") and row.get("status"):
            found.setdefault(row["pxname"], {})[row["svname"]] = row["status"]
    return found


def serves(state):
    """Whether a server of this state (str) gets requests."""
    return state.split()[0] == "UP" or state == "no check"


def is_out(state):
    """Whether a server of this state (str) is kept out on purpose."""
    return state.startswith("MAINT")


def set_state(backend, server, state):
    """Let a server be ``ready``, or kept out (``maint``), which leaves it the requests it has."""
    said = ask(f"set server {backend}/{server} state {state}").strip()
    if said:
        raise HAProxyError(f"HAProxy refuses to let {backend}/{server} be {state}: {said}")


def connections(address, port, proc="/proc"):
    """
    How many connections (int) this host has to a port of another one. It is the kernel that is
    asked: after a reload an older HAProxy may still have some, of which the new one knows nothing.
    """
    peer = f"{_as_kernel(address)}:{port:04X}"
    name = "tcp6" if ":" in address else "tcp"
    try:
        lines = pathlib.Path(proc, "net", name).read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return 0
    columns = (line.split(None, 4) for line in lines)
    return sum(1 for each in columns if len(each) > 4 and each[2] == peer and each[3] in OPEN)


def _as_kernel(address):
    """An address as /proc/net/tcp has it: in words of four bytes, each as a number of this CPU."""
    packed = socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    words = (packed[place : place + 4] for place in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
