"""Images: what a host's disk starts from.

An image is a stack of layers: `bookworm` and `trixie` are one layer each, an image that was frozen
from a host is the host's own changes upon the layers below. Layers are never changed once made.
"""

import contextlib
import hashlib
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from . import registries, store
from .builder import HostError, command

BASES = ("bookworm", "trixie")
PACKAGES = (
    "ca-certificates",
    "dbus",
    "git",
    "iproute2",
    "iputils-ping",
    "netbase",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
)
RECIPE = 1  # raise it when make_base changes what it leaves behind


def load(name: str) -> dict:
    """The record of an image: name, key, layers from the top. Raises HostError without one."""
    record = store.load(store.image_path(name))
    if not record:
        known = sorted({*BASES, *(image["name"] for image in store.records(store.IMAGES))})
        raise HostError(f"there is no image {name}: known are {', '.join(known)}")
    return record


def is_current(name: str, key: str, below: list[str]) -> bool:
    """Whether the image exists with this key, upon these layers."""
    record = store.load(store.image_path(name))
    return bool(record) and record["key"] == key and record["layers"][1:] == below


@contextlib.contextmanager
def new_layer(name: str, key: str, below: list[str]) -> Iterator[Path]:
    """Make an image: yields the path that its top layer is to be put at, then publishes it.

    Where the body fails nothing is left, and an older image of that name stays. Call with the
    image's lock held.
    """
    store.LAYERS.mkdir(parents=True, exist_ok=True)
    for leftover in store.LAYERS.glob(f"{name}@*.partial"):
        shutil.rmtree(leftover)
    layer = f"{name}@{uuid.uuid4().hex[:8]}"
    partial = store.LAYERS / f"{layer}.partial"
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    with store.lock():
        partial.rename(store.LAYERS / layer)
        record = {"name": name, "key": key, "layers": [layer, *below]}
        store.save(store.image_path(name), record)
        store.discard_unused_layers()


def discard(name: str) -> None:
    """Delete an image, and those of its layers that nothing else stands on."""
    with store.lock():
        store.image_path(name).unlink(missing_ok=True)
        store.discard_unused_layers()


def base_key(suite: str) -> str:
    """Changes whenever the base image of a suite would be made differently."""
    parts = (str(RECIPE), *PACKAGES, registries.fingerprint(suite))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def ensure_base(suite: str) -> None:
    """Make the base image of a suite unless it is there; takes half a minute."""
    key = base_key(suite)
    with store.lock(f"image-{suite}"):
        if is_current(suite, key, below=[]):
            return
        with new_layer(suite, key, below=[]) as root:
            make_base(suite, root)


def make_base(suite: str, root: Path) -> None:
    """Install a bare server of a suite into a new directory."""
    sources = store.CACHE / f"{suite}.sources"
    options = store.CACHE / f"{suite}.apt.conf"
    sources.write_text(registries.apt_sources(suite))
    options.write_text(registries.apt_options())
    command(
        "mmdebstrap",
        "--variant=minbase",
        f"--aptopt={options}",
        f"--include={','.join(PACKAGES)}",
        suite,
        str(root),
        str(sources),
        timeout=1800,
    )
    (root / f"etc/apt/sources.list.d/0000{sources.name}").unlink()
    (root / "etc/apt/apt.conf.d/99mmdebstrap").unlink(missing_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    registries.install(root, suite)
    forget_identity(root)


def forget_identity(layer: Path) -> None:
    """Make hosts of one image different machines: each is given its machine id when it boots."""
    (layer / "etc").mkdir(exist_ok=True)
    (layer / "etc/machine-id").unlink(missing_ok=True)
    (layer / "etc/machine-id").write_text("")


def freeze(name: str, key: str, upper: Path, below: list[str]) -> None:
    """Make an image of a host's own layer, which it moves away, and the layers below it."""
    with new_layer(name, key, below) as layer:
        command("mv", str(upper), str(layer))
        forget_identity(layer)
