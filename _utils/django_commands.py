"""
Management commands for the execution modules: of a project of the pillar or of a settings module,
run as text or asked as data. What fails raises CommandExecutionError without the project's secrets.
"""

import django_target
import django_tasks
from django_deployment import StepError
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError

TASK_FILES = (
    "project",
    "database",
    "users",
    "migrations",
    "console",
    "fixtures",
    "management",
    "main",
)


class Commands:
    """
    Management commands on this host.

    access
        A :class:`django_access.Access`.
    pillar
        ``__pillar__`` of an execution module.

    Everywhere ``project`` (str) is the name of a project or a settings module, and ``where`` holds
    what it is run with, see :data:`django_target.WHERE`.
    """

    def __init__(self, access, pillar):
        self._access = access
        self._projects = (pillar.get("django") or {}).get("projects") or {}

    def target(self, project, where):
        """``(target, seconds)`` for a project or a settings module."""
        project = str(project)
        where, unknown = django_target.split(where)
        if unknown:
            raise CommandExecutionError(
                f"unknown keyword {', '.join(unknown)}; there are: {', '.join(django_target.WHERE)}"
            )
        try:
            timeout = django_target.seconds(where)
            if project in self._projects:
                deployment = self._access.deployment(project)
                return django_target.of_live_release(deployment, where), timeout
            if "." not in project and not set(where) - {"env", "timeout"}:
                raise django_target.TargetError(
                    f"the pillar has no project {project!r} (there are: "
                    f"{', '.join(sorted(self._projects)) or 'none'}); a settings module without a "
                    "dot needs bin_env, pythonpath or cwd"
                )
            return django_target.of_settings(project, where), timeout
        except (ValueError, StepError, OSError) as error:
            raise CommandExecutionError(str(error)) from None

    def seconds(self, where):
        """How long (float) a command may take."""
        try:
            return django_target.seconds(where)
        except django_target.TargetError as error:
            raise CommandExecutionError(str(error)) from None

    def run(self, target, words, timeout, argv=None):
        """Standard output (str) of a management command."""
        try:
            done = run(
                [*(argv or target.manage), *words],
                user=target.user,
                env=target.env,
                cwd=target.cwd,
                timeout=timeout,
                umask=target.umask,
            )
        except (CommandError, OSError) as error:
            raise CommandExecutionError(target.redact(str(error)) + target.hint) from None
        return target.redact(done.stdout)

    def manage(self, project, words, options, where):
        """Standard output (str) of a management command with its options (dict)."""
        target, timeout = self.target(project, where)
        try:
            argv = [*words, *django_target.option_words(options)]
        except django_target.TargetError as error:
            raise CommandExecutionError(str(error)) from None
        return self.run(target, argv, timeout)

    def ask(self, project, where, do, hide=(), **request):
        """
        The answer of one task.

        hide
            Further secrets (list of str) that must not be told.
        request
            What the task is to know, as data.
        """
        target, timeout = self.target(project, where)
        target = target._replace(secrets=[*target.secrets, *hide])
        texts = [self._access.read_file(f"{django_tasks.FOLDER}/{name}.py") for name in TASK_FILES]
        try:
            answer = django_tasks.carry_out(
                target.python,
                [{"do": do, **request}],
                texts,
                user=target.user,
                env=target.env,
                cwd=target.cwd,
                timeout=timeout,
                umask=target.umask,
            )
        except (django_tasks.TaskError, OSError) as error:
            text = target.redact(f"{project}: {error}") + target.hint
            raise CommandExecutionError(text) from None
        return target.redact(answer[do])

    def lock(self, project, test):
        """Keep other runs away from a project of the pillar, unless nothing is to be changed."""
        if project in self._projects and not test:
            self._access.lock(project)
