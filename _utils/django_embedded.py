"""
A project in Apache's own processes, mod_wsgi's embedded mode. WSGIPythonHome is one for the whole
Apache, and is read when Apache is told to: so a release is a graceful restart, by which requests
that run finish in the old processes. Before it, the instance is started in a private Apache, at a
port of the loopback, and asked for its health there.

What Apache's processes run is said by one file of its configuration, which names the instance's
folder. That folder never changes, so a process never sees parts of two releases.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import signal
import socket
import time

import django_layout
import django_mod_wsgi
import django_process
import django_running
import django_service
from django_deployment import StepError
from django_run import BASE_PATH, CommandError, run

CONFIGURATION = pathlib.Path("/etc/apache2/embedded.conf")
PRIVATE = pathlib.Path("/run/django-formula/embedded")
PROGRAM = "/usr/sbin/apache2"
MODULES = ("mpm_event", "authz_core", "setenvif", "headers", "wsgi")
HOME = "python"  # in the folder of an instance: a link to its environment of packages
ENTRY = django_mod_wsgi.ENTRY
_INSTANCE = re.compile(r'^WSGIPythonHome "(?P<folder>.+)/python"$', re.M)
START_SECONDS = 10  # for a private Apache to write its number
STOP_SECONDS = 10
RESTART_SECONDS = 60  # for Apache to have others that have loaded the instance
LEAVE_SECONDS = 10  # that old processes with nothing to do may take to end
POLL_SECONDS = 0.05


def configuration(name, folder):
    """What Apache is told (str) when the project's instance in ``folder`` is to run in it."""
    return (
        "# Written by django-formula; a release replaces it.\n"
        f'WSGIPythonHome "{folder}/{HOME}"\n'
        "WSGIRestrictEmbedded Off\n"
        f"Define django-embedded-{name}\n"
    )


def private_configuration(project, folder, home, port):
    """
    The configuration (str) of a private Apache that runs one instance.

    project
        Resolved project.
    folder
        Where its own files lie.
    home
        The environment of packages.
    port
        Of the loopback.
    """
    health = project["health"]
    lines = [
        "# Written by django-formula.",
        'ServerRoot "/etc/apache2"',
        f'DefaultRuntimeDir "{folder}"',
        f'PidFile "{folder}/pid"',
        f"ServerName {project['name']}.invalid",
        f"User {project['user']}",
        f"Group {project['group']}",
        *(f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in MODULES),
        "ServerLimit 1",
        "StartServers 1",
        "ThreadLimit 4",
        "ThreadsPerChild 4",
        "MinSpareThreads 1",
        "MaxSpareThreads 4",
        "MaxRequestWorkers 4",
        f"Listen 127.0.0.1:{port}",
        f'ErrorLog "{django_mod_wsgi.LOG.format(project["name"])}"',
        f'WSGIPythonHome "{home}"',
        f"WSGIImportScript {django_mod_wsgi.SCRIPT}"
        " process-group=%{GLOBAL} application-group=%{GLOBAL}",
        f"WSGIScriptAlias / {django_mod_wsgi.SCRIPT}",
        "WSGIApplicationGroup %{GLOBAL}",
        "WSGIScriptReloading Off",
        '<Location "/">',
        "    Require all granted",
        "</Location>",
        f'RequestHeader set Host "{health["host"]}"',
        f"RequestHeader set X-Forwarded-Proto {health['scheme']}",
        *(['SetEnvIfExpr "true" HTTPS=on'] if health["scheme"] == "https" else []),
    ]
    return "\n".join(lines) + "\n"


class Manager:
    """
    Starts, activates and stops instances of a project in Apache's own processes.

    project
        Resolved project.
    """

    kind = "apache, embedded"
    test = False

    def __init__(self, project):
        self._project = project
        self._name = project["name"]
        self._run = pathlib.Path(project["paths"]["run"])
        self._instances = pathlib.Path(project["paths"]["instances"])
        self._private = PRIVATE / self._name

    def configured(self):
        """The instance (str) that Apache's configuration names, or None."""
        try:
            found = _INSTANCE.search(CONFIGURATION.read_text(encoding="utf-8"))
        except OSError:
            return None
        folder = pathlib.Path(found["folder"]) if found else None
        return folder.name if folder and folder.parent == self._instances else None

    def port_of(self, instance):
        """Port (int) of the private Apache that runs an instance, or None when none does."""
        told = django_layout.read_json(self._private / "started.json")
        return told["port"] if told.get("instance") == instance and self._private_pid() else None

    # As other process managers

    def programs(self):
        """The instances in Apache: ``{name: {running, state, pid, pids, restarts, leaving}}``."""
        configured, found = self.configured(), {}
        loaded = self._loaded()
        for instance, pids in loaded.items():
            found[self._program(instance)] = _program(pids, leaving=instance != configured)
        if configured and configured not in loaded:
            found[self._program(configured)] = _program([], leaving=False)
        pid = self._private_pid()
        told = django_layout.read_json(self._private / "started.json").get("instance")
        if pid and told and told != configured:
            found[self._program(told)] = _program([pid], leaving=False)
        return found

    def differs(self, name, definition):
        """Whether Apache is to run something else than ``definition`` says."""
        instance = self._instance(name)
        entry = django_layout.read_json(self._instances / instance / ENTRY)
        return self.configured() != instance or entry != self._wanted(instance, definition)

    def start(self, name, definition):
        """Run an instance in a private Apache; see :meth:`activate`."""
        self._end_private()
        instance = self._instance(name)
        for path in self._run.glob(f"web-{instance}.*"):
            path.unlink(missing_ok=True)
        folder, wanted = self._instances / instance, self._wanted(instance, definition)
        django_layout.point(folder / HOME, wanted["venv"])
        text = json.dumps(wanted, indent=1, sort_keys=True) + "\n"
        gid = folder.stat().st_gid
        django_layout.write_atomic(folder / ENTRY, text, 0o640, 0, gid)
        self._private.mkdir(parents=True, exist_ok=True)
        port = _free_port()
        file = self._private / "apache2.conf"
        text = private_configuration(self._project, self._private, folder / HOME, port)
        django_layout.write_atomic(file, text)
        told = {"instance": instance, "port": port}
        django_layout.write_json(self._private / "started.json", told)
        environment = {"PATH": BASE_PATH, "LANG": "C.UTF-8"}
        try:
            run([PROGRAM, "-f", str(file), "-k", "start"], env=environment, timeout=60)
        except CommandError as error:
            raise StepError(f"A private Apache does not start: {error}") from None
        if not _wait(self._private_pid, START_SECONDS):
            raise StepError("A private Apache does not run")

    def activate(self, name):
        """
        Let Apache run an instance that is healthy in the private one: a graceful restart. Returns
        when Apache's processes have loaded it and those of before have ended, or work on.
        """
        instance = self._instance(name)
        if self.configured() == instance and instance in self._loaded():
            return
        self._reload(configuration(self._name, self._instances / instance))
        if not _wait(lambda: instance in self._loaded(), RESTART_SECONDS):
            raise StepError(f"Apache was restarted and has not loaded instance {instance}")
        self._end_private()

    def stop(self, name, timeout):
        """End the private Apache of an instance, or let Apache run none in its processes."""
        instance = self._instance(name)
        if self.port_of(instance):
            self._end_private()
        if self.configured() == instance:
            self._reload(None)

    def dismiss(self, name):
        """As :meth:`stop`."""
        self.stop(name, 0)

    def discard(self, name):
        """End the private Apache of an instance that never served."""
        self._end_private()
        for path in self._run.glob(f"web-{self._instance(name)}.*"):
            path.unlink(missing_ok=True)

    def failure(self, name):
        """Why an instance does not run (str), or None when it runs or is about to."""
        return django_mod_wsgi.failure(name, self._instance(name), self._run)

    # Processes

    def _instance(self, name):
        return django_process.parse_program(name, self._name)[1]

    def _program(self, instance):
        return django_process.program_name(self._name, "web", instance)

    def _wanted(self, instance, definition):
        return {**definition["embedded"], "instance": instance}

    def _reload(self, text):
        """Let Apache read its configuration with this text (None: without it), or as it was."""
        before = CONFIGURATION.read_text(encoding="utf-8") if CONFIGURATION.exists() else None
        old = _children()
        _write(text)
        try:
            django_service.act("apache2", "reload")
        except django_service.ServiceError as error:
            _write(before)
            raise StepError(f"Apache was not restarted: {error}") from None
        _wait(lambda: not old & _children(), LEAVE_SECONDS)

    def _loaded(self):
        """Which of Apache's processes have loaded which instance: ``{instance: [pid]}``."""
        found = {}
        for pid in sorted(_children(django_mod_wsgi.EMBEDDED_USER)):
            for path in self._run.glob(f"web-*.{pid}"):
                instance = path.name.removeprefix("web-").removesuffix(f".{pid}")
                found.setdefault(instance, []).append(pid)
        return found

    def _private_pid(self):
        pid = django_mod_wsgi.pid_in(self._private / "pid")
        return pid if pid and str(self._private) in _words(pid) else 0

    def _end_private(self):
        """End the private Apache with all its processes, where there is one."""
        pid = self._private_pid()
        if not pid:
            return
        pids = django_running.descendants(django_running.table(), pid)
        for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, STOP_SECONDS)):
            for each in sorted(pids) if number == signal.SIGKILL else [pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, number)
            if _wait(lambda: not self._private_pid(), seconds):
                return


def _program(pids, leaving):
    return {
        "running": bool(pids),
        "state": "RUNNING" if pids else "STOPPED",
        "pid": pids[0] if pids else 0,
        "pids": pids,
        "restarts": 0,
        "leaving": leaving,
    }


def _write(text):
    if text is None:
        CONFIGURATION.unlink(missing_ok=True)
    else:
        django_layout.write_atomic(CONFIGURATION, text)


def _words(pid):
    """The command line (str) of a process, empty when it is not there."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _children(user=None):
    """Numbers (set of int) of Apache's processes but the first: all of them, or a user's."""
    main = django_mod_wsgi.main_process()
    table = django_running.table() if main else {}
    uid = pwd.getpwnam(user).pw_uid if main and user else None
    return {
        pid
        for pid, process in table.items()
        if process.parent == main and uid in (None, process.uid)
    }


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait(condition, seconds):
    """Whether ``condition`` came true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
