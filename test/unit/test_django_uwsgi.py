"""uWSGI: its command line, and requests in its protocol against a stand-in that reads them."""

import socketserver
import struct
import threading

import django_health
import django_process
import django_uwsgi
import pytest

NAMES = {
    "path.venv": "/srv/django/shop/venvs/v",
    "path.project": "/srv/django/shop/releases/r/source",
    "socket": "/run/django/shop/web-i.sock",
}
APP = {
    "workers": 5,
    "threads": 2,
    "timeout": 30,
    "graceful_timeout": 20,
    "asgi": False,
    "max_requests": 0,
    "preload": False,
    "options": [],
}
HEALTH = {
    "path": "/healthz/?deep=1",
    "host": "shop.org",
    "scheme": "https",
    "status": [200],
    "timeout": 1,
    "protocol": "uwsgi",
}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Handler(socketserver.StreamRequestHandler):
    """Reads a packet, and answers as it is told to."""

    def handle(self):
        first, size, second = struct.unpack("<BHB", self.rfile.read(4))
        body, words = self.rfile.read(size), []
        while body:
            (length,) = struct.unpack_from("<H", body)
            words.append(body[2 : 2 + length].decode())
            body = body[2 + length :]
        pairs = dict(zip(words[::2], words[1::2], strict=True))
        self.server.seen.append(((first, second), pairs))
        self.wfile.write(self.server.answer)


@pytest.fixture
def server(tmp_path):
    with Server(str(tmp_path / "web.sock"), Handler) as server:
        server.answer, server.seen = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nfine", []
        server.path = tmp_path / "web.sock"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_command_line():
    app = {**APP, "max_requests": 1000, "options": ["--static-map=/x=@{path.project}/x"]}
    assert django_uwsgi.argv(app, "shop.wsgi:application", NAMES, "nginx") == [
        "/srv/django/shop/venvs/v/bin/uwsgi",
        "--strict",
        "--master",
        "--no-orphans",
        "--die-on-term",
        "--hook-master-start=unix_signal:15 gracefully_kill_them_all",
        "--reload-mercy=20",
        "--worker-reload-mercy=20",
        "--uwsgi-socket=/run/django/shop/web-i.sock",
        "--chmod-socket=660",
        "--listen=1024",
        "--buffer-size=32768",
        "--chdir=/srv/django/shop/releases/r/source",
        "--pythonpath=/srv/django/shop/releases/r/source",
        "--single-interpreter",
        "--need-app",
        "--enable-threads",
        "--workers=5",
        "--threads=2",
        "--disable-logging",
        "--harakiri=30",
        "--max-requests=1000",
        "--max-requests-delta=100",
        "--lazy-apps",
        "--static-map=/x=/srv/django/shop/releases/r/source/x",
        "--module=shop.wsgi:application",
    ]


def test_no_timeout_and_a_project_that_is_loaded_once():
    app = {**APP, "timeout": 0, "preload": True}
    words = django_uwsgi.argv(app, "shop.wsgi:app", NAMES, "nginx")
    assert not [word for word in words if word.startswith(("--harakiri", "--lazy", "--max"))]


@pytest.mark.parametrize("limit, wanted", [("128\n", 128), ("4096\n", 1024), (None, 1024)])
def test_no_more_may_wait_than_the_kernel_lets(tmp_path, monkeypatch, limit, wanted):
    """uWSGI does not start otherwise."""
    if limit:
        (tmp_path / "somaxconn").write_text(limit)
    monkeypatch.setattr(django_uwsgi, "SOMAXCONN", tmp_path / "somaxconn")
    assert f"--listen={wanted}" in django_uwsgi.argv(APP, "shop.wsgi:application", NAMES, "nginx")


def test_behind_apache_it_speaks_http():
    words = django_uwsgi.argv(APP, "shop.wsgi:application", NAMES, "apache")
    assert "--http-socket=/run/django/shop/web-i.sock" in words
    assert "--route-run=addvar:REMOTE_ADDR=${HTTP_X_FORWARDED_FOR}" in words
    assert not django_uwsgi.is_spoken({"command": words})


def test_process_is_known_to_speak_it():
    project = {
        "web": {"server": "nginx"},
        "static_only": False,
        "name": "shop",
        "user": "shop",
        "app": {**APP, "server": "uwsgi", "module": "shop.wsgi", "environment": {}},
        "processes": {},
        "timers": {},
    }
    names = {**NAMES, "path.log": "/var/log/django/shop"}
    web = django_process.definitions(project, {}, names, "/i")["web"]
    assert web["command"][-1] == "--module=shop.wsgi:application"
    assert (web["stopsignal"], web["stopwaitsecs"]) == ("TERM", 25)
    assert django_uwsgi.is_spoken(web)
    assert not django_uwsgi.is_spoken({"command": ["gunicorn", "--bind=unix:/x"]})
    assert not django_uwsgi.is_spoken({})


def test_packet():
    assert django_uwsgi.packet({"A": "bé"}) == b"\0\x08\0\0\x01\0A\x03\0b\xc3\xa9"
    with pytest.raises(ValueError, match="70004 bytes"):
        django_uwsgi.packet({"": "x" * 70_000})


def test_health_is_asked_as_through_the_front_door(server):
    assert django_health.ask(server.path, HEALTH) is None
    modifiers, told = server.seen[0]
    assert modifiers == (0, 0)
    assert (told["REQUEST_METHOD"], told["REQUEST_URI"]) == ("GET", "/healthz/?deep=1")
    assert (told["PATH_INFO"], told["QUERY_STRING"]) == ("/healthz/", "deep=1")
    assert told["HTTP_HOST"] == told["SERVER_NAME"] == "shop.org"
    assert told["HTTP_X_FORWARDED_PROTO"] == told["UWSGI_SCHEME"] == "https"
    assert told["HTTP_X_REAL_IP"] == told["REMOTE_ADDR"] == "127.0.0.1"


def test_wrong_status_is_told(server):
    server.answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    assert "answered 400, expected 200 (does ALLOWED_HOSTS" in django_health.ask(
        server.path, HEALTH
    )


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\0", b"Hello\r\n\r\n"])
def test_no_answer(server, answer):
    server.answer = answer
    assert django_health.ask(server.path, HEALTH).startswith(f"no answer on {server.path}")


def test_nobody_listens(tmp_path):
    reason = django_health.wait(tmp_path / "none.sock", {**HEALTH, "timeout": 0})
    assert reason.startswith("no answer") and reason.endswith("(waited 0 s)")
