"""
What the execution modules share: this host's configuration, its projects' secrets and deployments,
all worked out once in a run.
"""

import copy
import itertools
import os
import pathlib
import re

import django_config
import django_deployment
import django_embedded
import django_failure
import django_lock
import django_managers
import django_secrets
import django_slots
import django_supervisor_manager
import django_systemd
from django_deployment import StepError
from django_run import CommandError
from salt.exceptions import CommandExecutionError, SaltException

PARAMETERS = "salt://django/parameters"
RENDERING = re.compile(r"Rendering SLS '(?P<sls>[^']+)' failed. Please see")
RESOLVED = "django.resolved"
DEPLOYMENTS = "django.deployments"


class Access:
    """
    The configuration and the deployments of a host.

    salt, pillar, grains, context
        ``__salt__``, ``__pillar__``, ``__grains__`` and ``__context__`` of an execution module.
    """

    def __init__(self, salt, pillar, grains, context):
        self._salt = salt
        self._pillar = pillar
        self._grains = grains
        self._context = context

    def public(self):
        """The configuration with its secrets masked (dict); see :mod:`django_config`."""
        return self._resolved()["public"]

    def valid(self):
        """The configuration with its secrets (dict); CommandExecutionError when it is wrong."""
        full = self._resolved()["full"]
        if not full["valid"]:
            raise CommandExecutionError("\n".join(["The pillar is not valid:", *full["errors"]]))
        return full

    def project(self, name):
        """Resolved configuration of a project (dict)."""
        projects = self.valid()["projects"]
        if not isinstance(name, str) or name not in projects:
            known = ", ".join(sorted(projects)) or "none"
            raise CommandExecutionError(f"This host has no project {name!r}; there are: {known}")
        return projects[name]

    def secrets(self, name):
        """Values of a project's secrets by name (dict of str)."""
        kept = django_secrets.load(django_config.PATHS["secrets"], name)
        return django_secrets.values(self.project(name)["secret_specs"], kept)

    def read_file(self, url):
        """Text of a ``salt://`` file."""
        try:
            path = self._salt["cp.cache_file"](url)
        except OSError as error:
            text = f"{url} cannot be copied to this host: {error.strerror or error}"
            raise CommandExecutionError(text) from None
        if not path:
            raise CommandExecutionError(f"{url} is not on the file server")
        return pathlib.Path(path).read_text(encoding="utf-8")

    def deployment(self, name, test=False):
        """The :class:`~django_deployment.Deployment` of a project."""
        deployments = self._context.setdefault(DEPLOYMENTS, {})
        project = self.project(name)
        if name not in deployments:
            managers = {
                "systemd": django_systemd.Manager(name),
                "supervisord": django_supervisor_manager.Manager(name, self._salt),
            }
            chosen = managers.pop(project["process_manager"])
            declared = self._pillar.get("django", {}).get("projects", {}).get(name)
            deployments[name] = django_deployment.Deployment(
                project,
                self.valid()["host"],
                self.secrets(name),
                django_managers.Managers(
                    chosen,
                    *managers.values(),
                    slots=django_slots.Manager(project),
                    embedded=django_embedded.Manager(project),
                ),
                self.read_file,
                declared,
            )
        deployments[name].test = deployments[name].manager.test = test
        return deployments[name]

    def forget(self):
        """Let a new run ask sources for their revisions again."""
        self._context.pop(DEPLOYMENTS, None)

    def lock(self, name):
        """Hold the lock of a project until this process ends."""
        try:
            django_lock.hold(name)
        except django_lock.LockedError as error:
            raise CommandExecutionError(str(error)) from None

    def step(self, name, step, test, **arguments):
        """
        Carry out a step of a project's release: ``{"changes": dict, "comment": str}``, with
        ``"warnings"`` (list of str) where there are any; they end the comment, too.
        """
        deployment = self.deployment(name, test)
        if not test:
            self.lock(name)
        try:
            outcome = step(deployment, **arguments)
        except (StepError, CommandError, OSError) as error:
            told = as_step_error(error)
            hint = "" if test else django_failure.settle(deployment, step.__name__, told)
            text = deployment.redact(f"{told}\n{hint}".rstrip())
            raise CommandExecutionError(text) from None
        comment = " ".join([outcome.comment, *outcome.warnings])
        done = {"changes": outcome.changes, "comment": comment}
        return {**done, "warnings": list(outcome.warnings)} if outcome.warnings else done

    def _resolved(self):
        """``{"full": configuration with secrets, "public": without}``, once per pillar."""
        pillar = {key: self._pillar.get(key) for key in ("django", "_errors")}
        cached = self._context.get(RESOLVED)
        if cached is None or cached["pillar"] != pillar:
            given = self._pillar
            if pillar["_errors"]:
                given = {**given, "_errors": list(map(self._told, pillar["_errors"]))}
            full = django_config.load(given, self._grains, self._read_parameter)
            public = django_config.public(full)
            cached = {"pillar": copy.deepcopy(pillar), "full": full, "public": public}
            self._context[RESOLVED] = cached
        return cached

    def _told(self, error):
        """
        What Salt says of a pillar file (str), with the reason where the file is on this host: Salt
        keeps that to a log, beside lines of the file.
        """
        failed = RENDERING.match(str(error))
        if not failed or self._salt["config.get"]("file_client") != "local":
            return error
        relative = failed["sls"].replace(".", "/")
        for roots in self._salt["config.get"]("pillar_roots").values():
            for root, name in itertools.product(roots, (f"{relative}.sls", f"{relative}/init.sls")):
                if os.path.isfile(f"{root}/{name}"):
                    try:
                        self._salt["slsutil.renderer"](path=f"{root}/{name}")
                    except SaltException as reason:
                        return f"{root}/{name}: {reason}"
        return error

    def _read_parameter(self, name):
        path = self._salt["cp.cache_file"](f"{PARAMETERS}/{name}")
        return pathlib.Path(path).read_text(encoding="utf-8") if path else None


def as_step_error(error):
    """Any failure of a step as a StepError; one of the host blames no release."""
    if isinstance(error, StepError):
        return error
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return StepError(f"{where}{error.strerror or error}")
    return StepError(str(error))


def whole(name, value, least=1):
    """
    An argument as a whole number (int); CommandExecutionError when it is none, or below ``least``.

    name
        Of the argument.
    value
        A number, or its digits.
    """
    try:
        number = int(str(value))
    except ValueError:
        number = None
    if number is None or number < least:
        raise CommandExecutionError(
            f"{name}: expected a whole number of at least {least}, got {value!r}"
        )
    return number
