"""The example site by ASGI, with websockets of Channels: releases while they are open."""

import threading
import time

import pytest

from test.hosts import boot

from .crowd import Crowd
from .guestbook import INDEX, SOURCE, change, develop
from .machines import SITE, ensure
from .server import Server, put_checkout, wait_for
from .websocket import Refused, Websocket

RELEASES = 5
REQUESTS = 1_000
GRACEFUL = 25  # seconds that an open websocket stays in its old release
PATH = "/ws/echo/"
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.proves(
        "application server",
        "ASGI under Gunicorn and uvicorn",
        "five releases and two ways back under load drop no request; open websockets end in their "
        "old release",
        on=["Debian 12"],
    ),
]
PILLAR = f"""\
django:
  projects:
    guestbook:
      source: {{path: {SOURCE}}}
      settings: config.settings
      app: {{asgi: true, workers: 2, graceful_timeout: {GRACEFUL}s}}
      web: {{websocket: true}}
      health: {{path: /healthz/}}
      env: {{DJANGO_TEST_ENDPOINTS: '1'}}
"""
ASGI = '''\
"""Pages by Django, websockets by Channels."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
pages = get_asgi_application()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings
from django.urls import path


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data=f"{settings.RELEASE_ID} {text_data}")


sockets = URLRouter([path("ws/echo/", Echo.as_asgi())])
application = ProtocolTypeRouter(
    {"http": pages, "websocket": AllowedHostsOriginValidator(sockets)}
)
'''


class Talk(threading.Thread):
    """Someone who says something twice a second over one websocket, until it is closed or done."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.websocket = Websocket(address, PATH)
        self.answers, self.last, self.problem = [], None, None
        self.done = threading.Event()
        self.start()

    def finish_after(self, moment):
        """Be done once there was an answer after a moment, or the websocket was closed."""
        wait_for(lambda: not self.is_alive() or self.last > moment)
        self.done.set()
        self.join(60)

    def run(self):
        """Talk."""
        end = time.monotonic() + 300
        try:
            while time.monotonic() < end:
                answer = self.websocket.ask("hello")
                if answer is None:
                    return
                self.answers.append(answer)
                self.last = time.monotonic()
                if self.done.wait(0.5):
                    self.websocket.end()
                    return
        except (OSError, ValueError) as error:
            self.problem = repr(error)


def web_programs(server):
    """Programs of web processes that supervisord knows, in whatever state."""
    lines = server.run("supervisorctl status", check=False).stdout.splitlines()
    return [line.split()[0] for line in lines if line.startswith("guestbook.web.")]


def ask(server, text="hello"):
    """What a new websocket answers."""
    websocket = Websocket(server.host.address, PATH)
    try:
        return websocket.ask(text)
    finally:
        websocket.end()


@pytest.fixture(scope="module")
def server():
    """The example site, taken from WSGI to ASGI by its pillar, and with a consumer of Channels."""
    with boot("int-asgi", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        host.write(f"{SOURCE}/config/asgi.py", ASGI)
        requirements = host.read(f"{SOURCE}/requirements.txt")
        host.write(f"{SOURCE}/requirements.txt", f"{requirements}channels==4.3.2\n")
        server.pillar(PILLAR)
        server.apply()
        yield server


@pytest.fixture(scope="module")
def seen(server, tmp_path_factory):
    """What visitors saw of releases and two ways back, and what became of websockets."""
    found = {"new": []}
    with Crowd(server, tmp_path_factory.mktemp("load"), REQUESTS, leisure=10) as crowd:
        deployed = [server.live()[0]]
        talk = Talk(server.host.address)
        for number in range(1, RELEASES + 1):
            before = "It works." if number == 1 else f"Release {number - 1}."
            change(server, INDEX, before, f"Release {number}.")
            server.apply()
            if number == 1:
                found["switched"] = time.monotonic()
                found["leaving"] = web_programs(server)
            deployed.append(server.live()[0])
            found["new"].append(ask(server))
        talk.join(GRACEFUL + 60)
        talks = {deployed[-1]: Talk(server.host.address)}
        change(server, INDEX, f"Release {RELEASES}.", "Release 6.")
        server.apply()
        sixth = server.live()[0]
        talks[sixth] = Talk(server.host.address)
        change(server, INDEX, "Release 6.", f"Release {RELEASES}.")
        server.apply()
        found["back"] = [ask(server)]
        server.call("django.rollback", "guestbook")
        found["back"].append(ask(server))
        found["returned"] = time.monotonic()
        for other in talks.values():
            other.finish_after(found["returned"])
    return {**found, "crowd": crowd, "deployed": deployed, "talk": talk, "talks": talks}


def test_no_request_is_dropped(seen):
    seen["crowd"].assert_all_served()
    assert len(set(seen["deployed"])) == RELEASES + 1


def test_an_open_websocket_stays_in_its_release_for_a_while(seen):
    talk, first = seen["talk"], seen["deployed"][0]
    assert set(talk.answers) == {f"{first} hello"}
    assert talk.last > seen["switched"], "it went on when the run had ended"
    assert any(seen["deployed"][0] in name for name in seen["leaving"])
    assert talk.last < seen["switched"] + GRACEFUL + 30


def test_it_is_closed_with_a_code_then(seen):
    """1012, Service Restart: a client knows that it may connect again at once."""
    assert (seen["talk"].problem, seen["talk"].websocket.closed) == (None, 1012)


def test_a_new_websocket_reaches_the_new_release(seen):
    assert seen["new"] == [f"{release} hello" for release in seen["deployed"][1:]]
    assert seen["back"] == [f"{release} hello" for release in seen["talks"]], "on a way back, too"


def test_strangers_are_refused(server):
    with pytest.raises(Refused):
        Websocket(server.host.address, "/static/")


def test_a_way_back_cuts_no_websocket_that_is_still_open(seen):
    """Not even one in the release that is gone back to: another one like it serves beside."""
    for release, talk in seen["talks"].items():
        assert (talk.problem, set(talk.answers)) == (None, {f"{release} hello"})
        # On a machine that is busy, its time may have been up: then it was closed, and not cut off.
        assert talk.last > seen["returned"] or talk.websocket.closed == 1012


def test_nothing_is_left_to_do(server, seen):
    """What had websockets to wait for is forgotten once they are closed."""
    end = time.monotonic() + GRACEFUL + 60
    while len(web_programs(server)) > 1 and time.monotonic() < end:
        time.sleep(1)
        server.apply()
    assert len(web_programs(server)) == 1
    server.assert_settled()
    assert len(server.host.pids("bin/gunicorn --config")) == 3, "Gunicorn and its two workers"
    listeners = server.run("ss -Hltnp").stdout
    assert "gunicorn" not in listeners, "only a Unix socket"
