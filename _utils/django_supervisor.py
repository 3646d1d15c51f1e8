"""
Supervisord without supervisorctl: the daemon's own XML-RPC interface over its Unix socket or HTTP.

:class:`Client` makes calls; :class:`Daemon` looks at processes, starts and stops them and carries a
plan of :mod:`django_supervisor_plan` out. Definitions are made by :mod:`django_supervisor_unit`.

Facts of supervisord 4 that shape this module:

- ``reloadConfig`` only re-reads files. What runs is left alone until its group is removed and added
  again, and groups that are removed must be stopped.
- The exit status of a process that ended too quickly is found in the daemon's log only.
"""

import base64
import contextlib
import errno
import http.client
import os
import re
import shlex
import socket
import stat
import time
import xmlrpc.client

from django_supervisor_ini import KINDS, SupervisorError, read_file, redact, unescape, write_file
from django_supervisor_plan import ACTIVE, DOWN, Overview, finished
from django_supervisor_unit import HEADER, full_name

# Refusals that are told apart.
FAULTS = {
    10: "BAD_NAME",
    50: "SPAWN_ERROR",
    60: "ALREADY_STARTED",
    70: "NOT_RUNNING",
    90: "ALREADY_ADDED",
    91: "STILL_RUNNING",
    92: "CANT_REREAD",
}

_EXITED = re.compile(r"exited: (?P<name>\S+) \((?P<how>.*?)(?:; (?:not )?expected)?\)$", re.M)
_SPAWN_FAILURE = re.compile(r"can't find command|command at |no permission|bad command|can't parse")
_TAIL_BYTES = 8192
QUIET_SECONDS = 0.3


class Unreachable(SupervisorError):
    """Supervisord does not answer. ``down`` (bool): nothing listens at its address at all."""

    def __init__(self, message, down=False):
        super().__init__(message)
        self.down = down


class Fault(SupervisorError):
    """Supervisord refused a call. ``kind`` (str): one of :data:`FAULTS`, else the code."""

    def __init__(self, code, text):
        self.kind = FAULTS.get(code, str(code))
        super().__init__(text)


class Failed(SupervisorError):
    """Processes that should run do not, or should have stopped and did not."""


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """
    Calls to supervisord's XML-RPC interface. None of them waits for a process, so each returns at
    once and ``timeout`` (seconds) only guards against a daemon that hangs.

    url
        ``unix:///path/of/socket`` or ``http://host:port``.
    username, password
        Credentials, when supervisord asks for them.
    """

    def __init__(self, url, username=None, password=None, timeout=30):
        self.url = url
        self._headers = {"Content-Type": "text/xml", "Connection": "close"}
        self._timeout = timeout
        if username is not None and password is not None:
            token = base64.b64encode(f"{username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"

    def _connection(self):
        scheme, _, rest = self.url.partition("://")
        if scheme == "unix" and rest:
            return _UnixConnection(rest, self._timeout)
        if scheme == "http" and rest:
            return http.client.HTTPConnection(rest.rstrip("/"), timeout=self._timeout)
        raise SupervisorError(f"{self.url}: expected unix:///path or http://host:port")

    def call(self, method, *params):
        """Result of a call such as ``supervisor.getState``; raises :class:`Fault` if refused."""
        body = xmlrpc.client.dumps(params, method, encoding="utf-8", allow_none=False).encode()
        connection = self._connection()
        try:
            connection.request("POST", "/RPC2", body, self._headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        finally:
            connection.close()
        if response.status == http.HTTPStatus.UNAUTHORIZED:
            raise Unreachable(
                f"supervisord at {self.url} wants a username and a password; give them in "
                "[unix_http_server] or [supervisorctl] of its configuration"
            )
        if response.status != http.HTTPStatus.OK:
            raise Unreachable(
                f"supervisord at {self.url} answered {method} with {response.status} "
                f"{response.reason}; its log tells more"
            )
        try:
            return xmlrpc.client.loads(answer)[0][0]
        except xmlrpc.client.Fault as fault:
            raise Fault(fault.faultCode, fault.faultString) from None
        except Exception as error:  # the parser raises whatever its XML library does
            raise SupervisorError(f"{self.url}: {method}: unreadable answer: {error}") from None

    def together(self, *calls):
        """
        Several calls, each ``(method, parameter, …)``, in one round trip. A result that is a
        :class:`Fault` was refused; the others went through.
        """
        wanted = [{"methodName": method, "params": list(params)} for method, *params in calls]
        return [
            Fault(result["faultCode"], result["faultString"])
            if isinstance(result, dict) and "faultCode" in result
            else result
            for result in self.call("system.multicall", wanted)
        ]

    def _unreachable(self, error):
        down = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        advice = "start supervisord" if down else "look at supervisord's log"
        if getattr(error, "errno", None) in (errno.EACCES, errno.EPERM):
            advice = "run this as a user that may use the socket"
        return Unreachable(f"supervisord does not answer at {self.url}: {reason}; {advice}", down)


class Daemon:
    """
    A supervisord and its files.

    settings
        :class:`Settings`.
    client
        Something with :class:`Client`'s ``call`` and ``together``.
    """

    def __init__(self, settings, client=None):
        self.settings = settings
        self._client = client or Client(settings.url, settings.username, settings.password)

    def call(self, method, *params):
        """Result of a call in supervisord's own namespace."""
        return self._client.call(f"supervisor.{method}", *params)

    def processes(self):
        """Every process: ``{full name: info}`` with the keys of ``getAllProcessInfo``."""
        return _by_name(self.call("getAllProcessInfo"))

    def overview(self):
        """An :class:`Overview`, in one round trip. What runs is not touched by it."""
        table, pending = self._client.together(
            ("supervisor.getAllProcessInfo",), ("supervisor.reloadConfig",)
        )
        for result in (table, pending):
            if isinstance(result, Fault) and result.kind != "CANT_REREAD":
                raise result
        if isinstance(pending, Fault):
            return Overview(_by_name(table), refused=_scrub(str(pending)))
        return Overview(_by_name(table), *map(tuple, pending[0]))

    def reload(self):
        """Have the files read again; ``(added, changed, removed)`` groups. Nothing is started."""
        try:
            return tuple(self.call("reloadConfig")[0])
        except Fault as fault:
            raise SupervisorError(
                f"supervisord cannot read its configuration: {_scrub(str(fault))}"
            ) from None

    def configs(self):
        """Options of every process that the files define: ``{full name: info}``."""
        return {
            full_name(info["group"], info["name"]): info for info in self.call("getAllConfigInfo")
        }

    def defined_in(self, name, besides=None):
        """Path of a file other than ``besides`` that defines a program or group; None if none."""
        wanted = {f"{kind}:{name}" for kind in (*KINDS, "group")}
        for path in self.settings.files():
            if path == besides:
                continue
            with contextlib.suppress(SupervisorError):
                if wanted & set(read_file(path).sections):
                    return path
        return None

    def define(self, wanted, made, timeout=None):
        """
        Carry out a :class:`Plan` for a :class:`Unit` and wait until its processes run.

        timeout
            Seconds to wait for them; None: long enough for all their start attempts.

        Raises :class:`Failed` when a process does not come up. A configuration that supervisord
        refuses is taken back before anything is stopped.
        """
        path = self.settings.program_path(wanted.name)
        file = read_file(path)
        if made.write or made.chmod:
            self._check_write(wanted, file)
        if made.retire or made.load:
            _check_command(wanted)
        limits = self.configs() if made.retire or made.stop else {}
        if made.write or made.chmod:
            write_file(path, wanted.text, wanted.mode)
        if made.write or made.load or made.retire:
            try:
                self.reload()
            except SupervisorError as error:
                if made.write:
                    self._restore(file)
                raise SupervisorError(
                    f"{redact(str(error), wanted.secrets)}\nNothing was changed."
                ) from None
        for group in made.retire:
            self.retire(group, limits=limits)
        if made.load:
            self._add(wanted.group)
            made.loaded = True
        if made.stop:
            self.stop(made.stop, limits=limits)
        if made.start:
            self.request_start(made.start, wanted.secrets)
        if made.wait:
            self.wait_running(made.wait, timeout, wanted.processes, wanted.secrets)

    def undefine(self, name, made, timeout=None):
        """Carry out a removal's :class:`Plan`: stop, forget, delete the file."""
        limits = self.configs() if made.retire and timeout is None else {}
        for group in made.retire:
            self.retire(group, timeout, limits)
        if made.write:
            path = self.settings.program_path(name)
            try:
                os.unlink(path)
            except OSError as error:
                raise SupervisorError(f"Cannot remove {path}: {error.strerror}") from None
        if made.write or made.retire:
            try:
                self.reload()
            except SupervisorError as error:
                made.notes.append(str(error))

    def _check_write(self, wanted, file):
        keep_strangers(file, _names(wanted))
        for name in _names(wanted):
            other = self.defined_in(name, besides=file.path)
            if other:
                raise SupervisorError(f"{name} is defined in {other} already; remove it there")

    def _restore(self, file):
        if file.text is None:
            os.unlink(file.path)
        else:
            write_file(file.path, file.text, file.mode)
        with contextlib.suppress(SupervisorError):
            self.reload()

    def _add(self, group):
        try:
            self.call("addProcessGroup", group)
        except Fault as fault:
            if fault.kind != "ALREADY_ADDED":
                raise

    def retire(self, group, timeout=None, limits=None):
        """Stop a group's processes and take it out of supervisord; its file stays."""
        members = [name for name, info in self.processes().items() if info["group"] == group]
        for attempt in range(3):
            self.stop(members, timeout, limits)
            try:
                self.call("removeProcessGroup", group)
            except Fault as fault:
                if fault.kind == "BAD_NAME":
                    return
                # It restarted by itself between the two calls.
                if fault.kind != "STILL_RUNNING" or attempt == 2:
                    raise
            else:
                return

    def stop(self, names, timeout=None, limits=None):
        """
        Stop processes and wait until they have ended.

        timeout
            Seconds; None: the longest ``stopwaitsecs`` of them and ten more.
        limits
            Result of :meth:`configs`, if it is known.

        Raises :class:`Failed` when one is still there.
        """
        asked, deadline = set(), None
        while names:
            table = self.processes()
            left = [
                name
                for name in names
                if table.get(name, {}).get("statename", "STOPPED") not in DOWN
            ]
            if not left:
                return
            if deadline is None:
                if timeout is None:
                    limits = limits or self.configs()
                    known = [limits.get(name, {}).get("stopwaitsecs", 10) for name in left]
                    timeout = max(known) + 10
                deadline = time.monotonic() + timeout
            elif time.monotonic() > deadline:
                states = ", ".join(f"{name} is {table[name]['statename']}" for name in left)
                raise Failed(f"Not stopped after {timeout} s: {states}")
            for name in left:
                if table[name]["statename"] in ACTIVE and (
                    name not in asked or table[name]["statename"] == "BACKOFF"
                ):
                    asked.add(name)
                    try:
                        self.call("stopProcess", name, False)
                    except Fault as fault:
                        if fault.kind not in ("NOT_RUNNING", "BAD_NAME"):
                            raise Failed(f"{name} cannot be stopped: {fault}") from None
                elif table[name]["statename"] not in ACTIVE:
                    asked.discard(name)
            time.sleep(0.05)

    def request_start(self, names, secrets=()):
        """Ask supervisord to start processes, without waiting for them."""
        table = self.processes()
        # Supervisord says yes to the start of a process that is still stopping, and does nothing.
        self.stop([name for name in names if table.get(name, {}).get("statename") == "STOPPING"])
        refused = []
        for name in names:
            try:
                self.call("startProcess", name, False)
            except Fault as fault:
                # An attempt that failed is told with its reasons by whoever waits for the process.
                if fault.kind not in ("ALREADY_STARTED", "SPAWN_ERROR"):
                    refused.append(f"{name}: {fault}")
        if refused:
            raise Failed(redact("Cannot start " + "; ".join(refused), secrets))

    def wait_running(self, names, timeout=None, options=None, secrets=()):
        """
        Wait until processes have stayed up for their ``startsecs``.

        timeout
            Seconds; None: as long as supervisord itself goes on trying.
        options
            ``{full name: raw options}``, to know of which exit a process may have ended.

        Raises :class:`Failed`, with each one's state, exit status and last lines of output.
        """
        options = options or {}
        deadline = None if timeout is None else time.monotonic() + timeout
        calm_since, pids = time.monotonic(), None
        while True:
            table = self.processes()
            chosen = {name: table.get(name) for name in names}
            bad = [
                name for name, info in chosen.items() if _has_failed(info, options.get(name, {}))
            ]
            busy = [
                name
                for name, info in chosen.items()
                if info
                and info["statename"] != "RUNNING"
                and not finished(info, options.get(name, {}))
            ]
            if bad:
                break
            if not busy:
                seen = {name: info["pid"] for name, info in chosen.items()}
                if pids != seen:
                    calm_since, pids = time.monotonic(), seen
                # Without startsecs RUNNING says nothing, so it has to last a moment.
                unsure = [
                    name
                    for name, info in chosen.items()
                    if info["start"] + 1 >= info["now"]
                    and options.get(name, {}).get("startsecs") == "0"
                ]
                if not unsure or time.monotonic() - calm_since > QUIET_SECONDS:
                    return
            if deadline is None:
                deadline = time.monotonic() + self._patience(names)
            if time.monotonic() > deadline:
                bad = busy or list(names)
                break
            time.sleep(0.05)
        raise Failed(self.explain(bad, secrets))

    def _patience(self, names):
        """Seconds until supervisord has made all its attempts to start processes, at most 90."""
        configs = self.configs()
        longest = 10
        for name in names:
            known = configs.get(name, {})
            seconds, retries = known.get("startsecs", 1), known.get("startretries", 3)
            attempts = (seconds + 1) * (retries + 1) + retries * (retries + 1) // 2 + 5
            longest = max(longest, seconds + 10, min(attempts, 90))
        return longest

    def explain(self, names, secrets=()):
        """Why processes are not running: state, exit status and last lines of their output."""
        table = self.processes()
        try:
            log = self.call("readLog", -16384, 0)
        except SupervisorError:
            log = ""
        exits = {match["name"]: match["how"] for match in _EXITED.finditer(log)}
        parts = []
        for name in names:
            info = table.get(name)
            if info is None:
                parts.append(f"{name} is not in supervisord any more")
                continue
            what = [info["statename"]]
            if info["spawnerr"]:
                what.append(info["spawnerr"].replace(" (process log may have details)", ""))
            if _SPAWN_FAILURE.match(info["spawnerr"]):
                parts.append(f"{name} is {': '.join(what)}")
                continue
            if info["name"] in exits:
                what.append(exits[info["name"]])
            elif info["statename"] == "EXITED":
                what.append(f"exit status {info['exitstatus']}")
            lines = self.tail(info)
            end = f"; its last lines in {lines[0]}:\n{lines[1]}" if lines else ""
            parts.append(f"{name} is {': '.join(what)}{end}")
        return redact("\n".join(parts), secrets)

    def tail(self, info, channel="stderr", lines=20):
        """
        Last lines of a process's output.

        info
            The process's entry of :meth:`processes`.
        channel
            ``stderr`` (the other one where it is redirected there) or ``stdout``.

        Returns ``(path, text)``, or None when nothing was kept.
        """
        if channel == "stderr" and not info["stderr_logfile"]:
            channel = "stdout"
        path = info[f"{channel}_logfile"]
        if not path:
            return None
        size = max(_TAIL_BYTES, lines * 400)
        # The file itself where we can: the call fails on text that is no UTF-8 or no XML.
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return None
            with open(path, "rb") as handle:
                handle.seek(max(0, os.fstat(handle.fileno()).st_size - size))
                text = handle.read().decode("utf-8", "replace")
        except OSError:
            try:
                name = full_name(info["group"], info["name"])
                text = self.call(f"readProcess{channel.capitalize()}Log", name, -size, 0)
            except SupervisorError:
                return None
        kept = "\n".join(text.splitlines()[-lines:])
        return (path, kept) if kept.strip() else None


def _by_name(table):
    return {full_name(info["group"], info["name"]): info for info in table}


def keep_strangers(file, names):
    """Refuse to write over or delete a file, not of ours, that also defines something else."""
    extra = sorted(
        section
        for section in file.readable
        if section.partition(":")[0] not in (*KINDS, "group")
        or section.partition(":")[2] not in names
    )
    if extra and not (file.text or "").startswith(HEADER):
        raise SupervisorError(
            f"{file.path} also has [{'], ['.join(extra)}], which would be lost; "
            "move them to another file"
        )


def _names(wanted):
    return {section.partition(":")[2] for section in wanted.sections}


def _has_failed(info, options):
    if info is None or info["statename"] in ("FATAL", "UNKNOWN"):
        return True
    if info["statename"] == "BACKOFF":
        return bool(_SPAWN_FAILURE.match(info["spawnerr"]))
    if info["statename"] == "EXITED":
        return options.get("autorestart") == "false" and not finished(info, options)
    return info["statename"] in ("STOPPED", "STOPPING") and info["start"] > 0


def _scrub(text):
    """A refusal without the values that supervisord quotes in it: they can be environments."""
    text = re.sub(r"Format string (['\"]).*\1 for", "Format string for", text, flags=re.S)
    text = re.sub(
        r"(key/value pairs) in value '.*'(?= in section|$)", r"\1 of environment", text, flags=re.S
    )
    text = re.sub(r"(\[line +\d+\]): .*", r"\1", text)
    text = re.sub(r"(line: \d+)\n.*", r"\1", text, flags=re.S)
    return text.removeprefix("CANT_REREAD: ").strip()


def _check_command(wanted):
    """Refuse to exchange a program for one that cannot be executed or has no folder."""
    for section, options in wanted.sections.items():
        if "command" not in options:
            continue
        name = section.partition(":")[2]
        words = shlex.split(unescape(options["command"]))
        path = words[0]
        if path.startswith("/") and "%(" not in path and not os.access(path, os.X_OK):
            state = "is not executable" if os.path.exists(path) else "does not exist"
            raise SupervisorError(f"program {name}: command: {path} {state}. Nothing was changed.")
        folder = unescape(options.get("directory", "/"))
        if "%(" not in folder and not os.path.isdir(folder):
            raise SupervisorError(
                f"program {name}: directory: {folder} does not exist. Nothing was changed."
            )
