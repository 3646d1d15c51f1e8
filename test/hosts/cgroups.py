"""Control groups: every host has its own, so that equal unit names of two hosts never meet.

They lie beneath the caller's own groups. Inside, a host sees the unified hierarchy, as a Debian
server does. Limits use the version 1 controllers `cpu` and `memory` where the builder has them;
they are enforced, yet /proc in the host still tells the builder's cores and memory.
"""

import contextlib
import time
from pathlib import Path

from .builder import HostError

PERIOD = 100_000


def hierarchies() -> dict[str, Path]:
    """Where each hierarchy is mounted: `unified`, `name=systemd`, `cpu`, `memory`, …"""
    found = {}
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mountpoint, kind, options = line.split()[:4]
        if kind == "cgroup2":
            found["unified"] = Path(mountpoint)
        elif kind == "cgroup":
            found.update(dict.fromkeys(options.split(","), Path(mountpoint)))
    return found


def own_groups() -> dict[str, str]:
    """The path of the caller's group in each hierarchy."""
    groups = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(",") if controllers else ["unified"], path))
    return groups


def create(name: str, cores: float | None, memory: str | None) -> list[str]:
    """Make the groups of a host, with its limits, and return their directories.

    Raises HostError when a limit is asked for that the builder cannot enforce.
    """
    mounted, own = hierarchies(), own_groups()
    wanted = [kind for kind in ("unified", "name=systemd") if kind in mounted]
    wanted += [kind for kind, limit in (("cpu", cores), ("memory", memory)) if limit]
    directories = {}
    for kind in wanted:
        if kind not in mounted:
            raise HostError(f"the builder has no version 1 control group {kind}: no limit possible")
        directories[kind] = mounted[kind] / own[kind].lstrip("/") / f"django-formula-test-{name}"
        directories[kind].mkdir(exist_ok=True)
    if cores:
        (directories["cpu"] / "cpu.cfs_period_us").write_text(str(PERIOD))
        (directories["cpu"] / "cpu.cfs_quota_us").write_text(str(int(cores * PERIOD)))
    if memory:
        (directories["memory"] / "memory.limit_in_bytes").write_text(memory)
    return [str(directory) for directory in directories.values()]


def entry(directories: list[str]) -> str:
    """A shell line that puts the shell itself into those of these groups that exist."""
    move = 'echo $$ >"$group/cgroup.procs" 2>/dev/null'
    return f'for group in {" ".join(directories)}; do [ -d "$group" ] && {move}; done'


def inside(directories: list[str]) -> list[str]:
    """The groups of processes in a host: systemd-nspawn keeps them in `payload` below its own."""
    return [group for directory in directories for group in (directory, f"{directory}/payload")]


def remove(directories: list[str], timeout: float = 5) -> None:
    """Remove the groups, from the innermost; waits, in seconds, for dying processes to leave."""
    deadline = time.monotonic() + timeout
    remaining = [Path(directory) for directory in directories]
    while remaining:
        for top in remaining:
            for directory in sorted(top.rglob("**/"), key=lambda path: -len(path.parts)):
                with contextlib.suppress(OSError):
                    directory.rmdir()
        remaining = [top for top in remaining if top.exists()]
        if time.monotonic() > deadline:
            return
        time.sleep(0.02 if remaining else 0)
