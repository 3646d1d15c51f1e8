"""Real test hosts: fresh Debian machines with their own init, address and disk.

Each host is a systemd-nspawn container on an overlay file system, so that it starts in seconds,
and it is meant to be a bare server: no compiler, no pip, no curl. Needs root on Debian.

    from test.hosts import boot

    with boot("web1", image="bookworm") as host:
        host.run("apt-get update")
        assert host.get("/").status == 200
"""

from .builder import HostError
from .host import CommandFailed, Host, Response, Result, boot, find, image

__all__ = [
    "CommandFailed",
    "Host",
    "HostError",
    "Response",
    "Result",
    "boot",
    "find",
    "image",
]
