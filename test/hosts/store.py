"""What is known of hosts and images, kept on disk so that every process sees the same.

A host's record lies in the state directory, gone after the builder's reboot like the host itself;
disks and images lie in the cache directory, which $DJANGO_FORMULA_TEST_CACHE may move.
"""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

STATE = Path("/run/django-formula-test")
CACHE = Path(os.environ.get("DJANGO_FORMULA_TEST_CACHE", "/var/cache/django-formula-test"))
HOSTS = STATE / "hosts"
DISKS = CACHE / "hosts"
IMAGES = CACHE / "images"
LAYERS = CACHE / "layers"


@contextlib.contextmanager
def lock(name: str = "state") -> Iterator[None]:
    """Hold the lock of this name against all other processes and threads; waits for it."""
    directory = STATE / "locks"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def save(path: Path, record: dict) -> None:
    """Write a record so that readers see either the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.rename(path)


def load(path: Path) -> dict | None:
    """The record at this path, None when there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def records(directory: Path) -> list[dict]:
    """All records in a directory, by file name."""
    found = (load(path) for path in sorted(directory.glob("[!.]*.json")))
    return [record for record in found if record]


def host_path(host_id: str) -> Path:
    """Where the record of a host lies."""
    return HOSTS / f"{host_id}.json"


def image_path(name: str) -> Path:
    """Where the record of an image lies."""
    return IMAGES / f"{name}.json"


def disk(host_id: str) -> Path:
    """The directory with a host's overlay: upper, work, root and the console's log."""
    return DISKS / host_id


def discard_unused_layers() -> None:
    """Delete the layers that neither an image nor a host stands on. Call with the lock held."""
    used = {
        layer for directory in (IMAGES, HOSTS) for r in records(directory) for layer in r["layers"]
    }
    for layer in LAYERS.glob("*"):
        if layer.name not in used and layer.suffix != ".partial":
            shutil.rmtree(layer)


def discard_unused_disks() -> None:
    """Delete disks without a host, as a reboot leaves them. Call with the lock held."""
    for directory in DISKS.glob("*"):
        if not host_path(directory.name).exists():
            shutil.rmtree(directory)
