"""The machine that the hosts run on: its tools, and commands run on it."""

import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Sequence

from . import store

TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nft": "nftables",
    "nmap": "nmap",  # to look at hosts from outside
    "nsenter": "util-linux",
}

# Each host's systemd takes some of these, of which the kernel has 128 for root by default.
INOTIFY = pathlib.Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 1024


class HostError(Exception):
    """The harness itself failed: a host that does not boot, an image that does not build."""


def command(*argv: str, input: str | None = None, timeout: float = 600) -> str:
    """Run a command on the builder and return what it prints.

    Raises HostError with the command's error output when it fails.
    """
    done = subprocess.run(argv, input=input, capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-40:])
        raise HostError(f"{' '.join(argv)} failed with status {done.returncode}:\n{tail}")
    return done.stdout


def attempt(*argv: str) -> bool:
    """Run a command on the builder whose failure is of no concern; True when it succeeded."""
    return subprocess.run(argv, capture_output=True).returncode == 0


def missing_packages(tools: dict[str, str] = TOOLS) -> Sequence[str]:
    """Debian packages of the tools that the builder lacks."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return sorted({package for tool, package in tools.items() if not shutil.which(tool, path=path)})


def prepare() -> None:
    """Make room for hosts and install what they need. Raises HostError when not run by root."""
    if os.geteuid():
        raise HostError("test hosts need root: namespaces, mounts and a network bridge")
    with store.lock("builder"):  # images are made side by side, apt works for one at a time
        if int(INOTIFY.read_text()) < INOTIFY_INSTANCES:
            INOTIFY.write_text(str(INOTIFY_INSTANCES))
        install_missing()


def install_missing() -> None:
    """Install the packages of the tools that the builder lacks."""
    install(*missing_packages())


def install(*packages: str, patience: float = 300) -> None:
    """Install Debian packages; without systemd their services are not started.

    Waits up to `patience` seconds for another apt to end. Raises HostError when it fails.
    """
    if packages:
        apt("update", patience=patience)
        apt("install", "--no-install-recommends", *packages, patience=patience)


def apt(*words: str, patience: float) -> None:
    """Run apt-get, waiting up to `patience` seconds for another one, also for its lists."""
    # In run level 1 packages do not start their servers.
    settings = ("env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "LC_ALL=C")
    deadline = time.monotonic() + patience
    while True:
        try:
            command(*settings, "apt-get", "-qy", "-o", "DPkg::Lock::Timeout=60", *words)
            return
        except HostError as error:
            if "Could not get lock" not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(1)
