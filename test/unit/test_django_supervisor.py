"""The daemon and the transport to it, without a daemon."""

import pathlib
import socket
import threading
import xmlrpc.client

import django_supervisor
import django_supervisor_ini
import pytest
from processes import info
from supervisor.options import ServerOptions, UnhosedConfigParser


class TestRefusal:
    @pytest.mark.parametrize(
        "broken",
        [
            'environment = A="hunter2',
            "environment = A=hunter2,B",
            'environment = A="hunter2",B="%(nope)s"',
        ],
    )
    def test_a_refusal_of_supervisord_hides_environments(self, broken):
        parser = UnhosedConfigParser()
        parser.read_string(f"[program:web]\ncommand = x\n{broken}\n")
        with pytest.raises(ValueError) as caught:
            ServerOptions().processes_from_section(parser, "program:web", "web")
        assert "hunter2" not in django_supervisor._scrub(f"CANT_REREAD: {caught.value}")

    def test_a_line_that_cannot_be_parsed_is_hidden(self):
        for text in ("hunter2", "[x]\nhunter2"):
            with pytest.raises(Exception) as caught:
                UnhosedConfigParser().read_string(text)
            assert "hunter2" not in django_supervisor._scrub(str(caught.value))


class FakeClient:
    """Answers from a script of process tables; the last one stays."""

    def __init__(self, *tables, **answers):
        self.tables = list(tables)
        self.answers = answers
        self.calls = []

    def call(self, method, *params):
        method = method.removeprefix("supervisor.")
        self.calls.append((method, *params))
        if method == "getAllProcessInfo":
            return self.tables.pop(0) if len(self.tables) > 1 else self.tables[0]
        answer = self.answers.get(method, {"getAllConfigInfo": [], "readLog": ""}.get(method, True))
        if isinstance(answer, Exception):
            raise answer
        return answer


def daemon(*tables, **answers):
    client = FakeClient(*tables, **answers)
    return django_supervisor.Daemon(django_supervisor_ini.Settings(), client), client


class TestDaemon:
    def test_dead_that_cannot_fail(self):
        stubborn, client = daemon([info("web")], [info("web", "STOPPING")])
        with pytest.raises(
            django_supervisor.Failed, match=r"Not stopped after 0.1 s: web is STOPPING"
        ):
            stubborn.stop(["web"], timeout=0.1)
        assert client.calls.count(("stopProcess", "web", False)) == 1

    def test_fatal_right_after_start_is_told(self):
        log = "2026-01-01 WARN exited: web (exit status 3; not expected)\n"
        fatal = info("web", "FATAL", spawnerr="Exited too quickly", stderr_logfile="")
        broken, _ = daemon(
            [info("web", "STARTING")], [{**fatal, "stdout_logfile": ""}], readLog=log
        )
        with pytest.raises(django_supervisor.Failed) as caught:
            broken.wait_running(["web"])
        assert str(caught.value) == "web is FATAL: Exited too quickly: exit status 3"

    def test_retries_are_waited_for(self):
        slow, _ = daemon([info("web", "STARTING")], [info("web", "BACKOFF")], [info("web")])
        slow.wait_running(["web"])

    def test_a_process_that_vanished(self):
        gone, _ = daemon([])
        with pytest.raises(django_supervisor.Failed, match="not in supervisord any more"):
            gone.wait_running(["web"])

    def test_a_stopping_process_is_not_started_before_it_ended(self):
        busy, client = daemon([info("web", "STOPPING")], [info("web", "STOPPED")])
        busy.request_start(["web"])
        assert [call[0] for call in client.calls] == [
            "getAllProcessInfo",
            "getAllProcessInfo",
            "startProcess",
        ]

    def test_a_refused_start(self):
        refused = django_supervisor.Fault(20, "NO_FILE: can't find command 'x'")
        broken, _ = daemon([info("web", "STOPPED")], startProcess=refused)
        with pytest.raises(django_supervisor.Failed, match="can't find command"):
            broken.request_start(["web"])

    def test_output_that_is_no_text(self, tmp_path):
        log = tmp_path / "log"
        log.write_bytes(b"x\n" * 5000 + b"caf\xe9 \x1b[31m\nlast\n")
        found, _ = daemon([])
        path, text = found.tail(info("web", stderr_logfile=str(log), stdout_logfile=""), lines=2)
        assert (path, text) == (str(log), "caf\ufffd \x1b[31m\nlast")


def serve_once(server, answer):
    """Answer one request on a listening socket; returns the list that its bytes go to."""
    seen = []

    def run():
        connection, _ = server.accept()
        with connection:
            data = b""
            while b"</methodCall>" not in data:
                data += connection.recv(65536)
            seen.append(data)
            connection.sendall(answer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return seen, thread


def http_answer(body, status="200 OK"):
    body = body.encode()
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class TestClient:
    def test_over_tcp_with_a_password(self):
        with socket.create_server(("127.0.0.1", 0)) as server:
            answer = xmlrpc.client.dumps(("4.3.0",), methodresponse=True)
            seen, thread = serve_once(server, http_answer(answer))
            url = f"http://127.0.0.1:{server.getsockname()[1]}"
            client = django_supervisor.Client(url, "ann", "pass", timeout=5)
            assert client.call("supervisor.getSupervisorVersion") == "4.3.0"
            thread.join()
        assert b"Authorization: Basic YW5uOnBhc3M=" in seen[0]

    @pytest.mark.parametrize(
        ("answer", "error", "message"),
        [
            (
                http_answer("", "401 Unauthorized"),
                django_supervisor.Unreachable,
                "wants a username",
            ),
            (http_answer("", "500 Error"), django_supervisor.Unreachable, "500 Error"),
            (http_answer("garbage"), django_supervisor_ini.SupervisorError, "unreadable answer"),
            (b"", django_supervisor.Unreachable, "does not answer"),
            (
                http_answer(xmlrpc.client.dumps(xmlrpc.client.Fault(10, "BAD_NAME: x"))),
                django_supervisor.Fault,
                "BAD_NAME: x",
            ),
        ],
    )
    def test_failures(self, tmp_path, answer, error, message):
        path = str(tmp_path / "s.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            serve_once(server, answer)
            with pytest.raises(error, match=message):
                django_supervisor.Client(f"unix://{path}", timeout=5).call("supervisor.getState")

    def test_nothing_there(self, tmp_path):
        path = tmp_path / "s.sock"
        with pytest.raises(django_supervisor.Unreachable) as caught:
            django_supervisor.Client(f"unix://{path}").call("supervisor.getState")
        assert caught.value.down
        assert str(path) in str(caught.value)
        assert "start supervisord" in str(caught.value)

    def test_a_daemon_that_hangs(self, tmp_path):
        path = str(tmp_path / "s.sock")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            server.listen()
            with pytest.raises(django_supervisor.Unreachable) as caught:
                django_supervisor.Client(f"unix://{path}", timeout=0.1).call("supervisor.getState")
        assert not caught.value.down

    def test_address_of_another_kind(self):
        with pytest.raises(django_supervisor_ini.SupervisorError, match="expected unix:///path"):
            django_supervisor.Client("https://x").call("supervisor.getState")

    def test_a_fault_among_several_calls(self, monkeypatch):
        client = django_supervisor.Client("unix:///x")
        answers = [1, {"faultCode": 92, "faultString": "CANT_REREAD: x"}]
        monkeypatch.setattr(client, "call", lambda *_: answers)
        first, second = client.together(("a",), ("b",))
        assert first == 1
        assert second.kind == "CANT_REREAD"


def test_no_salt_in_the_library():
    for path in pathlib.Path(django_supervisor.__file__).parent.glob("django_supervisor*.py"):
        source = path.read_text()
        assert "import salt" not in source
        assert "__salt__" not in source
