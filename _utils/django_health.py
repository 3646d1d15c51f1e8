"""Requests over a Unix socket: is a project's web process answering as it should?"""

import http.client
import socket
import time

import django_uwsgi

POLL_SECONDS = 0.1
REQUEST_TIMEOUT = 10
HINTS = {
    400: " (does ALLOWED_HOSTS in the settings have it?)",
    404: " (health:path in the pillar says what to ask for)",
}
SETTLED_SECONDS = 10  # of an answer that does not change: it is that of a wrong address or setting
NO_ANSWER = "no answer"  # how the reason begins when the process does not answer at all


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path, timeout=REQUEST_TIMEOUT):
        super().__init__("localhost", timeout=timeout)
        self._path = str(path)

    def connect(self):
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(path, health, timeout=REQUEST_TIMEOUT):
    """
    One health request over the socket at ``path``.

    health
        Dict with ``path``, ``host``, ``scheme`` (http or https, told as X-Forwarded-Proto) and
        ``status`` (list of int that count as healthy), and ``protocol``: http, uwsgi for a process
        that speaks uWSGI's, or mod_wsgi for a slot in Apache, which is asked as ``site`` at
        ``port`` of the loopback; Apache tells it host and scheme.

    Returns None when healthy, else the reason (str).
    """
    headers = {
        "Host": health["host"],
        "X-Forwarded-Proto": health["scheme"],
        "X-Forwarded-For": "127.0.0.1",
        "X-Real-IP": "127.0.0.1",
        "User-Agent": "django-formula health check",
        "Connection": "close",
    }
    try:
        if health["protocol"] == "mod_wsgi":
            status = _get_from_apache(health, timeout)
        elif health["protocol"] == "uwsgi":
            status = django_uwsgi.get(path, health["path"], headers, health["scheme"], timeout)
        else:
            status = _get(path, health["path"], headers, timeout)
    except (OSError, http.client.HTTPException) as error:
        place = f"port {health['port']}" if health["protocol"] == "mod_wsgi" else path
        return f"{NO_ANSWER} on {place}: {error}"
    if status in health["status"]:
        return None
    wanted = ", ".join(str(code) for code in health["status"])
    return (
        f"GET {health['path']} with Host {health['host']} answered {status}, expected {wanted}"
        f"{HINTS.get(status, '')}"
    )


def _get_from_apache(health, timeout):
    connection = http.client.HTTPConnection("127.0.0.1", health["port"], timeout=timeout)
    try:
        connection.request("GET", health["path"], headers={"Host": health["site"]})
        return connection.getresponse().status
    finally:
        connection.close()


def _get(address, path, headers, timeout):
    connection = UnixConnection(address, timeout)
    try:
        connection.request("GET", path, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def wait(path, health, alive=lambda: None):
    """
    Ask until healthy or until ``health['timeout']`` seconds have passed. Answers that a start does
    not explain, 400 and 404, are not waited for longer than SETTLED_SECONDS.

    alive
        Called between requests; returns a reason (str) when the process is dead and waiting is
        of no use.

    Returns None when healthy, else the last reason (str).
    """
    began = time.monotonic()
    deadline, settled, before = began + health["timeout"], began, None
    while True:
        left = deadline - time.monotonic()
        reason = ask(path, health, max(1, min(REQUEST_TIMEOUT, left)))
        if reason is None:
            return None
        if reason != before:
            settled, before = time.monotonic(), reason
        dead = alive()
        if dead:
            return dead
        end = deadline
        if reason.endswith(tuple(HINTS.values())):
            end = min(deadline, settled + SETTLED_SECONDS)
        if time.monotonic() >= end:
            return f"{reason} (waited {round(end - began, 1):g} s)"
        time.sleep(POLL_SECONDS)
