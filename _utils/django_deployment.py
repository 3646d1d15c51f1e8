"""
One project on one host: what its pillar means now, what lies on the host, and which instance is to
run. The steps of a release (``django_step_*``) all work on a :class:`Deployment`.

Each step looks at the host first and says what differs; it acts only when asked to, and records
what cannot be seen again later. A step that finds all as wanted changes nothing, so a run that was
killed anywhere is continued by the next one.
"""

import contextlib
import functools
import grp
import os
import pathlib
import pwd
from typing import NamedTuple

import django_environment
import django_external
import django_hold
import django_layout
import django_mod_wsgi
import django_namespace
import django_process
import django_references
import django_secrets
import django_source
import django_tasks
import django_uwsgi
import django_venv

GUNICORN_CONFIG = "salt://django/app/files/gunicorn.conf.py"
TASK_FILES = ("project", "database", "users", "migrations", "plan", "commands", "main")


class StepError(Exception):
    """
    A step failed; the message is for the operator and holds no secret.

    blames_release
        Whether the release itself is the cause, as far as can be told: the same release would fail
        again. False for what may pass by itself (network, disk, a database that is down).
    answers
        Of a task in the project's Python: what the tasks before it have answered (dict).
    """

    def __init__(self, message, blames_release=False, answers=None):
        super().__init__(message)
        self.blames_release = blames_release
        self.answers = answers or {}


class Outcome(NamedTuple):
    """
    What a step changed (or would change), a sentence about it, and what an operator has to know
    when nothing changed, too (sentences).
    """

    changes: dict
    comment: str
    warnings: tuple = ()


def unless_held(step):
    """A step that brings the wanted release further: nothing to do while another is held to."""

    @functools.wraps(step)
    def held_or_done(deployment, *args, **kwargs):
        if deployment.hold:
            return Outcome({}, django_hold.sentence(deployment.hold))
        return step(deployment, *args, **kwargs)

    return held_or_done


class Deployment:
    """
    One project on this host.

    project
        Resolved configuration of the project (dict).
    host
        What the configuration says of this host (dict).
    secrets
        Values of the project's secrets by name (dict of str).
    manager
        The process manager's adapter (``programs``, ``differs``, ``start``, ``stop``, ``dismiss``,
        ``discard``, ``failure``).
    read_file
        Function that returns the text of a ``salt://`` file.
    declared
        The project's part of the pillar as it was written (dict): what "the pillar changed" means.
    test
        Only say what would be done.
    """

    def __init__(self, project, host, secrets, manager, read_file, declared=None, test=False):
        self.project = project
        self.host = host
        self.secrets = secrets
        self.manager = manager
        self.read_file = read_file
        self.test = test
        self.layout = django_layout.Layout(project["paths"])
        self.name = project["name"]
        self.user = project["user"]
        self.static_only = project["static_only"]  # nothing of the project runs on this host
        self.key = self.layout.naming_key(secrets.get("SECRET_KEY", ""))
        self.deploy_key = secrets.get("source.deploy_key")
        self._declared = declared
        self._revision = None
        self._unasked = None  # why the source cannot be asked for its revision
        self._repairs = django_layout.read_json(self.layout.repairs)
        self._next_restarts = None  # in test mode, what a run would write
        self.planned_venv = None  # in test mode, the one that a run would build or link
        self.database = None  # what the database said last in this run
        self.dismissed = set()  # programs that this run has told to end

    # What is to run

    @property
    def intent(self):
        """
        What the pillar and the source mean together: ``{"pillar": digest, "revision": str}``. The
        revision is empty where the source cannot be asked.
        """
        try:
            revision = self.revision
        except StepError:
            revision = ""
        return {"pillar": django_layout.digest(self._declared, self.key), "revision": revision}

    @property
    def hold(self):
        """Why what the pillar means is not to go live (dict), or None; see :mod:`django_hold`."""
        refusals = self.layout.refusals()
        return django_hold.find(refusals, self.intent) if refusals else None

    @property
    def target(self):
        """
        Id (str) of the instance that is to run: the wanted one, or the one that is held to. None as
        long as there is none.
        """
        hold = self.hold
        if not hold:
            return self.instance
        if self.layout.instance_record(hold["instance"]):
            return hold["instance"]
        return self.layout.live_instance()

    def definitions_of(self, instance):
        """
        Process definitions of an instance by process name (dict): of the wanted one as the pillar
        has them, of another as they were when it was configured.
        """
        if self.static_only or (not self.hold and instance == self.instance):
            return self._definitions(instance)
        return self.layout.instance_record(instance).get("definitions", {})

    def health_of(self, instance):
        """How an instance is asked for its health (dict), see :func:`django_health.ask`."""
        health = {**self.project["health"], "protocol": self.protocol(instance)}
        if health["protocol"] == "embedded":
            own = self.manager.embedded.port_of(instance)
            health["protocol"], health["site"] = "mod_wsgi", f"e.{self.name}.invalid"
            health["port"] = own or self.project["web"]["probe_port"]
        elif health["protocol"] == "mod_wsgi":
            health["site"] = f"{self.manager.slots.slot_of(instance)}.{self.name}.invalid"
            health["port"] = self.project["web"]["probe_port"]
        return health

    def address_of(self, instance):
        """Where the live link leads (str) when an instance serves: its socket, or its slot."""
        if self.protocol(instance) == "mod_wsgi":
            return f"slots/{self.manager.slots.slot_of(instance)}"
        if self.protocol(instance) == "embedded":
            return f"instances/{instance}"
        return str(self.layout.instance_socket(instance))

    def protocol(self, instance):
        """
        What an instance's web process speaks (str), http or uwsgi, or where in Apache it is,
        mod_wsgi (a slot) or embedded: as it was configured; as the pillar has it without an
        instance, or before.
        """
        record = self.layout.instance_record(instance) if instance else {}
        web = record.get("definitions", {}).get("web")
        if not web:
            app, front = self.project["app"], self.project["web"]["server"]
            inside = "embedded" if django_mod_wsgi.embeds(app) else "mod_wsgi"
            own = "http" if front == "apache" else "uwsgi"
            return {"uwsgi": own, "mod_wsgi": inside}.get(app["server"], "http")
        for name, speaks in (
            ("uwsgi", django_uwsgi.is_spoken),
            ("mod_wsgi", django_mod_wsgi.is_spoken),
            ("embedded", django_mod_wsgi.is_embedded),
        ):
            if speaks(web):
                return name
        return "http"

    @property
    def spoken(self):
        """What the process speaks (str) that serves, or in test mode the one that is to serve."""
        instance = self.layout.live_instance()
        if self.test:
            with contextlib.suppress(StepError):  # the step that it fails tells it
                instance = self.target
        return self.protocol(instance)

    # What the pillar means now

    @property
    def revision(self):
        """
        The source revision (str) that the pillar means; asked for once in a run. Empty in test mode
        where git is not installed yet: in a run it is by now. A source that does not answer is not
        asked again either: each time may take minutes.
        """
        if self._revision is None and self._unasked is None:
            if self.test and django_source.missing_program(self.project["source"]):
                return ""
            try:
                self._revision = django_source.revision(self.project["source"], self.deploy_key)
            except django_source.SourceError as error:
                self._unasked = str(error)
        if self._revision is None:
            raise StepError(self._unasked)
        return self._revision

    def keep_revision(self):
        """The source means what serves, whatever has come since: for who wants no other release."""
        record = self.layout.record(self.layout.live_release() or "")
        self._revision = record.get("revision", self._revision)

    @property
    def content(self):
        """Digest (str) of all that goes into the wanted release."""
        python = self.project["python"]
        return django_layout.digest(
            {
                "revision": self.revision,
                "subdirectory": self.project["source"].get("subdirectory"),
                "python": {key: value for key, value in python.items() if "index" not in key},
                "interpreter": self.interpreter(required=False),
                "build": self.project["build"],
                "files": self.files("release", self.names_of("", "")),
                "links": self.project["links"],
                "static": self.project["static"],
                **self.readers,
            },
            self.key,
        )

    @property
    def readers(self):
        """The group (dict) that can read releases, where it is not the project's own by name."""
        group = self.project["group"]
        return {} if group == self.name else {"group": group}

    @property
    def release_id(self):
        """
        Identity (str) of the wanted release: its content. One that was damaged on this host is
        never mended under a running process: its content gets another identity then.
        """
        content = self.content
        repair = self._repairs.get(content)
        return django_layout.digest([content, repair], self.key) if repair else content

    @property
    def is_damaged(self):
        """Whether the wanted release is not what was built any more, or lost its record."""
        release_id = self.release_id
        record = self.layout.record(release_id)
        if record.get("stage") != "built":
            return release_id == self.layout.live_release()
        return not self.layout.is_whole(release_id)

    def replace_damaged(self):
        """Give the wanted content another identity, in test mode for this run only."""
        content = self.content
        self._repairs[content] = self._repairs.get(content, 0) + 1
        if not self.test:
            django_layout.write_json(self.layout.repairs, self._repairs)

    @property
    def record(self):
        """Record (dict) of the wanted release; empty when it or its source is not on this host."""
        return self.layout.record(self.release_id) if os.path.isdir(self.source) else {}

    @property
    def source(self):
        """The project's folder in the wanted release (str)."""
        return self.source_of(self.release_id)

    @property
    def venv(self):
        """The virtual environment of the wanted release (str), or an empty text."""
        name = self.planned_venv or self.linked_venv(self.release_id)
        return str(self.layout.venvs / name) if name else ""

    def linked_venv(self, release_id):
        """Folder name (str) of the virtual environment that a release uses, or None."""
        target = django_layout.target_of(self.layout.release(release_id) / "venv")
        return pathlib.PurePath(target).name if target else None

    @property
    def fetched(self):
        """Whether the source of the wanted release is here, and no build of it was broken off."""
        return self.record.get("stage") in ("fetched", "built")

    @property
    def built(self):
        """Whether the wanted release is complete."""
        return self.record.get("stage") == "built" and bool(self.venv)

    def source_of(self, release_id):
        """The project's folder in a release (str)."""
        return self.names_of(release_id, "")["path.project"]

    def names(self, instance=""):
        """Namespace for references of the wanted release (dict)."""
        return self.names_of(self.release_id, self.venv, instance)

    def names_of(self, release_id, venv, instance=""):
        socket = str(self.layout.instance_socket(instance)) if instance else ""
        return django_namespace.namespace(
            self.project, self.host, self.secrets, release_id, venv, instance, socket
        )

    def variables(self, instance=""):
        """Environment (dict of str) of the wanted release's processes and tasks."""
        environment = self.project["environment"]
        if self.record.get("settings"):
            environment = {"DJANGO_SETTINGS_MODULE": self.record["settings"], **environment}
        return django_environment.variables(environment, self.names(instance))

    def environments(self, instance=""):
        """Text of each environment file of an instance, by its name (dict)."""
        names, common = self.names(instance), self.variables(instance)
        texts = {"environment": django_environment.shell_file(common)}
        for label, own in django_process.environments(self.project).items():
            extra = django_environment.variables(own, names)
            texts[f"environment.{label}"] = django_environment.shell_file({**common, **extra})
        return texts

    def _definitions(self, instance):
        names = self.names(instance)
        folder = str(self.layout.instance(instance))
        return django_process.definitions(self.project, self.record, names, folder)

    @property
    def instance(self):
        """Id (str) of the wanted instance, or None as long as its release is not built."""
        if not self.built:
            return None
        named = django_layout.digest({**self._configuration, "restarts": self._restarts}, self.key)
        return f"{self.release_id}-{named}"

    @property
    def _restarts(self):
        """Of its processes, how many there were: another run may have made one just before."""
        return self._next_restarts or django_layout.read_json(self.layout.restarts)

    def next_generation(self):
        """
        Let the wanted instance be another one than before, though nothing of it has changed; in
        test mode for this run only.
        """
        restarts = {"count": self._restarts.get("count", 0) + 1}
        if self.test:
            self._next_restarts = restarts
        else:
            django_layout.write_json(self.layout.restarts, restarts)

    @property
    def likeness(self):
        """Digest (str) of the wanted configuration, the same for each restart of its processes."""
        return django_layout.digest(self._configuration, self.key)

    @property
    def _configuration(self):
        return {
            "environments": self.environments(),
            "definitions": self._definitions(""),
            "files": self.files("host", self.names()),
            "manager": self.manager.kind,
            "gunicorn": self.read_file(GUNICORN_CONFIG),
            "after_switch": self.project["migrate"]["after_switch"],
        }

    def redact(self, text):
        """``text`` without any secret of the project."""
        return django_secrets.redact(text, self.secrets.values())

    # What the steps need

    @property
    def _account(self):
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            raise StepError(f"the system user {self.user!r} does not exist") from None

    @property
    def uid(self):
        """Number (int) of the project's user."""
        return self._account.pw_uid

    @property
    def gid(self):
        """
        Number (int) of the project's group, which a run makes its user's primary one where
        somebody changed that.
        """
        try:
            return grp.getgrnam(self.project["group"]).gr_gid
        except KeyError:
            return self._account.pw_gid

    def interpreter(self, required=True):
        """The Python (str) that the project asks for; a StepError where it is not on this host."""
        wanted = self.project["python"]["interpreter"]
        try:
            return django_venv.find_interpreter(wanted)
        except django_venv.VenvError as error:
            if required:
                raise StepError(str(error)) from None
            return wanted

    def files(self, where, names):
        """Rendered files (``{path: text}``) that belong ``where``: ``release`` or ``host``."""
        rendered = {}
        for entry in self.project["files"]:
            if entry["where"] != where:
                continue
            content = django_references.expand(entry["content"], names)
            try:
                rendered[entry["path"]] = django_environment.serialise(content, entry["format"])
            except ValueError as error:
                path = f"django:projects:{self.name}:files:{entry['path']}"
                raise StepError(f"{path}: {error}") from None
        return rendered

    def log(self, name):
        """Path (str) of a log that root writes to."""
        path = self.layout.log / f"{name}.log"
        django_layout.claim_log(path, self.gid)
        return str(path)

    def project_file(self, path):
        """The entry of ``files`` with that path (dict)."""
        return next(entry for entry in self.project["files"] if entry["path"] == path)

    def give_to_user(self, folder):
        """Let the project's user own a tree."""
        django_layout.give(folder, self.uid, self.gid)

    def django(self, tasks, timeout, failure, extra=None, instance=None, heard=None):
        """
        Carry out ``tasks`` in one Django process of an instance (the wanted one by default) and
        return its answers by task name (dict).

        extra
            More environment variables (dict of str), for a secret that only this task needs.
        heard
            Called with what is printed meanwhile, as of :func:`django_run.run`.
        """
        instance = instance or self.instance
        record = self.layout.instance_record(instance)
        environment = self.environment_of(instance)
        names = self.names_of(record["release"], record["venv"], instance)
        try:
            return django_tasks.carry_out(
                f"{record['venv']}/bin/python",
                tasks,
                [self.read_file(f"{django_tasks.FOLDER}/{name}.py") for name in TASK_FILES],
                user=self.user,
                group=self.gid,
                env={**environment, **(extra or {})},
                cwd=names["path.project"],
                timeout=timeout,
                umask=0o027,
                heard=heard,
            )
        except django_tasks.TaskError as error:
            advice = django_external.advice(self.name, self.project, str(error))
            text = self.redact(f"{failure}. {error}\n{advice}".rstrip())
            raise StepError(text, error.blames_project, error.answers) from None

    def environment_of(self, instance):
        """Environment variables (dict of str) that an instance has on the disk."""
        text = (self.layout.instance(instance) / "environment").read_text(encoding="utf-8")
        return django_environment.parse_shell_file(text)

    def ready(self):
        """Whether the wanted instance has passed its checks, so that its facts are known."""
        instance = self.instance
        return bool(instance and self.layout.instance_record(instance).get("facts"))

    def facts(self):
        """What the check found out about the wanted release (dict)."""
        return self.layout.instance_record(self.instance)["facts"]
