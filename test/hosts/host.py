"""Test hosts as tests use them: boot one, run commands in it, break it, freeze it."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import builder, cgroups, images, machine, network, store
from .builder import HostError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,61}")
TAIL = 60


class CommandFailed(AssertionError):
    """A command in a host ended with another status than 0, or not in time."""


@dataclass(frozen=True)
class Result:
    """What a command in a host left behind."""

    returncode: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Response:
    """An HTTP answer; look-ups in `headers` ignore case."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")


def tail(text: str) -> str:
    """The last lines of an output, for an error's message."""
    return "\n".join(text.splitlines()[-TAIL:])


def namespace() -> str:
    """Whose hosts are meant: $DJANGO_FORMULA_TEST_NAMESPACE, else this process's own."""
    return os.environ.get("DJANGO_FORMULA_TEST_NAMESPACE") or f"p{os.getpid()}"


class Host:
    """A test host. `boot` makes one, `find` returns one that is there."""

    def __init__(self, host_id: str) -> None:
        self.id = host_id
        record = self._record()
        self.name: str = record["name"]
        self.address: str = record["address"]
        self.image: str = record["image"]

    def __enter__(self) -> "Host":
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def __repr__(self) -> str:
        return f"<Host {self.id} {self.address} {self.image}>"

    def _record(self) -> dict:
        record = store.load(store.host_path(self.id))
        if not record:
            raise HostError(f"there is no host {self.id}")
        return record

    def _update(self, **changes: Any) -> dict:
        with store.lock():
            record = {**self._record(), **changes}
            store.save(store.host_path(self.id), record)
        return record

    @property
    def is_on(self) -> bool:
        """Whether the host has power."""
        return machine.alive(self._record()["nspawn"])

    @property
    def init(self) -> int:
        """The pid, on the builder, of the host's first process. Raises HostError when off."""
        record = self._record()
        pid = machine.namespaced_child(record["nspawn"][0]) if self.is_on else None
        if not pid:
            raise HostError(f"host {self.id} is off")
        return pid

    # Commands

    def argv(
        self,
        command: str | Sequence[str],
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> list[str]:
        """The command for the builder that runs a command in the host.

        A string is run by the host's sh. `env` adds to a clean environment of PATH, LANG and HOME;
        `user` is the name of one of the host's users, whose home directory HOME then is.
        """
        words = ["sh", "-c", command] if isinstance(command, str) else [str(w) for w in command]
        if user:
            env = {"HOME": self.home(user), **(env or {})}
        return machine.entering(self._record(), self.init, words, env, user)

    def run(
        self,
        command: str | Sequence[str],
        check: bool = True,
        timeout: float = 600,
        input: str | bytes | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
    ) -> Result:
        """Run a command in the host and wait for it, up to `timeout` seconds.

        With `check`, raises CommandFailed for any status but 0; for a timeout always. Daemons that
        the command leaves behind do not delay it.
        """
        status, stdout, stderr = self._execute(self.argv(command, env, user), timeout, input)
        result = Result(status, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        if status is None or (check and status):
            shown = command if isinstance(command, str) else " ".join(map(str, command))
            ended = f"not done in {timeout:g} s" if status is None else f"status {status}"
            raise CommandFailed(
                f"{self.name}: {shown}\n{ended}"
                f"\n--- stdout\n{tail(result.stdout)}\n--- stderr\n{tail(result.stderr)}"
            )
        return result

    def _execute(
        self, argv: list[str], timeout: float, input: str | bytes | None
    ) -> tuple[int | None, bytes, bytes]:
        """Status (None: not done in time), output and error output of a command on the builder."""
        data = input.encode() if isinstance(input, str) else input or b""
        with contextlib.ExitStack() as stack:
            stdin, stdout, stderr = (
                stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)
            )
            stdin.write(data)
            stdin.seek(0)
            process = subprocess.Popen(
                argv, stdin=stdin, stdout=stdout, stderr=stderr, cwd="/", start_new_session=True
            )
            try:
                status = process.wait(timeout)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if not isinstance(error, subprocess.TimeoutExpired):
                    raise
                status = None
            stdout.seek(0)
            stderr.seek(0)
            return status, stdout.read(), stderr.read()

    def start(
        self,
        command: str | Sequence[str],
        env: dict[str, str] | None = None,
        user: str | None = None,
        **popen: Any,
    ) -> subprocess.Popen:
        """Start a command in the host in the background; `popen` goes to subprocess.Popen.

        End it with `kill`: a signal to the Popen object does not go through to the host.
        """
        return subprocess.Popen(
            self.argv(command, env, user), **{"text": True, "cwd": "/", **popen}
        )

    def pids(self, pattern: str) -> list[int]:
        """The pids, in the host, of processes whose command line matches a regular expression."""
        found = self.run(["pgrep", "-f", "--", pattern], check=False)
        return [int(pid) for pid in found.stdout.split()]

    def kill(self, target: int | str, number: int = signal.SIGKILL) -> None:
        """Signal a process of the host, or all whose command line matches a regular expression.

        Raises CommandFailed when there is none.
        """
        what = ["kill", f"-{int(number)}", str(target)]
        if isinstance(target, str):
            what = ["pkill", f"-{int(number)}", "-f", "--", target]
        self.run(what)

    # Files

    def home(self, user: str) -> str:
        """A user's home directory. Raises HostError when the host has no such user."""
        for line in self.read("/etc/passwd").splitlines():
            fields = line.split(":")
            if fields[0] == user:
                return fields[5]
        raise HostError(f"host {self.id} has no user {user}")

    def exists(self, path: str) -> bool:
        """Whether there is a file or directory at this path."""
        return self.run(["test", "-e", path], check=False).returncode == 0

    def read(self, path: str) -> str:
        """A file's text. Raises CommandFailed when it cannot be read."""
        return self.run(["cat", "--", path]).stdout

    def write(
        self, path: str, content: str | bytes, mode: int = 0o644, owner: str | None = None
    ) -> None:
        """Write a file, and the directories above it; `owner` is `user` or `user:group`."""
        script = 'mkdir -p "$(dirname "$0")" && touch "$0" && chmod "$1" "$0" && cat >"$0"'
        self.run(["sh", "-c", script, path, f"{mode:o}"], input=content)
        if owner:
            self.run(["chown", owner, "--", path])

    def put(self, local: str | Path, path: str) -> None:
        """Copy a file, or a directory and all that is in it, to exactly this path; root owns it."""
        local = Path(local)
        if not local.is_dir():
            self.write(path, local.read_bytes(), local.stat().st_mode & 0o7777)
            return
        self.run(["mkdir", "-p", path])
        pack = subprocess.Popen(["tar", "-C", str(local), "-cf", "-", "."], stdout=subprocess.PIPE)
        unpack = self.argv(["tar", "-C", path, "--no-same-owner", "-xpf", "-"])
        done = subprocess.run(unpack, stdin=pack.stdout, capture_output=True, text=True, cwd="/")
        pack.stdout.close()
        if pack.wait() or done.returncode:
            raise HostError(f"{local} could not be copied to {self.name}:{path}\n{done.stderr}")

    # What a visitor does

    def get(
        self,
        path: str = "/",
        host: str | None = None,
        port: int = 80,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        body: str | bytes | None = None,
        timeout: float = 30,
    ) -> Response:
        """Ask the host over plain HTTP from the builder; `host` is the Host header.

        Follows no redirect. Raises OSError or http.client.HTTPException as http.client does. A
        process just started may take seconds for its first answer while other hosts have the
        cores; who is still without one after `timeout` seconds was forgotten.
        """
        connection = http.client.HTTPConnection(self.address, port, timeout=timeout)
        fields = {**({"Host": host} if host else {}), **(headers or {})}
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=fields)
            answer = connection.getresponse()
            return Response(answer.status, answer.headers, answer.read())

    # Faults

    def power_cut(self) -> None:
        """Take the host's power away: all its processes die at once, none is told."""
        machine.power_cut(self._record())

    def power_off(self) -> None:
        """Shut the host down cleanly."""
        machine.power_off(self._record(), self.init)

    def power_on(self) -> None:
        """Boot the host again, with its disk as it was left. Raises HostError when it is on."""
        if self.is_on:
            raise HostError(f"host {self.id} is on")
        record = self._record()
        cgroups.remove(record["cgroups"])
        network.attach(self.address)
        record = self._update(cgroups=cgroups.create(self.id, record["cores"], record["memory"]))
        record = self._update(nspawn=machine.launch(record))
        machine.wait_ready(record)

    def reboot(self) -> None:
        """Shut the host down cleanly and boot it again."""
        self.power_off()
        self.power_on()

    def cut(self) -> None:
        """Pull the host's network cable."""
        network.carry(self.address, up=False)

    def heal(self) -> None:
        """Plug the host's network cable in again."""
        network.carry(self.address, up=True)

    def block(self, to: "str | Host", port: int | None = None) -> None:
        """Silently drop what the host sends to an address, or only to one TCP or UDP port of it."""
        rule = {"to": getattr(to, "address", to), "port": port}
        self._set_blocks(lambda rules: [*rules, rule])

    def unblock(self, to: "str | Host | None" = None, port: int | None = None) -> None:
        """Undo `block` for that address and port; without an address, all blocks of this host."""
        rule = {"to": getattr(to, "address", to), "port": port}
        self._set_blocks(lambda rules: [kept for kept in rules if to and kept != rule])

    def _set_blocks(self, change: Callable[[list[dict]], list[dict]]) -> None:
        with store.lock():
            record = self._record()
            record["blocks"] = change(record["blocks"])
            store.save(store.host_path(self.id), record)
            apply_blocks()

    # The end

    def freeze(self, name: str, key: str = "") -> None:
        """Shut the host down cleanly and make its disk the image `name`; the host is gone then."""
        if name in images.BASES or not NAME.fullmatch(name):
            raise HostError(f"an image cannot be frozen under the name {name}")
        with store.lock(f"image-{name}"):
            self._freeze(name, key)

    def _freeze(self, name: str, key: str) -> None:
        if self.is_on:
            self.power_off()
        directory = store.disk(self.id)
        builder.command("umount", str(directory / "root"))
        images.freeze(name, key, directory / "volume/upper", self._record()["layers"])
        self.destroy()

    def destroy(self) -> None:
        """Remove the host and all that belongs to it; without error when it is gone already."""
        record = store.load(store.host_path(self.id))
        if record:
            remove(record)


def remove(record: dict) -> None:
    """Remove a host and all that belongs to it; its record last, so that this can be repeated."""
    machine.power_cut(record)
    network.detach(record["address"])
    cgroups.remove(record["cgroups"])
    directory = store.disk(record["id"])
    for mounted in (directory / "root", directory / "volume"):
        if mounted.is_mount():
            builder.command("umount", str(mounted))
    shutil.rmtree(directory, ignore_errors=True)
    with store.lock():
        store.host_path(record["id"]).unlink(missing_ok=True)
        apply_blocks()
        store.discard_unused_layers()


def remove_orphans() -> list[str]:
    """Remove the hosts that processes made for themselves and left behind; returns their ids."""
    orphans = [
        record
        for record in store.records(store.HOSTS)
        if record["owner"] is not None and not machine.alive(record["owner"])
    ]
    for record in orphans:
        remove(record)
    return [record["id"] for record in orphans]


def apply_blocks() -> None:
    """Bring the blocked traffic of all hosts to what the records say. Call with the lock held."""
    blocks = {record["address"]: record["blocks"] for record in store.records(store.HOSTS)}
    network.block(blocks)


def claim(name: str, **properties: Any) -> dict:
    """Enter a new host into the records, with an address of its own.

    Raises HostError when this namespace has a host of that name already.
    """
    explicit = os.environ.get("DJANGO_FORMULA_TEST_NAMESPACE")
    host_id = f"{namespace()}.{name}"
    with store.lock():
        taken = {record["address"] for record in store.records(store.HOSTS)}
        if store.load(store.host_path(host_id)):
            raise HostError(f"there is a host {host_id} already")
        network.set_up()
        record = {
            "id": host_id,
            "namespace": namespace(),
            "name": name,
            "address": network.free_address(taken),
            "layers": images.load(properties["image"])["layers"],
            "owner": None if explicit else machine.identity(os.getpid()),
            "blocks": [],
            "cgroups": [],
            "nspawn": None,
            **properties,
        }
        store.save(store.host_path(host_id), record)
    return record


def make_disk(record: dict) -> None:
    """Mount the host's overlay, of a limited size if it has one, and write who the host is."""
    directory = store.disk(record["id"])
    shutil.rmtree(directory, ignore_errors=True)
    volume, root = directory / "volume", directory / "root"
    volume.mkdir(parents=True)
    root.mkdir()
    if record["disk"]:
        builder.command(
            "mount", "-t", "tmpfs", "-o", f"size={record['disk']}", "tmpfs", str(volume)
        )
    for part in ("upper", "work"):
        (volume / part).mkdir()
    lower = ":".join(str(store.LAYERS / layer) for layer in record["layers"])
    options = (
        f"lowerdir={lower},upperdir={volume / 'upper'},workdir={volume / 'work'},redirect_dir=on"
    )
    builder.command("mount", "-t", "overlay", "overlay", "-o", options, str(root))
    name = record["name"]
    (root / "etc/hostname").write_text(f"{name}\n")
    (root / "etc/hosts").write_text(
        f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost {name}\n"
    )
    (root / "etc/resolv.conf").write_text(network.nameservers())


def boot(
    name: str,
    image: str = "bookworm",
    systemd: bool = True,
    cores: float | None = None,
    memory: str | None = None,
    disk: str | None = None,
    bind: Sequence[str] = (),
) -> Host:
    """Make a fresh host and wait until it is up.

    `name` is its host name: lower case letters, digits, dashes. `cores` and `memory` (`512M`) limit
    what it may use, `disk` (`300M`) what it may write; `bind` are paths of the builder, such as
    `/dev/fuse`, that the host shall have too. Without `systemd` nothing but a sleeper runs, as in a
    container. Raises HostError when there is a host of that name, or it does not come up.
    """
    if not NAME.fullmatch(name):
        raise HostError(f"not a host name: {name}")
    builder.prepare()
    if image in images.BASES:
        images.ensure_base(image)
    limits = {"cores": cores, "memory": memory, "disk": disk}
    record = claim(name, image=image, systemd=systemd, bind=list(bind), **limits)
    host = Host(record["id"])
    try:
        make_disk(record)
        host.power_on()
    except BaseException:
        host.destroy()
        raise
    return host


def image(
    name: str,
    base: str = "bookworm",
    key: str = "",
    build: Callable[[Host], object] | None = None,
) -> str:
    """Have the image `name`, and return its name.

    Without `build` it is one of the base images or must be there. With `build`, an image that is
    not there, has another `key` or stands on an older base is made: a host is booted from `base`,
    `build` is called with it, then it is frozen. When `build` fails nothing is left. Other
    processes that want the same image wait.
    """
    builder.prepare()
    if build is None:
        images.ensure_base(name) if name in images.BASES else images.load(name)
        return name
    image(base)
    with store.lock(f"image-{name}"):
        if images.is_current(name, key, images.load(base)["layers"]):
            return name
        with boot(f"build-{name}", image=base) as host:
            build(host)
            host._freeze(name, key)
    return name


def find(name: str) -> Host:
    """The host of this name, in this process's namespace or given as `namespace.name`.

    Raises HostError when there is none.
    """
    return Host(name if "." in name else f"{namespace()}.{name}")
