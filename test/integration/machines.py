"""
Images of test hosts that are frozen after slow steps, so that tests start where it matters.

``bookworm-ready`` and ``trixie-ready``: a bare server with the Salt of ./bootstrap and Debian's
packages downloaded. ``bookworm-nfs``: the first with a mount.nfs4 that the kernel need not know of.
``bookworm-site``: the example site, as ./bootstrap without a pillar leaves it.
"""

import concurrent.futures
import datetime
import hashlib
import sys
import time

import yaml

from test.hosts import image, remove_orphans

from .server import CHECKOUT, ROOT, put_checkout, repository_files

SITE, NFS = "bookworm-site", "bookworm-nfs"
SUITES = {"bookworm": "Debian-12", "trixie": "Debian-13"}
MOUNT_NFS = "test/integration/mount_nfs4.py"
PARAMETERS = ROOT / "salt/django/parameters/os"
# What a server has on it: a change to anything else needs no new image.
DEPLOYED = ("bootstrap", "_modules/", "_states/", "_utils/", "salt/", "examples/")


def digest(names):
    """A key that changes with the content of files, and every day: package lists grow old."""
    total = hashlib.sha256(datetime.date.today().isoformat().encode())
    for name in names:
        total.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return total.hexdigest()[:16]


def packages(suite):
    """Debian packages that the stack needs."""
    common = yaml.safe_load((PARAMETERS / "Debian.yaml").read_text())["packages"]
    own = yaml.safe_load((PARAMETERS / f"{SUITES[suite]}.yaml").read_text())
    version = own["postgresql"]["version"]
    return sorted({name.format(version=version) for names in common.values() for name in names})


def ready(suite):
    """A bare server with Salt, and with .debs at hand."""

    def build(host):
        put_checkout(host)
        names = " ".join(packages(suite))
        host.run("apt-get update -q", timeout=300)
        host.run(f"apt-get install -qy --no-install-recommends --download-only {names}")
        # Only its Salt is wanted here; whether all else is well, the tests say.
        host.run(f"cd {CHECKOUT} && ./bootstrap --test", check=False)
        host.run("/opt/django-formula/salt/bin/salt-call --version")

    key = digest(
        name
        for name in repository_files()
        if name == "bootstrap" or name.endswith(".lock") or "/parameters/os/" in name
    )
    return image(f"{suite}-ready", base=suite, key=key, build=build)


def nfs():
    """A server with a mount.nfs4 of the tests' own, which stays when nfs-common comes."""

    def build(host):
        host.run("dpkg-divert --quiet --local --rename --add /sbin/mount.nfs4")
        host.put(ROOT / MOUNT_NFS, "/sbin/mount.nfs4")
        host.run("apt-get install -qy --no-install-recommends libnfs13 python3-fuse")

    return image(NFS, base=ready("bookworm"), key=digest([MOUNT_NFS]), build=build)


def site():
    """A server with the example site."""

    def build(host):
        put_checkout(host)
        host.run(f"cd {CHECKOUT} && ./bootstrap", timeout=300)

    key = digest(name for name in repository_files() if name.startswith(DEPLOYED))
    return image(SITE, base=ready("bookworm"), key=key, build=build)


def ensure(name):
    """The image of this name, made unless it is there and current."""
    if name == SITE:
        return site()
    if name == NFS:
        return nfs()
    return ready(name.removesuffix("-ready")) if name.endswith("-ready") else image(name)


def main():
    """Make all images, and say how long each took; hosts that killed runs left are removed."""

    def timed(name):
        start = time.monotonic()
        ensure(name)
        print(f"image {name:<16} {time.monotonic() - start:5.1f} s", flush=True)

    for host_id in remove_orphans():
        print(f"removed {host_id}, left behind by a run that was killed", flush=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(timed, ("trixie-ready", NFS, SITE))) and 0


if __name__ == "__main__":
    sys.exit(main())
