"""
The steps that bring a project's release to life on a host.

Each step looks at the host first and says what differs; it acts only when asked to, and records
what cannot be seen again later. A step that finds all as wanted changes nothing, so a run that was
killed anywhere is continued by the next one. :mod:`django_activation` holds the steps that need
the built release.
"""

import os
import pathlib
import pwd
import re
import shutil
from typing import NamedTuple

import django_environment
import django_layout
import django_namespace
import django_process
import django_references
import django_secrets
import django_source
import django_venv
from django_run import CommandError, build_environment, run

GUNICORN_CONFIG = "salt://django/host/files/usr/local/lib/django-formula/gunicorn.conf.py"
UV = "/opt/django-formula/uv/bin/uv"
RESERVE_BYTES = 200 * 1024 * 1024
_SETTINGS = re.compile(r"""["']DJANGO_SETTINGS_MODULE["']\s*[,\]]\s*=?\s*["']([\w.]+)["']""")


class StepError(Exception):
    """A step failed; the message is for the operator and holds no secret."""


class Outcome(NamedTuple):
    """What a step changed (or would change) and a sentence about it."""

    changes: dict
    comment: str


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
        The process manager's adapter (``programs``, ``differs``, ``start``, ``stop``, ``failure``).
    read_file
        Function that returns the text of a ``salt://`` file.
    test
        Only say what would be done.
    """

    def __init__(self, project, host, secrets, manager, read_file, test=False):
        self.project = project
        self.host = host
        self.secrets = secrets
        self.manager = manager
        self.read_file = read_file
        self.test = test
        self.layout = django_layout.Layout(project["paths"])
        self.name = project["name"]
        self.user = project["user"]
        self._key = secrets.get("SECRET_KEY", "").encode()
        self._deploy_key = secrets.get("source.deploy_key")
        self._revision = None
        self._planned_venv = None  # in test mode, the one that a run would build or link

    # What the pillar means now

    @property
    def revision(self):
        """
        The source revision (str) that the pillar means; asked for once in a run. Empty in test mode
        where git is not installed yet: in a run it is by now.
        """
        if self._revision is None:
            if self.test and django_source.missing_program(self.project["source"]):
                return ""
            try:
                self._revision = django_source.revision(self.project["source"], self._deploy_key)
            except django_source.SourceError as error:
                raise StepError(str(error)) from None
        return self._revision

    @property
    def release_id(self):
        """Identity (str) of the wanted release: all content that goes into it."""
        python = self.project["python"]
        return django_layout.digest(
            {
                "revision": self.revision,
                "subdirectory": self.project["source"].get("subdirectory"),
                "python": {key: value for key, value in python.items() if "index" not in key},
                "interpreter": self._interpreter(required=False),
                "build": self.project["build"],
                "files": self._files("release", self._names("", "")),
                "links": self.project["links"],
                "static": self.project["static"],
            },
            self._key,
        )

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
        name = self._planned_venv or self.linked_venv(self.release_id)
        return str(self.layout.venvs / name) if name else ""

    def linked_venv(self, release_id):
        """Folder name (str) of the virtual environment that a release uses, or None."""
        target = django_layout.target_of(self.layout.release(release_id) / "venv")
        return pathlib.PurePath(target).name if target else None

    @property
    def built(self):
        """Whether the wanted release is complete."""
        return self.record.get("stage") == "built" and bool(self.venv)

    def source_of(self, release_id):
        """The project's folder in a release (str)."""
        return self._names(release_id, "")["path.project"]

    def names(self, instance=""):
        """Namespace for references of the wanted release (dict)."""
        return self._names(self.release_id, self.venv, instance)

    def _names(self, release_id, venv, instance=""):
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

    def _environments(self, instance=""):
        """Text of each environment file of an instance, by its name (dict)."""
        names, common = self.names(instance), self.variables(instance)
        texts = {"environment": django_environment.shell_file(common)}
        for label, own in django_process.environments(self.project).items():
            extra = django_environment.variables(own, names)
            texts[f"environment.{label}"] = django_environment.shell_file({**common, **extra})
        return texts

    @property
    def definitions(self):
        """Process definitions of the wanted instance by process name (dict)."""
        return self._definitions(self.instance)

    def _definitions(self, instance):
        names = self.names(instance)
        folder = str(self.layout.instance(instance))
        return django_process.definitions(self.project, self.record, names, folder)

    @property
    def instance(self):
        """Id (str) of the wanted instance, or None as long as its release is not built."""
        if not self.built:
            return None
        configuration = {
            "environments": self._environments(),
            "definitions": self._definitions(""),
            "files": self._files("host", self.names()),
            "manager": self.manager.kind,
            "gunicorn": self.read_file(GUNICORN_CONFIG),
        }
        return f"{self.release_id}-{django_layout.digest(configuration, self._key)}"

    def redact(self, text):
        """``text`` without any secret of the project."""
        return django_secrets.redact(text, self.secrets.values())

    # Steps

    def fetch(self):
        """The source of the wanted release lies in its folder."""
        release_id = self.release_id
        if self.record.get("stage"):
            return Outcome({}, f"Release {release_id} of {self._describe_revision()} is here.")
        # Without the project's secret, which a first run generates, its name is not known yet.
        name = release_id if self._key else "the first"
        changes = {"release": {"old": self.layout.live_release(), "new": name}}
        comment = f"Release {name} of {self._describe_revision()}"
        if self.test:
            return Outcome(changes, f"{comment} would be fetched.")
        self._require_space()
        folder = self.layout.release(release_id)
        django_layout.remove_tree(folder)
        folder.mkdir(mode=0o750)
        os.chown(folder, 0, self._gid)
        self.layout.downloads.mkdir(mode=0o700, exist_ok=True)
        try:
            django_source.fetch(
                self.project["source"],
                self.revision,
                folder / "source",
                self.layout.downloads,
                self._deploy_key,
            )
        except (django_source.SourceError, OSError) as error:
            django_layout.remove_tree(folder)
            raise StepError(self.redact(str(error))) from None
        if not pathlib.Path(self.source).is_dir():
            django_layout.remove_tree(folder)
            raise StepError(
                f"source:subdirectory: the source has no folder "
                f"{self.project['source']['subdirectory']!r}"
            )
        self._give_to_user(folder / "source")
        self.layout.save_record(release_id, stage="fetched", revision=self.revision)
        return Outcome(changes, f"{comment} is fetched.")

    def install(self):
        """The wanted release has a virtual environment with all its packages."""
        if not self.record.get("stage"):
            return Outcome({"venv": "of the new release"}, "Its packages would be installed.")
        try:
            wanted = self._venv_inputs()
        except django_venv.VenvError as error:
            raise StepError(str(error)) from None
        old = self.linked_venv(self.release_id)
        name = self._usable_venv(django_venv.name_of(wanted), old)
        whole = self._is_intact(name)
        if whole and old == name:
            return Outcome({}, f"Environment {name} is complete.")
        changes = {"venv": {"old": old, "new": name}}
        about = f"Environment {name}: {django_venv.describe(wanted)}"
        if self.test:
            self._planned_venv = name
            return Outcome(changes, f"{about}, {'reused' if whole else 'would be built'}.")
        if not whole:
            self._build_venv(name, wanted)
        link = self.layout.release(self.release_id) / "venv"
        django_layout.point(link, f"../../venvs/{name}")
        return Outcome(changes, f"{about}, {'reused' if whole else 'built'}.")

    def build(self):
        """The wanted release holds its rendered files and the results of its build steps."""
        if self.record.get("stage") == "built":
            return Outcome({}, f"Release {self.release_id} is built.")
        changes = {"built": self.release_id}
        if self.test:
            return Outcome(changes, f"Release {self.release_id} would be built.")
        folder = self.layout.release(self.release_id)
        self._give_to_user(folder / "source")
        self._detect()
        for name, text in self._files("release", self.names()).items():
            path = self._inside(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            entry = self.project_file(name)
            django_layout.write_atomic(path, text, int(entry["mode"], 8), self._uid, self._gid)
        for link in self.project["links"]:
            path = self._inside(link["link"])
            if path.is_dir() and not path.is_symlink():
                django_layout.remove_tree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            django_layout.point(path, link["target"])
        self._give_to_user(folder / "source")
        log = self._log("build")
        for number, step in enumerate(self.project["build"], 1):
            self._build_step(number, step, log)
        compile_all = [f"{self.venv}/bin/python", "-m", "compileall", "-q", "-j0", self.source]
        run(compile_all, user=self.user, env=build_environment(), check=False)
        django_layout.seal(folder / "source", self._gid)
        self.layout.save_record(self.release_id, stage="built")
        return Outcome(changes, f"Release {self.release_id} is built.")

    def configure(self):
        """The wanted instance's environment and the files on the host are written."""
        instance = self.instance
        if instance is None:
            return Outcome(
                {"instance": "of the new release"}, "Its configuration would be written."
            )
        folder = self.layout.instance(instance)
        environments = self._environments(instance)
        wanted = {
            **{
                str(folder / name): (text, 0o400, self._uid, self._gid)
                for name, text in environments.items()
            },
            **{
                path: (text, int(self.project_file(path)["mode"], 8), 0, self._gid)
                for path, text in self._files("host", self.names(instance)).items()
            },
        }
        differing = [
            path for path, entry in wanted.items() if django_layout.file_differences(path, *entry)
        ]
        record = {"release": self.release_id, "venv": self.venv}
        recorded = record.items() <= self.layout.instance_record(instance).items()
        if recorded and not differing:
            return Outcome({}, f"The configuration of instance {instance} is in place.")
        changes = {"instance": instance, "files": sorted(differing)}
        changed = self._changed_variables(environments["environment"])
        if changed:
            changes["variables"] = changed
        if self.test:
            return Outcome(changes, f"Instance {instance} would be configured.")
        folder.mkdir(mode=0o750, exist_ok=True)
        os.chown(folder, 0, self._gid)
        for path in differing:
            pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
            django_layout.write_atomic(path, *wanted[path])
        self.layout.save_instance_record(instance, **record)
        return Outcome(changes, f"Instance {instance} is configured.")

    # Helpers

    @property
    def _account(self):
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            raise StepError(f"the system user {self.user!r} does not exist") from None

    @property
    def _uid(self):
        return self._account.pw_uid

    @property
    def _gid(self):
        return self._account.pw_gid

    def _describe_revision(self):
        source = self.project["source"]
        if source["kind"] == "pypi":
            return self.revision
        rev = source.get("rev")
        return " ".join(filter(None, (source["kind"], rev, self.revision[:12])))

    def _interpreter(self, required=True):
        wanted = self.project["python"]["interpreter"]
        try:
            return django_venv.find_interpreter(wanted)
        except django_venv.VenvError as error:
            if required:
                raise StepError(str(error)) from None
            return wanted

    def _own_package(self):
        source = self.project["source"]
        if source["kind"] != "pypi":
            return None
        extras = f"[{','.join(source['extras'])}]" if source.get("extras") else ""
        return f"{source['package']}{extras}=={source['version']}"

    def _venv_inputs(self):
        return django_venv.inputs(
            self.project["python"],
            self.source,
            self._interpreter(),
            self.revision,
            self._own_package(),
        )

    def _is_intact(self, name):
        marker = django_layout.read_json(self.layout.venvs / name / django_venv.MARKER)
        return bool(marker) and marker["installed"] == django_venv.installed(
            self.layout.venvs / name
        )

    def _usable_venv(self, name, linked):
        """
        The folder name to use for the environment ``name``: the one that is linked if it is intact.
        One whose packages were changed by hand is never mended under a running process; a new one
        takes its place.
        """
        if linked and linked.split("-")[0] == name and self._is_intact(linked):
            return linked
        candidate, number = name, 1
        while (self.layout.venvs / candidate / django_venv.MARKER).exists():
            if self._is_intact(candidate):
                return candidate
            number += 1
            candidate = f"{name}-{number}"
        return candidate

    def _build_venv(self, name, wanted):
        folder = self.layout.venvs / name
        django_layout.remove_tree(folder)
        folder.mkdir(mode=0o750)
        os.chown(folder, self._uid, self._gid)
        python = self.project["python"]
        environment = django_venv.environment(
            django_environment.variables(python["environment"], self.names()),
            folder,
            self.layout.cache,
            self.secrets,
        )
        constraints = django_venv.constraint_file(folder, wanted)
        if constraints:
            django_layout.write_atomic(*constraints)
        log = self._log("build")
        try:
            for argv in django_venv.commands(wanted, python, self.source, folder, UV):
                run(
                    argv,
                    user=self.user,
                    env=environment,
                    cwd=self.source,
                    timeout=python["timeout"],
                    log=log,
                )
        except CommandError as error:
            django_layout.remove_tree(folder)
            raise StepError(self.redact(f"The packages cannot be installed. {error}")) from None
        finally:
            if constraints:
                os.unlink(constraints[0])
        django_layout.seal(folder, self._gid)
        django_layout.write_json(
            folder / django_venv.MARKER,
            {"inputs": wanted, "installed": django_venv.installed(folder)},
        )

    def _build_step(self, number, step, log):
        argv = step["command"]
        argv = argv if isinstance(argv, list) else ["/bin/sh", "-ec", argv]
        names = self.names()
        argv = [django_references.expand_text(word, names) for word in argv]
        extra = django_environment.variables(step["environment"], names)
        environment = {
            **build_environment(),
            **self.variables(),
            **extra,
            "HOME": str(self.layout.cache),
        }
        try:
            run(
                argv,
                user=self.user,
                env=environment,
                cwd=os.path.join(self.source, step.get("directory") or ""),
                timeout=step["timeout"],
                log=log,
            )
        except CommandError as error:
            raise StepError(
                self.redact(f"Build step {number} failed ({log} has all of it). {error}")
            ) from None

    def _detect(self):
        """Find the settings module and the WSGI entry point where the pillar names none."""
        found = {}
        source = pathlib.Path(self.source)
        entries = [path for depth in ("", "*/", "*/*/") for path in source.glob(f"{depth}wsgi.py")]
        entries = [path for path in entries if "node_modules" not in path.parts]
        if len(entries) == 1:
            parts = entries[0].relative_to(source).with_suffix("").parts
            found["wsgi"] = ".".join(parts)
        manage = source / self.project["manage"]["value"]
        for path in [*entries[:1], manage]:
            text = path.read_text(errors="replace") if path.is_file() else ""
            match = _SETTINGS.search(text)
            if match and "settings" not in found:
                found["settings"] = match.group(1)
        problems = []
        if not (self.project["settings"] or found.get("settings")):
            problems.append("settings: the source does not tell the settings module; name it")
        app = self.project["app"]
        if app["server"] == "gunicorn" and not (app["module"] or found.get("wsgi")):
            problems.append(
                f"app:module: the source has {len(entries)} wsgi.py; name the entry point"
            )
        if problems:
            raise StepError("\n".join(f"django:projects:{self.name}:{line}" for line in problems))
        self.layout.save_record(self.release_id, **found)

    def _files(self, where, names):
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

    def _log(self, name):
        """Path (str) of a log that root writes to."""
        path = self.layout.log / f"{name}.log"
        django_layout.claim_log(path, self._gid)
        return str(path)

    def project_file(self, path):
        """The entry of ``files`` with that path (dict)."""
        return next(entry for entry in self.project["files"] if entry["path"] == path)

    def _inside(self, name):
        """A path in the project's folder of the release; a link must not lead out of it."""
        path = pathlib.Path(self.source, name)
        if not path.parent.resolve().is_relative_to(pathlib.Path(self.source).resolve()):
            raise StepError(f"{name} leads out of the release through a link in the source")
        return path

    def _give_to_user(self, folder):
        django_layout.give(folder, self._uid, self._gid)

    def _require_space(self):
        free = shutil.disk_usage(self.layout.releases).free
        if free < RESERVE_BYTES:
            raise StepError(
                f"Only {free // 2**20} MiB are free below {self.layout.releases}; "
                f"a release needs at least {RESERVE_BYTES // 2**20} MiB. Nothing was changed."
            )

    def _changed_variables(self, environment):
        live = self.layout.live_instance()
        if live is None:
            return []
        try:
            text = (self.layout.instance(live) / "environment").read_text(encoding="utf-8")
        except OSError:
            return []
        old = django_environment.parse_shell_file(text)
        new = django_environment.parse_shell_file(environment)
        return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
