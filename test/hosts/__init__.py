"""Real test hosts: fresh Debian machines with their own init, address and disk.

Each host is a systemd-nspawn container on an overlay file system, so that it starts in seconds,
and it is meant to be a bare server: no compiler, no pip, no curl. Needs root on Debian.

    from test.hosts import boot

    with boot("web1", image="bookworm") as host:
        host.run("apt-get update")
        assert host.run("systemctl is-system-running").stdout == "running\n"

Hosts bear the name of a namespace besides their own, so that test runs side by side may all have a
`web1`: $DJANGO_FORMULA_TEST_NAMESPACE, else one of each process, or `hand` for the command line.
People who share a machine set the variable, since `python3 -m test.hosts destroy --all` removes the
hosts of one's namespace, and those whose process is gone.

A slow step is done once and kept as an image, until its key changes:

    def with_cron(host):
        host.run("apt-get update && apt-get install -y cron")

    boot("web2", image=image("with-cron", base="trixie", key="1", build=with_cron))

Hosts share the builder's kernel: /proc/sys is read-only in them but for the network's part, and
units' own memory and processor limits have no effect.
"""

from .builder import HostError
from .host import CommandFailed, Host, Response, Result, boot, find, image, remove_orphans

__all__ = [
    "CommandFailed",
    "Host",
    "HostError",
    "Response",
    "Result",
    "boot",
    "find",
    "image",
    "remove_orphans",
]
