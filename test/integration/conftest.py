"""What integration tests share: hosts started from frozen images, and who runs where."""

import pytest

from test.hosts import boot

from .machines import SITE, ensure
from .server import Browser, Server, put_checkout


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Tests of one file share a host, so they run on one worker, unless they say otherwise."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def site(request):
    """The example site, as ./bootstrap left it, after a reboot."""
    name = "int-" + request.module.__name__.rpartition("test_")[2].replace("_", "-")
    with boot(name, image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        server.apply()  # it has a name and an address of its own now
        yield server


@pytest.fixture
def browser(site):
    """A visitor of the example site."""
    return Browser(site.host)
