"""Processes of a project as systemd units: text of a unit, and what systemctl says of them."""

import pathlib
import re

from django_layout import write_atomic
from django_run import run

UNITS = pathlib.Path("/etc/systemd/system")
HEADER = "# Written by django-formula; the next run replaces changes.\n"
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
PROPERTIES = (
    "Id",
    "ActiveState",
    "SubState",
    "MainPID",
    "NRestarts",
    "ExecMainStatus",
    "Result",
    "UnitFileState",
)


def quote(word):
    """A word of ``ExecStart=`` that systemd reads as exactly ``word``."""
    word = word.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(word):
        return word
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{word}"'


def unit(name, definition):
    """
    Text of the unit of a process.

    definition
        See :mod:`django_process`.
    """
    log = definition["stdout_logfile"]
    lines = [
        "[Unit]",
        f"Description=django-formula: {name}",
        "After=network.target remote-fs.target postgresql.service",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"User={definition['user']}",
        f"WorkingDirectory={definition['directory']}",
        "ExecStart=" + " ".join(quote(word) for word in definition["command"]),
        f"UMask={definition['umask']}",
        "Restart=always",
        "RestartSec=1",
        f"KillSignal=SIG{definition['stopsignal']}",
        "KillMode=mixed",
        f"TimeoutStopSec={definition['stopwaitsecs']}",
        "LimitNOFILE=65536",
        f"StandardOutput=append:{log}",
        f"StandardError=append:{log}",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectHome=read-only",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectSystem=full",
        "ProtectControlGroups=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return HEADER + "\n".join(lines) + "\n"


def parse_show(text):
    """``systemctl show`` of several units as ``{unit name: {property: value}}``."""
    units = {}
    for block in text.strip().split("\n\n"):
        properties = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if "Id" in properties:
            units[properties["Id"].removesuffix(".service")] = properties
    return units


class Manager:
    """Starts, stops and lists the programs of one project through systemd."""

    kind = "systemd"
    test = False

    def __init__(self, project):
        self._project = project

    def programs(self):
        """
        Programs that are defined for the project: ``{name: {running, state, pid, restarts,
        leaving}}``; the last means that it was dismissed.
        """
        names = sorted(path.stem for path in UNITS.glob(f"{self._project}.*.service"))
        if not names:
            return {}
        argv = ["systemctl", "show", f"--property={','.join(PROPERTIES)}"]
        shown = parse_show(run([*argv, *(f"{name}.service" for name in names)]).stdout)
        return {
            name: {
                "running": shown.get(name, {}).get("ActiveState") == "active",
                "state": shown.get(name, {}).get("SubState", "unknown"),
                "pid": int(shown.get(name, {}).get("MainPID", 0)),
                "restarts": int(shown.get(name, {}).get("NRestarts", 0)),
                "leaving": shown.get(name, {}).get("UnitFileState") == "disabled",
            }
            for name in names
        }

    def comes_back(self, name, definition):
        """Whether a program starts once its manager does: systemd is there already."""
        return False

    def differs(self, name, definition):
        """Whether the unit on disk is not the wanted one."""
        path = UNITS / f"{name}.service"
        return not path.exists() or path.read_text(encoding="utf-8") != unit(name, definition)

    def start(self, name, definition):
        """Define and start a program."""
        write_atomic(UNITS / f"{name}.service", unit(name, definition))
        run(["systemctl", "enable", "--quiet", f"{name}.service"])  # reads the new file, too
        run(["systemctl", "restart", f"{name}.service"])

    def stop(self, name, timeout):
        """Stop a program, waiting up to ``timeout`` seconds, and forget it."""
        path = UNITS / f"{name}.service"
        run(["systemctl", "disable", "--quiet", f"{name}.service"], check=False)
        run(["systemctl", "stop", f"{name}.service"], timeout=timeout + 30, check=False)
        path.unlink(missing_ok=True)
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "reset-failed", f"{name}.service"], check=False)

    def dismiss(self, name):
        """
        Ask a program to end, and not to come back, without waiting for it. Its unit stays until
        :meth:`stop`, since systemd would forget how long it may take.
        """
        run(["systemctl", "disable", "--quiet", f"{name}.service"])
        run(["systemctl", "stop", "--no-block", f"{name}.service"])

    def discard(self, name):
        """End a program and what it has started, at once, and forget it."""
        run(["systemctl", "kill", "--signal=SIGKILL", f"{name}.service"], check=False)
        self.stop(name, 5)

    def failure(self, name):
        """Why a program is not running (str), or None when it runs."""
        program = self.programs().get(name)
        if program is None:
            return f"{name} is not defined"
        if program["restarts"] > 2:
            return f"{name} ends again and again ({program['restarts']} restarts)"
        return None
