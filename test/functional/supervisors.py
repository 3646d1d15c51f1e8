"""A supervisord to try things on, and the programs that it runs."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

import django_supervisor
import django_supervisor_ini
from salt.exceptions import CommandExecutionError

SUPERVISORD = pathlib.Path(sys.executable).with_name("supervisord")
SLEEP = ["/bin/sleep", "1000"]
# Counts as started at once, and a failure is final: tests wait for nothing.
QUICK = {"startsecs": 0, "startretries": 0, "stopwaitsecs": 5}
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; while true; do sleep 0.2; done"]


class Supervisord:
    """A supervisord of our own in a short folder, as the path of a socket is limited."""

    def __init__(self, modules):
        self._modules = modules
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="sv"))
        self.conf_d = self.folder / "conf.d"
        self.conf_d.mkdir()
        self.config = self.folder / "supervisord.conf"
        self.config.write_text(
            "[unix_http_server]\nfile = %(here)s/s.sock ; only for us\n"
            "[supervisord]\nlogfile = %(here)s/main.log\npidfile = %(here)s/pid\n"
            "childlogdir = %(here)s\n"
            "[supervisorctl]\nserverurl = unix://%(here)s/s.sock\n"
            "[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = "
            "supervisor.rpcinterface:make_main_rpcinterface\n"
            "[include]\nfiles = conf.d/*.conf\n"
        )
        self.where = {"conf_file": str(self.config)}
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [SUPERVISORD, "--nodaemon", "--configuration", self.config],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )
        deadline = time.monotonic() + 10
        while True:
            try:
                self.call("state")
                return
            except CommandExecutionError:
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=30)

    def call(self, function, *args, **kwargs):
        return self._modules[f"supervisord.{function}"](*args, **kwargs, **self.where)

    def write(self, name, text):
        path = self.conf_d / f"{name}.conf"
        path.write_text(text)
        return path

    def read(self, name):
        return (self.conf_d / f"{name}.conf").read_text()

    def states(self):
        return {name: info["statename"] for name, info in self.call("processes").items()}

    def pids(self):
        return {name: info["pid"] for name, info in self.call("processes").items()}

    def clear(self):
        """Without programs, whatever a test left."""
        for path in self.conf_d.iterdir():
            path.unlink()
        daemon = django_supervisor.Daemon(django_supervisor_ini.read_settings(self.config))
        daemon.call("stopAllProcesses", False)
        for info in daemon.processes().values():
            if info["pid"]:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(info["pid"], signal.SIGKILL)
        self.call("update")


def run_together(modules, wanted, test=False):
    """One run of several states, ``{id: (module, function, arguments)}``; their results by ID."""
    high = {
        name: {
            module: [function, *({key: value} for key, value in arguments.items())],
            "__sls__": "test",
            "__env__": "base",
        }
        for name, (module, function, arguments) in wanted.items()
    }
    return {one.full_return["__id__"]: one for one in modules.state.high(high, test=test)}


def program(name, **options):
    return {"name": name, "command": SLEEP, **QUICK, **options}
