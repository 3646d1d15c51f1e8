"""
Management commands of Django projects.

Failing commands fail; secrets are never part of an argument, an answer or a log.
"""

import django_access
import django_process
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def command(project, name, *args, timeout=3600):
    """
    Run a management command of a project as its user, in its live release and environment.

    project
        Name of the project.
    name
        The command, such as ``clearsessions``.
    args
        Its arguments.
    timeout
        Seconds after which it is killed.

    Returns its standard output (str). Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.command shop showmigrations --plan
    """
    deployment = _access().deployment(project)
    instance = deployment.layout.live_instance()
    record = deployment.layout.instance_record(instance)
    source = deployment.source_of(record["release"])
    argv = [
        django_process.LAUNCHER,
        str(deployment.layout.instance(instance) / "environment"),
        *django_process.manage_argv(deployment.project["manage"], record["venv"], source),
        name,
        *(str(arg) for arg in args),
    ]
    try:
        done = run(argv, user=deployment.user, cwd=source, timeout=timeout)
    except CommandError as error:
        raise CommandExecutionError(deployment.redact(str(error))) from None
    return deployment.redact(done.stdout)
