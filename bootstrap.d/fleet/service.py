"""The services salt-master and salt-minion: those of the server's own Salt, or ours."""

import os
import pathlib
import time

import django_service
from masterless import registration

FILES = pathlib.Path(__file__).parent / "files/etc"
PATIENCE = 60  # seconds for a daemon to be ready
# Where a job of a minion is at work, it may be the one that restarts the minion.
KILL = {"master": "control-group", "minion": "process"}


class Service:
    """
    The service of a daemon.

    kind
        ``master`` or ``minion``.
    programs
        Folder of Salt's programs.
    configuration
        Path of the file that it has to have read.
    """

    def __init__(self, kind, programs, configuration):
        self.kind, self.name = kind, f"salt-{kind}"
        self.program = pathlib.Path(programs) / self.name
        self.configuration = configuration
        self.state = django_service.look(self.name)

    @property
    def path(self):
        """Where our own definition of the service would be."""
        if django_service.booted():
            return django_service.UNITS / f"{self.name}.service"
        return django_service.SCRIPTS / self.name

    def is_ours(self):
        """Whether the server has no other definition of this service than ours."""
        return django_service.is_configured_by_us(self.path) or not self.state["there"]

    def text(self):
        """Our definition of the service: a unit, or an init script where there is no systemd."""
        name = "systemd/system/salt.service" if django_service.booted() else "init.d/salt"
        text = (FILES / name).read_text(encoding="utf-8")
        for word, value in (
            ("NAME", self.name),
            ("KIND", self.kind),
            ("PROGRAM", str(self.program)),
            ("KILL", KILL[self.kind]),
        ):
            text = text.replace(f"@{word}@", value)
        return text

    def needs(self, test):
        """
        Do what the service needs, or say so with ``test``: it is defined, enabled and runs with
        the configuration as it is. Yields a sentence (str) about each thing that was done.

        Raises :class:`django_service.ServiceError`.
        """
        mode = 0o644 if django_service.booted() else 0o755
        if self.is_ours() and registration.differs(self.path, self.text(), mode):
            if not test:
                registration.write(self.path, self.text(), mode)
            yield f"{self.path} is written"
        if not self.state["enabled"]:
            self._act("enable", test)
            yield f"{self.name} starts with the server"
        if not self.state["running"]:
            self._act("start", test)
            yield f"{self.name} is started"
        elif self.changed():
            self._act("restart", test)
            yield f"{self.name} is restarted: its configuration is another"

    def changed(self):
        """Whether what the running service has read is not what there is."""
        return bool(django_service.unread(self.name, [str(self.configuration), str(self.path)]))

    def _act(self, verb, test):
        if not test:
            django_service.act(self.name, verb)


def command(program, programs):
    """What an operator types for a program (str) of the Salt in a folder."""
    path = os.path.join(programs, program)
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        found = os.path.join(folder, program)
        if os.access(found, os.X_OK):
            return program if os.path.realpath(found) == os.path.realpath(path) else path
    return path


def wait_for(condition):
    """Whether a condition comes to hold in time (bool)."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
