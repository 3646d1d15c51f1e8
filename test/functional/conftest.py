"""What functional tests share: a real Salt loader over this checkout, without daemons."""

import logging
import pathlib
import shutil

import django_supervisor
import pytest
import salt.config
import yaml
from saltfactories.utils.functional import Loaders
from supervisors import Supervisord

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def minion_opts(tmp_path_factory):
    """Options of a masterless minion that takes modules and states from this checkout."""
    root = tmp_path_factory.mktemp("minion")
    config = root / "minion"
    config.write_text(
        yaml.safe_dump(
            {
                "id": "test",
                "root_dir": str(root),
                "log_level": "error",
                "file_client": "local",
                "file_roots": {"base": [str(ROOT / "salt"), str(ROOT)]},
                "pillar_roots": {"base": [str(root / "pillar")]},
                # Not the checkout itself: its folder "test" would hide Salt's module of that name.
                "module_dirs": [str(ROOT / "_modules")],
                "states_dirs": [str(ROOT / "_states")],
                "utils_dirs": [str(ROOT / "_utils")],
                "fileserver_list_cache_time": 60,
                "autoload_dynamic_modules": False,
                "lazy_loader_strict_matching": True,
                "enable_gpu_grains": False,
            }
        )
    )
    return salt.config.minion_config(str(config))


@pytest.fixture(scope="session")
def loaders(minion_opts):
    """Loaded once, because that takes seconds."""
    # Salt traces every look-up; collecting that takes a third of the time of a run.
    logging.getLogger("salt").setLevel(logging.INFO)
    made = Loaders(minion_opts)
    # Loading has listed the checkout for each kind of module; what tests write is seen at once.
    made.opts["fileserver_list_cache_time"] = 0
    # As Salt notes once it has looked for changes in the file roots; it would for each state.
    made.opts["__fs_update"] = True
    return made


@pytest.fixture
def modules(loaders):
    """Execution modules, with nothing remembered from another test."""
    loaders.context.clear()
    return loaders.modules


@pytest.fixture
def states(loaders):
    """States, run through ``state.single``."""
    loaders.context.clear()
    return loaders.states


@pytest.fixture(scope="module")
def server(loaders):
    made = Supervisord(loaders.modules)
    yield made
    made.stop()
    shutil.rmtree(made.folder)


@pytest.fixture
def supervisord(server, modules, monkeypatch):
    monkeypatch.setattr(django_supervisor, "QUIET_SECONDS", 0.05)
    yield server
    server.clear()


@pytest.fixture
def call(supervisord):
    """Execution functions."""
    return supervisord.call


@pytest.fixture
def state(supervisord, states):
    """Function that applies one state."""

    def apply(function, **arguments):
        found = states[f"supervisord.{function}"](**arguments, **supervisord.where)
        assert found.comment
        return found

    return apply


@pytest.fixture
def prove(state):
    """Apply a state that changes something: test mode says the same, and again nothing changes."""

    def apply(function, **arguments):
        predicted = state(function, **arguments, test=True)
        real = state(function, **arguments)
        assert real.result is True, real.comment
        assert predicted.result is None, predicted.comment
        assert predicted.changes == real.changes
        assert real.changes
        again = state(function, **arguments)
        assert again.result is True, again.comment
        assert again.changes == {}
        return real

    return apply


@pytest.fixture
def fails(state):
    """Apply a state that cannot succeed; what it says."""

    def apply(function, **arguments):
        real = state(function, **arguments)
        assert real.result is False
        return real

    return apply


def pytest_sessionfinish():
    """Salt's log handlers outlive pytest's captured streams; that is nothing to be told of."""
    logging.raiseExceptions = False
