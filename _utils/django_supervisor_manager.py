"""Processes of a project as programs of supervisord, by way of its execution module."""

import contextlib
import os
import signal

from django_deployment import StepError
from salt.exceptions import CommandExecutionError

START_PATIENCE = 10  # seconds beyond a program's own startsecs


class Manager:
    """Starts, stops and lists the programs of one project through supervisord."""

    kind = "supervisord"
    test = False

    def __init__(self, project, salt):
        self._project = project
        self._salt = salt

    def programs(self):
        """
        Programs that are defined for the project: ``{name: {running, state, pid, error,
        leaving}}``; the last means that it was dismissed.
        """
        try:
            processes = self._call("processes")
        except StepError:
            if not self.test:
                raise
            processes = {}  # a run has started supervisord before it asks
        return {
            name: {
                "running": program["statename"] == "RUNNING",
                "state": program["statename"],
                "pid": program["pid"],
                "error": program["spawnerr"],
                "leaving": not os.path.exists(self._call("path", name)),
            }
            for name, program in processes.items()
            if name.split(".")[0] == self._project
        }

    def differs(self, name, definition):
        """Whether supervisord's definition of a program is not the wanted one."""
        return bool(self._call("differs", name, definition))

    def comes_back(self, name, definition):
        """
        Whether in test mode supervisord is away and starts a program by itself, as it is defined,
        once a run has started supervisord.
        """
        if not self.test:
            return False
        try:
            is_away = self._call("overview")["down"]
            return is_away and set(self._call("differs", name, definition)) == {"configuration"}
        except StepError:
            return False

    def start(self, name, definition):
        """Define and start a program."""
        self._call("define", name, definition, timeout=definition["startsecs"] + START_PATIENCE)

    def stop(self, name, timeout):
        """
        Stop a program, waiting up to ``timeout`` seconds, and forget it. What it has started and
        left running ends with it, as under systemd.
        """
        pid = self.programs().get(name, {}).get("pid")
        self._call("undefine", name, timeout=timeout + 30)
        _end_group(pid)

    def dismiss(self, name):
        """Ask a program to end, and not to come back, without waiting for it."""
        self._call("dismiss", name)

    def discard(self, name):
        """
        End a program at once, and forget it. What it has started ends with it: a worker of Uvicorn
        would go on without Gunicorn.
        """
        if name in self.programs():
            # First it is told to end: supervisord starts what ends by itself again.
            self.dismiss(name)
        _end_group(self.programs().get(name, {}).get("pid"))
        self.stop(name, 5)

    def failure(self, name):
        """Why a program is not running (str), or None when it runs or is starting."""
        program = self.programs().get(name)
        if program is None:
            return f"{name} is not defined"
        if program["state"] in ("FATAL", "BACKOFF", "EXITED", "STOPPED"):
            return f"{name} is {program['state']} {program['error']}".strip()
        return None

    def _call(self, function, *arguments, **options):
        """What an execution function answers; its failure is one of the step, which is settled."""
        try:
            return self._salt[f"supervisord.{function}"](*arguments, **options)
        except CommandExecutionError as error:
            raise StepError(str(error)) from None


def _end_group(pid):
    """Kill what is left of the group that a program leads, if it ran."""
    if pid:
        with contextlib.suppress(ProcessLookupError):  # all of it may have ended by itself
            os.killpg(pid, signal.SIGKILL)
