"""
Put Django projects into production and run their tasks.

Projects are named as in the pillar below ``django:projects``; management commands
(``django_manage.py`` and others, one module with this one to Salt) take a settings module too.
Every function that changes something looks first, changes only what differs and returns what it
changed; ``test=True`` only says what would be done. Failures raise; secrets are never part of an
argument, an answer or a log.
"""

import django_access
import django_config
import django_conflicts
import django_live
import django_project_files
import django_secrets
import django_step_build
import django_step_check
import django_step_database
import django_step_migrate
import django_step_pages
import django_step_processes
import django_step_prune
import django_step_static
import django_step_superuser
import django_step_switch
import django_step_tasks
import django_step_verify
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


# Configuration


def config():
    """
    The configuration of this host (dict): the pillar, validated, with defaults, this machine's
    facts and this host's roles worked out. Secrets are masked. An invalid pillar gives
    ``{"valid": False, "errors": [...]}`` with empty sections instead of an error.

    CLI Example:

    .. code-block:: bash

        salt-call django.config
    """
    return _access().public()


def validate():
    """
    Every mistake in the pillar at once: ``{"valid": bool, "errors": [str], "warnings": [str]}``;
    without any, what this host is at that rules out what the pillar asks for. The return code is 1
    when there is any.

    CLI Example:

    .. code-block:: bash

        salt-call django.validate
    """
    public = config()
    errors = public["errors"] or django_conflicts.conflicts(public)
    if errors:
        __context__["retcode"] = 1
    return {"valid": not errors, "errors": errors, "warnings": public["warnings"]}


def live(project):
    """
    What files outside of releases need to know of a project (dict): the directory, environment and
    command line of its management commands, its timers as lines of cron, its locations in Nginx.
    All of it refers to the live release by links. While another release than the pillar's is held
    to, it is what belongs to that one. And ``protocol``, http or uwsgi: what the process speaks
    that serves, or that would after this run where nothing but a test is wanted. And
    ``body_limits``: the largest request bodies, ``{bytes: in words}``.

    CLI Example:

    .. code-block:: bash

        salt-call django.live shop
    """
    meant = django_live.describe(_access().project(project), _access().valid()["host"])
    deployment = _access().deployment(project, test=bool(__opts__.get("test")))
    if deployment.hold:
        meant = deployment.layout.instance_record(deployment.target).get("outside", meant)
    limits = django_project_files.body_limits(deployment.project["web"], meant["locations"])
    return {**meant, "protocol": deployment.spoken, "body_limits": limits}


# Steps of a release, in their order


def keep_secrets(project, test=False):
    """
    Generate the secrets that the pillar leaves out; those that are there are never changed. They
    lie in ``/etc/django-formula/secrets/PROJECT.json``, which only root can read.

    Returns ``{"changes": {"generated": [names]}, "comment": str}``, as every step does.

    CLI Example:

    .. code-block:: bash

        salt-call django.keep_secrets shop
    """
    specs = _access().project(project)["secret_specs"]
    _access().forget()  # a new run asks the source for its revision again
    folder = django_config.PATHS["secrets"]
    missing = django_secrets.missing(specs, django_secrets.load(folder, project))
    changes = {"generated": missing} if missing else {}
    if django_secrets.exposed(folder, project):
        changes["mode"] = f"{django_secrets.FILE_MODE:04o}"
    if not changes:
        return {"changes": {}, "comment": "Every secret is there."}
    if not test:
        _access().lock(project)
        try:
            django_secrets.keep(folder, project, specs)
        except (OSError, ValueError) as error:
            raise CommandExecutionError(str(error)) from None
    words = "would be" if test else "are"
    said = [f"{len(missing)} secrets {words} generated."] if missing else []
    said += [f"The file of secrets {words} closed to all but root."] if "mode" in changes else []
    return {"changes": changes, "comment": " ".join(said)}


def ready_slots(project, test=False):
    """
    Make the folders of a project's slots in Apache, for ``app:server`` mod_wsgi. A slot that has
    something to run keeps it.

    CLI Example:

    .. code-block:: bash

        salt-call django.ready_slots shop
    """
    return _access().step(project, django_step_switch.ready_slots, test)


def reach_databases(project, test=False):
    """
    See that the servers of a project's external databases answer. Nothing is changed.

    CLI Example:

    .. code-block:: bash

        salt-call django.reach_databases shop
    """
    return _access().step(project, django_step_database.reach, test)


def fetch(project, test=False):
    """
    Fetch the source of the release that the pillar means.

    CLI Example:

    .. code-block:: bash

        salt-call django.fetch shop
    """
    return _access().step(project, django_step_build.fetch, test)


def install(project, test=False):
    """
    Give the release its virtual environment, built anew only when no other release shares it.

    CLI Example:

    .. code-block:: bash

        salt-call django.install shop
    """
    return _access().step(project, django_step_build.install, test)


def build(project, test=False):
    """
    Render the release's files and run its build steps.

    CLI Example:

    .. code-block:: bash

        salt-call django.build shop
    """
    return _access().step(project, django_step_build.build, test)


def configure(project, test=False):
    """
    Write the environment of the instance (release and configuration) and its files on the host.

    CLI Example:

    .. code-block:: bash

        salt-call django.configure shop
    """
    return _access().step(project, django_step_build.configure, test)


def vet(project, test=False):
    """
    Run Django's checks in the new instance and refuse settings that must not go live.

    CLI Example:

    .. code-block:: bash

        salt-call django.vet shop
    """
    return _access().step(project, django_step_check.check, test)


def publish_static(project, test=False):
    """
    Collect the release's static files and add them to those that the web server serves.

    CLI Example:

    .. code-block:: bash

        salt-call django.publish_static shop
    """
    return _access().step(project, django_step_static.collect, test)


def apply_migrations(project, test=False):
    """
    Apply the release's pending migrations, under a database lock and with time limits.

    CLI Example:

    .. code-block:: bash

        salt-call django.apply_migrations shop
    """
    return _access().step(project, django_step_migrate.migrate, test)


def apply_late_migrations(project, test=False):
    """
    Apply the migrations that had to wait for the switch: ``migrate:after_switch`` in the pillar, or
    ``after_switch = True`` in their class.

    CLI Example:

    .. code-block:: bash

        salt-call django.apply_late_migrations shop
    """
    return _access().step(project, django_step_migrate.migrate_after, test)


def ensure_superuser(project, test=False):
    """
    Create the project's superuser when the database does not have it.

    CLI Example:

    .. code-block:: bash

        salt-call django.ensure_superuser shop
    """
    return _access().step(project, django_step_superuser.superuser, test)


def run_tasks(project, when, test=False):
    """
    Carry out the project's tasks of a kind that are not done yet.

    when
        ``first``, ``before`` or ``after`` the switch.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_tasks shop after
    """
    return _access().step(project, django_step_tasks.tasks, test, when=when)


def go_live(project, test=False):
    """
    Start the new instance beside the old one, check its health on its own socket, switch to it,
    and stop the old one once it is drained.

    CLI Example:

    .. code-block:: bash

        salt-call django.go_live shop
    """
    return _access().step(project, django_step_switch.go_live, test)


def run_processes(project, test=False):
    """
    Run the project's other processes (workers, daemons) from the new instance.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_processes shop
    """
    return _access().step(project, django_step_processes.run_processes, test)


def prune(project, test=False):
    """
    Remove releases, environments and static files that are no longer needed.

    CLI Example:

    .. code-block:: bash

        salt-call django.prune shop
    """
    return _access().step(project, django_step_prune.prune, test)


def verify(project, test=False):
    """
    Look at what really runs: the live processes' code and packages are those of the instance that
    is to run. Fails, too, while the release that the pillar means is one that failed before.

    CLI Example:

    .. code-block:: bash

        salt-call django.verify shop
    """
    return _access().step(project, django_step_verify.verify, test)


def purge_old_pages(project, test=False):
    """
    Let the cache in front of a project forget the pages of other instances than the live one.

    CLI Example:

    .. code-block:: bash

        salt-call django.purge_old_pages shop
    """
    return _access().step(project, django_step_pages.purge, test)
