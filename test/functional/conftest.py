"""What functional tests share: a real Salt loader over this checkout, without daemons."""

import logging
import pathlib

import pytest
import salt.config
import yaml
from saltfactories.utils.functional import Loaders

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
