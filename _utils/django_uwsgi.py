"""
uWSGI as a project's server: its command line, and a request in the protocol that it speaks.

Source: https://uwsgi-docs.readthedocs.io/en/latest/Protocol.html
"""

import http.client
import pathlib
import socket
import struct

import django_references

BUFFER_BYTES = 32768  # of a request's head; Nginx takes heads of up to four times 8 KiB
BACKLOG = 1024  # connections that wait
SOMAXCONN = pathlib.Path("/proc/sys/net/core/somaxconn")
LARGEST = 0xFFFF  # bytes of variables that a request may have
_SOCKET = "--uwsgi-socket="
_HTTP_SOCKET = "--http-socket="
# In HTTP a Unix socket has no address of a client; the front door has written it into this header.
_ADDRESS = "--route-run=addvar:REMOTE_ADDR=${HTTP_X_FORWARDED_FOR}"


def backlog():
    """How many connections may wait (int); uWSGI does not start with more than the kernel lets."""
    try:
        return min(BACKLOG, int(SOMAXCONN.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return BACKLOG


def argv(app, module, names, front):
    """
    uWSGI's command line (list of str).

    app
        The project's resolved ``app`` settings.
    module
        The WSGI callable, such as ``shop.wsgi:application``.
    names
        The instance's namespace for references.
    front
        The front door (str): with nginx it speaks its own protocol, with apache HTTP. Apache cannot
        choose between two at each request, and so would notice a change from or to another server.

    SIGTERM lets workers finish their requests, for as long as ``graceful_timeout`` says; by itself
    uWSGI would load the project again, or break requests off.
    """
    words = [
        f"{names['path.venv']}/bin/uwsgi",
        "--strict",
        "--master",
        "--no-orphans",
        "--die-on-term",  # until the next option's hook is in place
        "--hook-master-start=unix_signal:15 gracefully_kill_them_all",
        f"--reload-mercy={app['graceful_timeout']}",
        f"--worker-reload-mercy={app['graceful_timeout']}",
        *(
            [f"{_HTTP_SOCKET}{names['socket']}", _ADDRESS]
            if front == "apache"
            else [f"{_SOCKET}{names['socket']}"]
        ),
        "--chmod-socket=660",
        f"--listen={backlog()}",
        f"--buffer-size={BUFFER_BYTES}",
        f"--chdir={names['path.project']}",
        f"--pythonpath={names['path.project']}",
        "--single-interpreter",
        "--need-app",
        "--enable-threads",
        f"--workers={app['workers']}",
        f"--threads={app['threads']}",
        "--disable-logging",  # of each request, which Nginx logs
    ]
    if app["timeout"]:
        words.append(f"--harakiri={app['timeout']}")
    if app["max_requests"]:
        words += [
            f"--max-requests={app['max_requests']}",
            f"--max-requests-delta={app['max_requests'] // 10}",
        ]
    if not app["preload"]:
        words.append("--lazy-apps")
    words += [django_references.expand_text(option, names) for option in app["options"]]
    return [*words, f"--module={module}"]


def is_spoken(definition):
    """Whether the process that ``definition`` describes listens for uWSGI's protocol."""
    return any(word.startswith(_SOCKET) for word in definition.get("command", ()))


def packet(variables):
    """
    A request (bytes): the header (modifier 0, size, modifier 0) and ``variables`` (dict of str).

    Raises ValueError when they are more than the header can tell.
    """
    words = [text.encode("utf-8") for pair in variables.items() for text in pair]
    size = sum(2 + len(word) for word in words)
    if size > LARGEST:
        raise ValueError(f"a request of {size} bytes, the protocol has at most {LARGEST}")
    body = b"".join(struct.pack("<H", len(word)) + word for word in words)
    return struct.pack("<BHB", 0, size, 0) + body


def variables(path, headers, scheme):
    """What a web server tells of a GET request for ``path`` (str) with ``headers`` (dict)."""
    place, _, query = path.partition("?")
    told = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": path,
        "PATH_INFO": place,
        "QUERY_STRING": query,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": headers["Host"],
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "REMOTE_ADDR": "127.0.0.1",
        "UWSGI_SCHEME": scheme,
    }
    told.update({f"HTTP_{key.upper().replace('-', '_')}": text for key, text in headers.items()})
    return told


def get(address, path, headers, scheme, timeout):
    """
    The status (int) that the process at the Unix socket ``address`` answers a GET with.

    Raises OSError or http.client.HTTPException when there is no answer within ``timeout`` seconds
    of silence, or none that is HTTP.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.settimeout(timeout)
        stream.connect(str(address))
        stream.sendall(packet(variables(path, headers, scheme)))
        answer = http.client.HTTPResponse(stream, method="GET")
        try:
            answer.begin()
            return answer.status
        finally:
            answer.close()
