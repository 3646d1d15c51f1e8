"""The processes of a host: systemd-nspawn, and the host's own init as its child."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from . import cgroups, network, store
from .builder import HostError

ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
}
NSPAWN_ENVIRONMENT = {
    "PATH": ENVIRONMENT["PATH"],
    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
    "SYSTEMD_NSPAWN_TMPFS_TMP": "0",
    "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
}
READY = "/run/ready"  # what a host without systemd makes when it is up
SLEEPER = ("sh", "-c", f"trap '' TERM; : >{READY}; exec sleep infinity")
# Without systemd: tell all to end, and wait until only init, the sleeper and this shell are left.
END_ALL = "kill -TERM -1; for _ in $(seq 100); do [ $(pgrep -c .) -le 3 ] && exit; sleep 0.1; done"


def wait_until(what: str, condition: Callable[[], bool], timeout: float) -> None:
    """Wait up to `timeout` seconds for a condition. Raises HostError when it does not come."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise HostError(f"{what}: not within {timeout:g} s")
        time.sleep(0.03)


def started(pid: int) -> str | None:
    """When a process started, in ticks of the builder's clock; None when it is gone or dead.

    With its pid this names one process for good.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else fields[19]


def identity(pid: int) -> list:
    """A process as records keep it: its pid and the time it started."""
    return [pid, started(pid)]


def alive(process: list | None) -> bool:
    """Whether a process, as records keep it, still runs."""
    return bool(process) and process[1] is not None and started(process[0]) == process[1]


def namespaced_child(nspawn: int) -> int | None:
    """The child of systemd-nspawn that is the first process of its namespace, if there yet."""
    try:
        children = Path(f"/proc/{nspawn}/task/{nspawn}/children").read_text().split()
        for child in children:
            status = Path(f"/proc/{child}/status").read_text()
            numbers = next(line for line in status.splitlines() if line.startswith("NSpid:"))
            if numbers.split()[1:][-1] == "1":
                return int(child)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return None


def nspawn_command(record: dict) -> list[str]:
    """The command that boots a host: pure."""
    argv = [
        "systemd-nspawn",
        "--quiet",
        "--register=no",
        "--keep-unit",
        f"--directory={store.disk(record['id']) / 'root'}",
        f"--machine={record['name']}",
        "--resolv-conf=off",
        "--timezone=off",
        "--link-journal=no",
        "--rlimit=RLIMIT_NOFILE=1024:524288",
        # As a server has: its addresses and its firewall are its own.
        "--capability=CAP_NET_ADMIN",
        # A file server opens files by handles that its clients hold.
        "--system-call-filter=open_by_handle_at",
        f"--network-namespace-path=/run/netns/{network.link(record['address'])}",
        *(f"--bind={path}" for path in record["bind"]),
    ]
    return [*argv, "--boot"] if record["systemd"] else [*argv, "--as-pid2", *SLEEPER]


def launch(record: dict) -> list:
    """Start systemd-nspawn, apart from the caller's session, and return it as records keep it."""
    directory = store.disk(record["id"])
    pidfile = directory / "pid"
    pidfile.unlink(missing_ok=True)
    script = f'{cgroups.entry(record["cgroups"])}; echo $$ >"$0.new"; mv "$0.new" "$0"; exec "$@"'
    with (directory / "console.log").open("wb") as log:
        subprocess.run(
            ["setsid", "--fork", "sh", "-c", script, str(pidfile), *nspawn_command(record)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=NSPAWN_ENVIRONMENT,
            cwd="/",
            check=True,
        )
    wait_until("systemd-nspawn started", pidfile.exists, 10)
    return identity(int(pidfile.read_text()))


def wait_ready(record: dict, timeout: float = 90) -> int:
    """Wait until the host's init is up and return its pid on the builder.

    Raises HostError with the end of the console's log when it does not come up.
    """

    def up() -> bool:
        if not alive(record["nspawn"]):
            raise HostError("systemd-nspawn ended")
        init = namespaced_child(record["nspawn"][0])
        return bool(init) and is_up(record, init)

    try:
        wait_until(f"host {record['id']} up", up, timeout)
    except HostError as error:
        log = (store.disk(record["id"]) / "console.log").read_text(errors="replace")
        tail = "\n".join(log.splitlines()[-40:])
        raise HostError(f"{error}\n{tail}") from None
    return namespaced_child(record["nspawn"][0])


def is_up(record: dict, init: int) -> bool:
    """Whether the init has done its work: all units of the default target started or failed."""
    if not record["systemd"]:
        return Path(f"/proc/{init}/root{READY}").exists()
    if not Path(f"/proc/{init}/root/run/systemd/private").exists():
        return False
    argv = entering(record, init, ["systemctl", "is-system-running"])
    done = subprocess.run(argv, capture_output=True, text=True, cwd="/")
    return done.stdout.strip() in ("running", "degraded")


def entering(
    record: dict,
    init: int,
    command: Sequence[str],
    env: dict[str, str] | None = None,
    user: str | None = None,
) -> list[str]:
    """The command that runs a command in a host with a clean environment, in its root directory."""
    groups = cgroups.entry(cgroups.inside(record["cgroups"]))
    become = ["runuser", "-u", user, "--"] if user else []
    variables = [f"{name}={value}" for name, value in {**ENVIRONMENT, **(env or {})}.items()]
    return [
        *("sh", "-c", f'{groups}; exec nsenter --target "$0" --all -- "$@"', str(init)),
        *("/usr/bin/env", "-i", "-C", "/", *variables, *become, *command),
    ]


def signal_process(pid: int, number: int) -> None:
    """Signal a process of the builder; a process that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def power_off(record: dict, init: int, timeout: float = 90) -> None:
    """Shut the host down as its own `poweroff` does. Raises HostError when it does not end."""
    if not record["systemd"]:
        subprocess.run(entering(record, init, ["sh", "-c", END_ALL]), cwd="/")
        power_cut(record)
        return
    signal_process(init, signal.SIGRTMIN + 4)
    nspawn = record["nspawn"]
    wait_until(f"host {record['id']} shut down", lambda: not alive(nspawn), timeout)


def power_cut(record: dict) -> None:
    """Kill every process of the host at once: the first one's death takes all others along."""
    nspawn = record["nspawn"]
    if not alive(nspawn):
        return
    init = namespaced_child(nspawn[0])
    for pid in filter(None, (init, nspawn[0])):
        signal_process(pid, signal.SIGKILL)
    wait_until(f"host {record['id']} dead", lambda: not alive(nspawn), 30)
    if init:
        wait_until(f"host {record['id']} dead", lambda: started(init) is None, 30)
