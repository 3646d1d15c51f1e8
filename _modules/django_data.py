"""
Management commands about the database of a project: migrations, fixtures, queries.

One module with ``django.py`` to Salt; what is said in ``django_manage.py`` of projects, settings
modules and keyword arguments is true here.
"""

import django_access
import django_commands
import django_target
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _commands():
    return django_commands.Commands(_access(), __pillar__)


def migrate(
    project,
    app_label=None,
    migration_name=None,
    database="default",
    fake=False,
    fake_initial=False,
    test=False,
    **where,
):
    """
    Bring a database to its latest migrations, or to a certain one, under a lock of the database.

    project
        Name of a project, or a settings module.
    app_label : None
        Only this app and what it needs.
    migration_name : None
        Where to go with this app, also back: a name or its first characters (a number has four
        digits), or ``zero``.
    database : default
        Alias of the database.
    fake : False
        Only note it down.
    fake_initial : False
        Take first migrations for applied where their tables are there.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns ``{"changes": {"applied": [app.name], "unapplied": [app.name]}, "comment": str}``.
    Raises CommandExecutionError when a migration fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.migrate shop
        salt-call django.migrate shop.settings orders 0003 bin_env=/opt/venv cwd=/opt/shop
    """
    if isinstance(migration_name, int):
        migration_name = f"{migration_name:04d}"
    if migration_name and not app_label:
        raise CommandExecutionError("migration_name needs an app_label")
    _commands().lock(project, test)
    answer = _commands().ask(
        project,
        where,
        "migrate_to",
        database=database,
        app=app_label,
        migration=migration_name,
        fake=bool(fake),
        fake_initial=bool(fake_initial),
        wait=_commands().seconds(where),
        test=test,
    )
    changes = {key: names for key, names in answer.items() if names}
    would = "would be " if test else ""
    done = [f"{len(names)} migrations {would}{key}" for key, names in changes.items()]
    return {"changes": changes, "comment": f"{' and '.join(done) or 'None was pending'}."}


def syncdb(project, database="default", test=False, **where):
    """
    The same as :func:`migrate`, which took the place of Django's ``syncdb``.

    project
        Name of a project, or a settings module.
    database : default
        Alias of the database.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns and raises what :func:`migrate` does.

    CLI Example:

    .. code-block:: bash

        salt-call django.syncdb shop
    """
    return migrate(project, database=database, test=test, **where)


def migrations(project, app_label=None, database=None, **where):
    """
    Migrations, and which of them are applied.

    project
        Name of a project, or a settings module.
    app_label : None
        Only this app.
    database : None
        Only the database of this alias.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns ``{alias: [{"app", "name", "applied": time or None, "known": bool}]}``; ``known`` is
    False for one that the database has and the source has not. Raises CommandExecutionError when
    the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call django.migrations shop
    """
    databases = django_target.listed(database)
    return _commands().ask(project, where, "migration_list", app=app_label, databases=databases)


def loaddata(
    project,
    fixtures,
    database="default",
    app=None,
    exclude=None,
    ignorenonexistent=False,
    update=True,
    test=False,
    **where,
):
    """
    Load fixtures: objects that are missing and those that differ. What is compared is the database
    itself, by primary key or natural key, in the fields that a fixture names.

    project
        Name of a project, or a settings module.
    fixtures
        Their names or paths: a list, or a text with commas or spaces between them.
    database : default
        Alias of the database.
    app : None
        Only look for them in this app.
    exclude : None
        Apps and models (list of str) that are left out.
    ignorenonexistent : False
        Pass over fields and models that are no more.
    update : True
        False leaves objects as they are that are there.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns ``{"changes": {"created": [object], "updated": {object: [field]}}, "comment": str}``.
    Raises CommandExecutionError when a fixture is not there or cannot be loaded, and for objects
    with neither primary key nor natural key, which would be made anew each time.

    CLI Example:

    .. code-block:: bash

        salt-call django.loaddata shop countries,currencies
        salt-call django.loaddata shop countries update=False test=True
    """
    names = django_target.listed(fixtures)
    if not names:
        raise CommandExecutionError("no fixture is named")
    answer = _commands().ask(
        project,
        where,
        "load",
        fixtures=names,
        database=database,
        options={
            "app_label": app,
            "exclude": django_target.listed(exclude),
            "ignore": bool(ignorenonexistent),
        },
        update=bool(update),
        test=test,
    )
    changes = {key: answer[key] for key in ("created", "updated") if answer[key]}
    would = "would be " if test else ""
    done = [f"{len(found)} objects {would}{key}" for key, found in changes.items()]
    return {
        "changes": changes,
        "comment": f"{' and '.join(done)}, {answer['same']} are left as they are."
        if done
        else f"All {answer['same']} objects are there.",
    }


def dumpdata(
    project,
    *labels,
    database="default",
    exclude=None,
    format="json",
    indent=None,
    natural_foreign=False,
    natural_primary=False,
    all=False,
    pks=None,
    output=None,
    **where,
):
    """
    Objects of the database as a fixture.

    project
        Name of a project, or a settings module.
    labels
        Apps and models (``shop``, ``shop.Product``); without any, all.
    database : default
        Alias of the database.
    exclude : None
        Apps and models (list of str) that are left out.
    format : json
        A serialization format of Django.
    indent : None
        Number of spaces.
    natural_foreign, natural_primary : False
        Natural keys in the place of foreign keys and of primary keys.
    all : False
        With Django's base manager, which managers of a project do not filter.
    pks : None
        Only these primary keys (list) of one model.
    output : None
        Path of a file that the command's user writes, instead of the answer.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns the fixture (str). Raises CommandExecutionError when the command fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.dumpdata shop auth.group indent=2 --out newline_values_only
    """
    options = {
        "database": database,
        "exclude": django_target.listed(exclude),
        "format": format,
        "indent": indent,
        "natural_foreign": natural_foreign,
        "natural_primary": natural_primary,
        "all": all,
        "pks": ",".join(django_target.listed(pks)) or None,
        "output": output,
    }
    return _commands().manage(project, ["dumpdata", *django_target.words(labels)], options, where)


def createcachetable(project, database=None, test=False, **where):
    """
    Create the tables of caches that are kept in a database, where they are missing.

    project
        Name of a project, or a settings module.
    database : None
        Only in the database of this alias.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns ``{"changes": {"tables": {alias: [table]}}, "comment": str}``. Raises
    CommandExecutionError when the database does not answer.

    CLI Example:

    .. code-block:: bash

        salt-call django.createcachetable shop
    """
    databases = django_target.listed(database)
    missing = _commands().ask(project, where, "cache_tables", databases=databases, test=test)
    words = "would be created" if test else "created"
    comment = f"{sum(map(len, missing.values()))} tables {words}."
    return {
        "changes": {"tables": missing} if missing else {},
        "comment": comment if missing else "No table is missing.",
    }


def clearsessions(project, **where):
    """
    Delete sessions that have expired.

    project
        Name of a project, or a settings module.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns the command's output (str). Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.clearsessions shop
    """
    return _commands().manage(project, ["clearsessions"], {}, where)


def query(project, sql, params=None, database="default", write=False, **where):
    """
    Ask the database through the project's own connection.

    project
        Name of a project, or a settings module.
    sql
        One statement, with ``%s`` (or ``%(name)s``) where parameters go. It reaches the project
        through standard input, not as an argument.
    params : None
        Parameters (list, or dict by name).
    database : default
        Alias of the database.
    write : False
        Let the statement change something; otherwise the transaction is read-only and rolled back.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns the rows (list of dict by column). Raises CommandExecutionError with what the database
    says.

    CLI Example:

    .. code-block:: bash

        salt-call django.query shop 'SELECT id, name FROM shop_item WHERE price > %s' params='[9]'
    """
    if not isinstance(sql, str) or not sql.strip():
        raise CommandExecutionError(f"sql: expected a statement, got {sql!r}")
    if not isinstance(params, (list, dict, type(None))):
        raise CommandExecutionError("params: expected a list, or a mapping of names to values")
    return _commands().ask(
        project, where, "rows", sql=sql, params=params, database=database, write=bool(write)
    )
