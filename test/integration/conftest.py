"""What integration tests share: hosts started from frozen images, and who runs where."""

import pytest
from xdist.scheduler import LoadScopeScheduling

from test import proven
from test.hosts import boot

from .machines import SITE, ensure
from .server import Browser, Server, put_checkout

SEVERAL_HOSTS = (  # one for each parameter
    "test_faults.py",
    "test_first_run.py",
    "test_killed.py",
    "test_load.py",
    "test_matrix.py",
    "test_rollback.py",
)


class ByHost(LoadScopeScheduling):
    """Tests that share a host run on one worker: those of a file, or of a kind in such a file."""

    def _split_scope(self, nodeid):
        file, _, test = nodeid.partition("::")
        return f"{file} {test.rpartition('[')[2]}" if file.endswith(SEVERAL_HOSTS) else file


def pytest_xdist_make_scheduler(config, log):
    """Called by pytest-xdist once, where tests run in parallel."""
    return ByHost(config, log)


def pytest_collection_modifyitems(items):
    """Called by pytest once; what each test proves is kept in the report."""
    for item in items:
        item.user_properties += map(proven.property_of, item.iter_markers(proven.MARKER))


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
