"""Ten releases and three rollbacks under load, by each process manager: not one request fails."""

import pytest

from test.hosts import boot

from .crowd import Crowd
from .guestbook import INDEX, SOURCE, change, develop
from .machines import SITE, ensure
from .server import Server, put_checkout

RELEASES = 10
ROLLBACKS_AFTER = (3, 6, 9)
REQUESTS = 50_000
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.proves(
        "application server",
        "Gunicorn behind Nginx",
        "ten releases and three rollbacks under load by each process manager, no request dropped",
        on=["Debian 12"],
    ),
]
PILLAR = """\
django:
  process_manager: %s
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
"""


@pytest.fixture(scope="module", params=["supervisord", "systemd"])
def server(request):
    """The example site under a process manager, with its source in a folder."""
    with boot(f"int-load-{request.param}", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        server.pillar(PILLAR % (request.param, SOURCE))
        server.apply()
        yield server


@pytest.fixture(scope="module")
def seen(server, tmp_path_factory):
    """What visitors saw of ten releases and three rollbacks."""
    with Crowd(server, tmp_path_factory.mktemp("load"), REQUESTS) as crowd:
        deployed = [server.live()[0]]
        for number in range(1, RELEASES + 1):
            before = "It works." if number == 1 else f"Release {number - 1}."
            change(server, INDEX, before, f"Release {number}.")
            server.apply()
            deployed.append(server.live()[0])
            if number in ROLLBACKS_AFTER:
                server.call("django.rollback", "guestbook")
                assert server.live()[0] == deployed[-2]
    return {**crowd.report, "crowd": crowd, "deployed": deployed}


def test_enough_was_asked(seen):
    assert len(set(seen["deployed"])) == RELEASES + 1
    assert seen["kinds"]["post"][0] > 100
    assert seen["kinds"]["slow"][0] > 50


def test_every_request_was_served_once_by_one_release(seen):
    seen["crowd"].assert_all_served()
    assert seen["reopened"] == 0, "nor is a connection closed"
    assert set(seen["releases"]) <= set(seen["deployed"])
    assert len(seen["releases"]) > RELEASES / 2
