"""
States that put Django projects into production. Each names an outcome; ``project`` is a project's
name below ``django:projects`` in the pillar. Those that stand for a management command also serve a
layout of one's own, with ``settings`` (a settings module) and ``bin_env``, ``pythonpath``, ``env``,
``runas``, ``cwd`` and ``timeout`` in its place.

.. code-block:: yaml

    "shop: release is live":
      django.release_live:
        - project: shop
"""

import django_states

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _apply(state_name, function, **arguments):
    """The result of a step: compare, stop there in test mode, act, report what changed."""
    return django_states.apply(state_name, __salt__[function], __opts__["test"], arguments)


def _where(bin_env, pythonpath, env, runas, cwd, timeout):
    """With what a management command is run, as the execution module takes it."""
    return {
        "bin_env": bin_env,
        "pythonpath": pythonpath,
        "env": env,
        "runas": runas,
        "cwd": cwd,
        "timeout": timeout,
    }


def _manage(state_name, function, project, settings, where, **arguments):
    """The result of a management command's function, for a project or a settings module."""
    if bool(project) == bool(settings):
        comment = "Either a project or settings must be named."
        return {"name": state_name, "result": False, "changes": {}, "comment": comment}
    where = {key: value for key, value in where.items() if value is not None}
    return _apply(state_name, function, project=project or settings, **arguments, **where)


@django_states.of_words
def valid(name):
    """
    The pillar of this host is valid and nothing that the host is at rules it out; else all of it is
    told and nothing is changed.

    .. code-block:: yaml

        the pillar is valid:
          django.valid: []
    """
    public = __salt__["django.config"]()
    found = __salt__["django.validate"]()
    comment = "\n".join(found["errors"] or found["warnings"])
    result = {
        "name": name,
        "result": found["valid"],
        "changes": {},
        "comment": comment or f"Projects: {', '.join(sorted(public['projects']))}.",
    }
    return django_states.warned(result, public["warnings"])


@django_states.of_words
def secrets_present(name, project):
    """
    Every secret of the project exists on this host; what the pillar leaves out is generated once.

    .. code-block:: yaml

        "shop: secrets are there":
          django.secrets_present:
            - project: shop
    """
    return _apply(name, "django.keep_secrets", project=project)


@django_states.of_words
def slots_ready(name, project):
    """
    The folders are there by which Apache runs the project in one of two slots.

    .. code-block:: yaml

        "shop: slots for mod_wsgi are there":
          django.slots_ready:
            - project: shop
    """
    return _apply(name, "django.ready_slots", project=project)


@django_states.of_words
def databases_reached(name, project):
    """
    The servers of the project's external databases answer.

    .. code-block:: yaml

        "shop: external databases answer":
          django.databases_reached:
            - project: shop
    """
    return _apply(name, "django.reach_databases", project=project)


@django_states.of_words
def source_fetched(name, project):
    """
    The source of the release that the pillar means is on this host.

    .. code-block:: yaml

        "shop: source is fetched":
          django.source_fetched:
            - project: shop
    """
    return _apply(name, "django.fetch", project=project)


@django_states.of_words
def packages_installed(name, project):
    """
    The release has a virtual environment with the packages that it needs.

    .. code-block:: yaml

        "shop: packages are installed":
          django.packages_installed:
            - project: shop
    """
    return _apply(name, "django.install", project=project)


@django_states.of_words
def release_built(name, project):
    """
    The release's rendered files are in its tree and its build steps are done.

    .. code-block:: yaml

        "shop: release is built":
          django.release_built:
            - project: shop
    """
    return _apply(name, "django.build", project=project)


@django_states.of_words
def configured(name, project):
    """
    The release's environment and its files on the host are written.

    .. code-block:: yaml

        "shop: release is configured":
          django.configured:
            - project: shop
    """
    return _apply(name, "django.configure", project=project)


@django_states.of_words
def checked(
    name,
    project=None,
    settings=None,
    deploy=False,
    tags=None,
    database=None,
    fail_level="ERROR",
    bin_env=None,
    pythonpath=None,
    env=None,
    runas=None,
    cwd=None,
    timeout=None,
):
    """
    Django's checks pass in the release, and its settings are fit to go live. With ``settings``:
    Django's checks pass; ``deploy``, ``tags``, ``database`` and ``fail_level`` are those of
    ``django.check``, and nothing is changed.

    .. code-block:: yaml

        "shop: release is checked":
          django.checked:
            - project: shop

        the intranet is fit for production:
          django.checked:
            - settings: intranet.settings
            - bin_env: /opt/intranet/venv
            - cwd: /opt/intranet/src
            - runas: intranet
            - deploy: True
            - fail_level: WARNING
    """
    if project and not settings:
        return _apply(name, "django.vet", project=project)
    where = _where(bin_env, pythonpath, env, runas, cwd, timeout)
    rules = {"deploy": deploy, "tags": tags, "database": database, "fail_level": fail_level}
    return _manage(name, "django.pass_checks", project, settings, where, **rules)


@django_states.of_words
def static_collected(
    name,
    project=None,
    settings=None,
    ignore=None,
    link=False,
    bin_env=None,
    pythonpath=None,
    env=None,
    runas=None,
    cwd=None,
    timeout=None,
):
    """
    The release's static files are collected and published beside those of earlier releases. With
    ``settings``: they are collected in STATIC_ROOT, but for files of the patterns ``ignore``;
    ``link`` links them.

    .. code-block:: yaml

        "shop: static files are published":
          django.static_collected:
            - project: shop

        the intranet's static files are collected:
          django.static_collected:
            - settings: intranet.settings
            - bin_env: /opt/intranet/venv
            - cwd: /opt/intranet/src
            - runas: intranet
    """
    if project and not settings:
        return _apply(name, "django.publish_static", project=project)
    where = _where(bin_env, pythonpath, env, runas, cwd, timeout)
    return _manage(name, "django.collectstatic", project, settings, where, ignore=ignore, link=link)


@django_states.of_words
def migrated(
    name,
    project=None,
    settings=None,
    app_label=None,
    migration_name=None,
    database="default",
    bin_env=None,
    pythonpath=None,
    env=None,
    runas=None,
    cwd=None,
    timeout=None,
):
    """
    The database has every migration of the release. With ``settings``: ``database`` has every
    migration of the project, or of ``app_label``, or stands exactly at ``migration_name``.

    .. code-block:: yaml

        "shop: database is migrated":
          django.migrated:
            - project: shop

        the intranet's database is migrated:
          django.migrated:
            - settings: intranet.settings
            - bin_env: /opt/intranet/venv
            - cwd: /opt/intranet/src
            - runas: intranet
    """
    if project and not settings:
        return _apply(name, "django.apply_migrations", project=project)
    where = _where(bin_env, pythonpath, env, runas, cwd, timeout)
    aim = {"app_label": app_label, "migration_name": migration_name, "database": database}
    return _manage(name, "django.migrate", project, settings, where, **aim)


@django_states.of_words
def late_migrated(name, project):
    """
    The database has the migrations, too, that had to wait until the release was live.

    .. code-block:: yaml

        "shop: late migrations are applied":
          django.late_migrated:
            - project: shop
    """
    return _apply(name, "django.apply_late_migrations", project=project)


@django_states.of_words
def superuser(
    name,
    project=None,
    username=None,
    settings=None,
    email="",
    fields=None,
    database="default",
    password_file=None,
    password_env=None,
    password_pillar=None,
    password_secret=None,
    bin_env=None,
    pythonpath=None,
    env=None,
    runas=None,
    cwd=None,
    timeout=None,
):
    """
    The project's superuser is in the database. With ``username``: that one, whose password comes,
    when it is created, from where ``django.changepassword`` says.

    .. code-block:: yaml

        "shop: superuser is there":
          django.superuser:
            - project: shop

        the intranet has an administrator:
          django.superuser:
            - settings: intranet.settings
            - username: admin
            - email: admin@example.org
            - password_pillar: intranet:admin:password
            - bin_env: /opt/intranet/venv
            - cwd: /opt/intranet/src
            - runas: intranet
    """
    if project and not settings and username is None:
        return _apply(name, "django.ensure_superuser", project=project)
    if not username:
        comment = "A username must be named."
        return {"name": name, "result": False, "changes": {}, "comment": comment}
    where = _where(bin_env, pythonpath, env, runas, cwd, timeout)
    source = {
        "password_file": password_file,
        "password_env": password_env,
        "password_pillar": password_pillar,
        "password_secret": password_secret,
    }
    return _manage(
        name,
        "django.createsuperuser",
        project,
        settings,
        {**where, **source},
        username=username,
        email=email,
        fields=fields,
        database=database,
    )


@django_states.of_words
def fixtures_loaded(
    name,
    fixtures=None,
    project=None,
    settings=None,
    update=False,
    database="default",
    app=None,
    exclude=None,
    bin_env=None,
    pythonpath=None,
    env=None,
    runas=None,
    cwd=None,
    timeout=None,
):
    """
    Every object of the fixtures (default: the state's name) is in the database, which is asked for
    it by primary key or natural key. Objects that are there stay as they are; with ``update`` they
    have the values, too, that the fixtures name.

    .. code-block:: yaml

        "shop: countries are there":
          django.fixtures_loaded:
            - project: shop
            - fixtures: [countries, currencies]

        groups:
          django.fixtures_loaded:
            - settings: intranet.settings
            - update: True
            - bin_env: /opt/intranet/venv
            - cwd: /opt/intranet/src
            - runas: intranet
    """
    where = _where(bin_env, pythonpath, env, runas, cwd, timeout)
    return _manage(
        name,
        "django.loaddata",
        project,
        settings,
        where,
        fixtures=fixtures or name,
        update=update,
        database=database,
        app=app,
        exclude=exclude,
    )


@django_states.of_words
def command_run(
    name,
    command=None,
    project=None,
    settings=None,
    bin_env=None,
    pythonpath=None,
    env=None,
    runas=None,
    cwd=None,
    timeout=None,
):
    """
    A management command has run, each time: ``unless``, ``onlyif`` or ``onchanges`` say when it is
    not needed. ``command`` (default: the state's name) is a text, split as a shell would, or a
    list of words.

    .. code-block:: yaml

        "shop: products are in the search index":
          django.command_run:
            - command: rebuild_index --noinput
            - project: shop
            - onchanges:
              - django: "shop: countries are there"
    """
    where = _where(bin_env, pythonpath, env, runas, cwd, timeout)
    return _manage(name, "django.run_command", project, settings, where, command=command or name)


@django_states.of_words
def tasks_done(name, project, when):
    """
    The project's tasks of a kind (``first``, ``before`` or ``after`` the switch) are done.

    .. code-block:: yaml

        "shop: tasks before the switch are done":
          django.tasks_done:
            - project: shop
            - when: before
    """
    return _apply(name, "django.run_tasks", project=project, when=when)


@django_states.of_words
def release_live(name, project):
    """
    The release serves the project's requests: started beside the old one, healthy, switched to.

    .. code-block:: yaml

        "shop: release is live":
          django.release_live:
            - project: shop
    """
    return _apply(name, "django.go_live", project=project)


@django_states.of_words
def processes_live(name, project):
    """
    The project's other processes run from the release.

    .. code-block:: yaml

        "shop: processes run":
          django.processes_live:
            - project: shop
    """
    return _apply(name, "django.run_processes", project=project)


@django_states.of_words
def verified(name, project):
    """
    What really runs is what is to run, and no release that failed is waiting to be looked after.

    .. code-block:: yaml

        "shop: what runs is verified":
          django.verified:
            - project: shop
    """
    return _apply(name, "django.verify", project=project)


@django_states.of_words
def pages_purged(name, project):
    """
    The cache in front of the project keeps pages of the live instance, and of no other.

    .. code-block:: yaml

        "shop: old pages are forgotten":
          django.pages_purged:
            - project: shop
    """
    return _apply(name, "django.purge_old_pages", project=project)


@django_states.of_words
def pruned(name, project):
    """
    Only the newest releases, and what they need, are kept.

    .. code-block:: yaml

        "shop: old releases are gone":
          django.pruned:
            - project: shop
    """
    return _apply(name, "django.prune", project=project)


@django_states.of_words
def departed_stopped(name):
    """
    No program and no timer runs of a project that the pillar does not name for this host any more.

    .. code-block:: yaml

        no strangers run:
          django.departed_stopped: []
    """
    return _apply(name, "django.stop_departed")
