"""Health checks over a Unix socket, against a real server."""

import http.server
import socketserver
import threading
import time

import django_health
import pytest

HEALTH = {
    "path": "/healthz/",
    "host": "shop.org",
    "scheme": "https",
    "status": [200],
    "timeout": 2,
    "protocol": "http",
}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        status = (
            self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        )
        self.send_response(status)
        self.end_headers()

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        """Nothing is logged."""


@pytest.fixture
def server(tmp_path):
    with Server(str(tmp_path / "web.sock"), Handler) as server:
        server.answers, server.seen, server.path = [200], [], tmp_path / "web.sock"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_request_looks_like_one_through_the_front_door(server):
    assert django_health.ask(server.path, HEALTH) is None
    path, headers = server.seen[0]
    assert path == "/healthz/"
    assert headers["Host"] == "shop.org"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["X-Real-IP"] == "127.0.0.1"


def test_wrong_status_is_told(server):
    server.answers = [400]
    assert django_health.ask(server.path, HEALTH) == (
        "GET /healthz/ with Host shop.org answered 400, expected 200"
        " (does ALLOWED_HOSTS in the settings have it?)"
    )


def test_redirect_is_not_followed_and_may_be_healthy(server):
    server.answers = [301]
    assert django_health.ask(server.path, {**HEALTH, "status": [200, 301]}) is None


def test_socket_that_is_not_there_is_told(tmp_path):
    path = tmp_path / "none.sock"
    assert f"no answer on {path}" in django_health.ask(path, HEALTH)


def test_waits_until_healthy(server):
    server.answers = [503, 503, 200]
    assert django_health.wait(server.path, HEALTH) is None
    assert len(server.seen) == 3


def test_gives_up_after_its_time(server):
    server.answers = [503]
    start = time.monotonic()
    reason = django_health.wait(server.path, {**HEALTH, "timeout": 0.5})
    assert "answered 503, expected 200 (waited 0.5 s)" in reason
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("status", [400, 404])
def test_an_answer_that_does_not_change_is_not_waited_for_all_the_time(server, monkeypatch, status):
    monkeypatch.setattr(django_health, "SETTLED_SECONDS", 0.5)
    server.answers = [503, 503, status]
    start = time.monotonic()
    reason = django_health.wait(server.path, {**HEALTH, "timeout": 60})
    assert f"answered {status}, expected 200" in reason and "(waited " in reason
    assert 0.5 <= time.monotonic() - start < 30
    server.answers = [status, status, 503, 200]
    assert django_health.wait(server.path, {**HEALTH, "timeout": 60}) is None


def test_does_not_wait_for_the_dead(tmp_path):
    start = time.monotonic()
    reason = django_health.wait(tmp_path / "none.sock", HEALTH, alive=lambda: "it ended")
    assert reason == "it ended"
    assert time.monotonic() - start < 1
