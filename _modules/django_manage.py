"""
Management commands of Django projects.

The first argument of each function is the name of a project below ``django:projects`` in the
pillar, whose live release, user and environment are taken, or a settings module, such as
``shop.settings``, with these keyword arguments:

bin_env
    Folder of a virtual environment, or path of a program in one (str; default: the system's
    Python).
pythonpath
    Folders to import from (str, apart by colons, or list of str).
env
    Environment variables (dict of str). Values whose names speak of a secret are never shown.
runas
    System user (str; default: the one that runs Salt).
cwd
    Working directory (str; default: the first of ``pythonpath``, else ``/``).
timeout
    Seconds after which the command is killed (default: 3600).

Of these a project of the pillar takes ``env``, on top of its own variables, and ``timeout``.

What fails raises CommandExecutionError with the last lines of its output. Functions that change
something look first and return ``{"changes": dict, "comment": str}``; ``test=True`` only says what
would be done. A project's secrets are masked in every answer.
"""

import os
import shlex

import django_access
import django_config
import django_password
import django_target
import django_tasks
from django_deployment import StepError
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError
from salt.utils.data import traverse_dict_and_list

__virtualname__ = "django"

TIMEOUT = 3600
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
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "NEVER": 1000}


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _projects():
    return (__pillar__.get("django") or {}).get("projects") or {}


def _target(project, where):
    """``(target, seconds)`` for a project or a settings module."""
    project = str(project)
    where, unknown = django_target.split(where)
    if unknown:
        raise CommandExecutionError(
            f"unknown keyword {', '.join(unknown)}; there are: {', '.join(django_target.WHERE)}"
        )
    try:
        timeout = float(where.get("timeout", TIMEOUT))
        if project in _projects():
            return django_target.of_live_release(_access().deployment(project), where), timeout
        if "." not in project and not set(where) - {"env", "timeout"}:
            raise django_target.TargetError(
                f"the pillar has no project {project!r} (there are: "
                f"{', '.join(sorted(_projects())) or 'none'}); a settings module without a dot "
                "needs bin_env, pythonpath or cwd"
            )
        return django_target.of_settings(project, where), timeout
    except (ValueError, StepError, OSError) as error:
        raise CommandExecutionError(str(error)) from None


def _run(target, words, timeout, argv=None):
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
        raise CommandExecutionError(target.redact(str(error))) from None
    return target.redact(done.stdout)


def _manage(project, words, options, where):
    target, timeout = _target(project, where)
    try:
        argv = [*words, *django_target.option_words(options)]
    except django_target.TargetError as error:
        raise CommandExecutionError(str(error)) from None
    return _run(target, argv, timeout)


def _ask(project, where, do, hide=(), **request):
    """The answer of one task."""
    target, timeout = _target(project, where)
    target = target._replace(secrets=[*target.secrets, *hide])
    texts = [_access().read_file(f"{django_tasks.FOLDER}/{name}.py") for name in TASK_FILES]
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
        raise CommandExecutionError(target.redact(f"{project}: {error}")) from None
    return target.redact(answer[do])


def _lock(project, test):
    if project in _projects() and not test:
        _access().lock(project)


# Any command


def command(project, name, *args, **options):
    """
    Run a management command.

    project
        Name of a project, or a settings module.
    name
        The command, such as ``clearsessions``.
    args
        Its words, passed on as they are, options such as ``--plan`` too (``salt-call`` takes them
        for its own unless ``--`` is before the function). Salt's command line makes data of words
        like ``0003`` (3) and ``yes`` (True): write ``0003_``, for one.
    options
        Its options: ``True`` is a bare flag, ``None`` and ``False`` leave one out, a list repeats
        it: ``ignore='[a, b]'`` is ``--ignore=a --ignore=b``. ``bin_env``, ``pythonpath``, ``env``,
        ``runas``, ``cwd`` and ``timeout`` say what it is run with (see :mod:`django`); an option
        of the command that has one of these names is written as a word.

    Returns its standard output (str). Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.command shop showmigrations plan=True
        salt-call -- django.command shop showmigrations --plan
        salt-call django.command shop.settings migrate bin_env=/opt/venv cwd=/opt/shop runas=shop
    """
    where, own = django_target.split(options)
    return _manage(project, [str(name), *django_target.words(args)], own, where)


def run_command(project, command, test=False, **where):
    """
    Run a management command and tell it as a change, for the state ``command_run``.

    project
        Name of a project, or a settings module.
    command
        A text, split as a shell would, or a list of words.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns ``{"changes": {"command": str}, "comment": str}``, the comment its output. Raises
    CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.run_command shop 'rebuild_index --noinput'
    """
    try:
        argv = shlex.split(command) if isinstance(command, str) else django_target.words(command)
    except ValueError as error:
        raise CommandExecutionError(f"command: {error}") from None
    target, timeout = _target(project, where)
    changes = {"command": target.redact(shlex.join(argv))}
    if test:
        return {"changes": changes, "comment": "The command would be run."}
    said = _run(target, argv, timeout).strip()
    return {"changes": changes, "comment": said or "The command has run."}


# The database


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
    _lock(project, test)
    answer = _ask(
        project,
        where,
        "migrate_to",
        database=database,
        app=app_label,
        migration=migration_name,
        fake=bool(fake),
        fake_initial=bool(fake_initial),
        wait=float(where.get("timeout") or TIMEOUT),
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
    return _ask(project, where, "migration_list", app=app_label, databases=databases)


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
    answer = _ask(
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
    return _manage(project, ["dumpdata", *django_target.words(labels)], options, where)


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
    missing = _ask(project, where, "cache_tables", databases=databases, test=test)
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
    return _manage(project, ["clearsessions"], {}, where)


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
    return _ask(
        project, where, "rows", sql=sql, params=params, database=database, write=bool(write)
    )


# Users


def _look_up(project):
    return {
        "env": os.environ.get,
        "pillar": lambda name: traverse_dict_and_list(__pillar__, name),
        "secret": lambda name: _access().secrets(project).get(name),
    }


def _password(project, username, source):
    """``(password or None, file or None)``, see :func:`django_password.find`."""
    folder = django_config.PATHS["secrets"]
    kept_in = django_password.store(folder, project, username)
    return django_password.find(source, kept_in, _look_up(project))


def createsuperuser(
    project, username, email="", fields=None, database="default", test=False, **where
):
    """
    Create a superuser, or make a user one again, unless it is there. The password is set only when
    it is created.

    project
        Name of a project, or a settings module.
    username
        Value of the user model's USERNAME_FIELD.
    email
        E-mail address.
    fields : None
        Values of other fields that the user model requires (dict).
    database : default
        Alias of the database.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``, and at most one of
        ``password_file``, ``password_env``, ``password_pillar``, ``password_secret``, see
        :func:`changepassword`. Without one, the password is generated.

    Returns ``{"changes": {"superuser": str}, "comment": str}``; the comment says where a password
    lies, never the password. Raises CommandExecutionError when the user cannot be made.

    CLI Example:

    .. code-block:: bash

        salt-call django.createsuperuser shop admin admin@example.org
        salt-call django.createsuperuser shop.settings admin password_file=/root/admin.password \
            bin_env=/opt/venv cwd=/opt/shop
    """
    request = {"username": username, "email": email, "fields": fields or {}, "database": database}
    try:
        source, where = django_password.split(where)
        look = _ask(project, where, "superuser", test=True, **request)
        if not look["created"] and not look["granted"]:
            return {"changes": {}, "comment": f"Superuser {username} is there."}
        changes = {"superuser": username}
        password, path = _password(project, username, source) if look["created"] else (None, None)
        lies = f" The password is in {path}." if path else ""
        if test:
            made = "created" if look["created"] else "made a superuser again"
            return {"changes": changes, "comment": f"{username} would be {made}."}
        if look["created"] and password is None:
            password = django_password.keep(path)
    except (django_password.PasswordError, OSError) as error:
        raise CommandExecutionError(str(error)) from None
    hide = [password] if password else []
    answer = _ask(project, where, "superuser", hide=hide, password=password, **request)
    made = "created" if answer["created"] else "made a superuser again"
    return {"changes": changes, "comment": f"{username} is {made}.{lies}"}


def changepassword(project, username, renew=False, database="default", test=False, **where):
    """
    Give a user a password. It is named, not given, so that it is in no command line and no log.

    project
        Name of a project, or a settings module.
    username
        Value of the user model's USERNAME_FIELD.
    renew : False
        Generate a new one, though the file holds one already.
    database : default
        Alias of the database.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``, and at most one of

        - ``password_file``: absolute path; its first line is the password. Where there is no such
          file, a password is generated and written to it, for its owner alone.
        - ``password_env``: name of a variable in the environment of the process that runs Salt.
        - ``password_pillar``: key of the pillar, with colons.
        - ``password_secret``: name of a secret of a project of the pillar.

        Without one of them the file is ``/etc/django-formula/secrets/PROJECT.USERNAME.password``.

    Returns ``{"changes": {"password": username}, "comment": str}``, without changes when the user
    has that password. Raises CommandExecutionError when there is no such user or password, or the
    project's validators refuse the password.

    CLI Example:

    .. code-block:: bash

        salt-call django.changepassword shop admin
        salt-call django.changepassword shop admin renew=True
        NEW=… salt-call --local django.changepassword shop admin password_env=NEW
    """
    try:
        source, where = django_password.split(where)
        password, path = _password(project, username, source)
        if renew and path is None:
            raise django_password.PasswordError("renew=True needs a file to keep the password in")
        request = {"username": username, "database": database}
        if password is None or renew:
            _ask(project, where, "set_password", password=None, test=True, **request)
            password = None if test else django_password.keep(path)
    except (django_password.PasswordError, OSError) as error:
        raise CommandExecutionError(str(error)) from None
    hide = [password] if password else []
    changed = _ask(
        project, where, "set_password", hide=hide, password=password, test=test, **request
    )
    lies = f" It is in {path}." if path else ""
    if not changed:
        return {"changes": {}, "comment": f"{username} has that password.{lies}"}
    words = "would get" if test else "has got"
    return {"changes": {"password": username}, "comment": f"{username} {words} a password.{lies}"}


# Files


def collectstatic(
    project,
    ignore=None,
    clear=False,
    link=False,
    no_post_process=False,
    no_default_ignore=False,
    test=False,
    **where,
):
    """
    Collect static files into STATIC_ROOT. The releases of a project of the pillar are sealed, and
    :func:`publish_static` collects theirs; this is for a STATIC_ROOT that the project may write to.

    project
        Name of a project, or a settings module.
    ignore : None
        Patterns of files (list of str) that are left out.
    clear : False
        Empty STATIC_ROOT before.
    link : False
        Link the files instead of copying them.
    no_post_process : False
        Do not let the storage process them.
    no_default_ignore : False
        Take files, too, that Django leaves out (``CVS``, ``.*``, ``*~``).
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns ``{"changes": {"copied": number, …}, "comment": str, "files": [str]}``. Raises
    CommandExecutionError when they cannot be collected.

    CLI Example:

    .. code-block:: bash

        salt-call django.collectstatic shop.settings bin_env=/opt/venv cwd=/opt/shop runas=shop
        salt-call django.collectstatic shop.settings ignore='[*.scss, docs]' test=True
    """
    options = {
        "ignore_patterns": django_target.listed(ignore),
        "link": bool(link),
        "post_process": not no_post_process,
        "use_default_ignore_patterns": not no_default_ignore,
    }
    answer = _ask(project, where, "collect_static", options=options, clear=bool(clear), test=test)
    files = answer["copied"]
    changes = {"copied": len(files)} if files else {}
    changes.update({key: True for key in ("cleared", "manifest") if answer[key]})
    words = "would be collected" if test else "collected"
    comment = f"{len(files)} static files {words}." if changes else "All static files are there."
    return {"changes": changes, "comment": comment, "files": files}


def compilemessages(project, locale=None, exclude=None, ignore=None, use_fuzzy=False, **where):
    """
    Compile translations (``.po``) below the working directory; it needs gettext's ``msgfmt``.

    project
        Name of a project, or a settings module.
    locale : None
        Only these locales (list of str).
    exclude : None
        Not these locales (list of str).
    ignore : None
        Patterns of folders (list of str) that are left out.
    use_fuzzy : False
        Take fuzzy translations, too.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``. The releases of a
        project of the pillar are sealed: let its ``build`` compile them.

    Returns the command's output (str). Raises CommandExecutionError when it fails.

    CLI Example:

    .. code-block:: bash

        salt-call django.compilemessages shop.settings locale=de bin_env=/opt/venv cwd=/opt/shop
    """
    options = {
        "locale": django_target.listed(locale),
        "exclude": django_target.listed(exclude),
        "ignore": django_target.listed(ignore),
        "use_fuzzy": use_fuzzy,
    }
    return _manage(project, ["compilemessages"], options, where)


# Questions


def check(project, tags=None, deploy=False, database=None, fail_level="ERROR", **where):
    """
    Run Django's system checks.

    project
        Name of a project, or a settings module.
    tags : None
        Only checks with these tags (list of str).
    deploy : False
        Also the checks of settings for production.
    database : None
        Also the checks of these databases (list of aliases).
    fail_level : ERROR
        ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR``, ``CRITICAL``, or ``NEVER``.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns the messages: ``[{"level": 10-50, "id", "message", "hint", "object"}]``. Raises
    CommandExecutionError when there is one of ``fail_level`` or worse.

    CLI Example:

    .. code-block:: bash

        salt-call django.check shop deploy=True fail_level=WARNING
    """
    if fail_level not in LEVELS:
        raise CommandExecutionError(f"fail_level: expected one of {', '.join(LEVELS)}")
    found = _ask(
        project,
        where,
        "check",
        tags=django_target.listed(tags),
        deploy=bool(deploy),
        databases=django_target.listed(database),
    )
    bad = [message for message in found if message["level"] >= LEVELS[fail_level]]
    if bad:
        raise CommandExecutionError(
            "\n".join(
                f"{message['id'] or 'check'}: {message['object']} {message['message']}"
                + (f" ({message['hint']})" if message["hint"] else "")
                for message in bad
            )
        )
    return found


def pass_checks(project, test=False, **rules):
    """
    Whether Django's system checks pass, for the state ``checked``; the same in test mode.

    project
        Name of a project, or a settings module.
    rules
        Keyword arguments of :func:`check`.

    Returns ``{"changes": {}, "comment": str}``. Raises CommandExecutionError when they do not pass.

    CLI Example:

    .. code-block:: bash

        salt-call django.pass_checks shop deploy=True
    """
    found = check(project, **rules)
    lines = [f"{message['id'] or 'check'}: {message['message']}" for message in found]
    return {"changes": {}, "comment": "\n".join(["The checks pass.", *lines])}


def shell(project, code, **where):
    """
    Evaluate Python code in the project; its models and ``settings`` are there by their names.

    project
        Name of a project, or a settings module.
    code
        Python (str). Salt's command line takes ``x=1`` for a keyword: write ``x = 1``. The code
        reaches the project through standard input, not as an argument.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns the value of a last expression as data, else what was printed (str). Raises
    CommandExecutionError with the exception.

    CLI Example:

    .. code-block:: bash

        salt-call django.shell shop 'User.objects.filter(is_active=True).count()'
        salt-call django.shell shop 'from django.utils import timezone; print(timezone.now())'
    """
    return _ask(project, where, "evaluate", code=str(code))


def settings(project, *names, **where):
    """
    Values of settings as the project has them; secrets are masked as on Django's error pages.

    project
        Name of a project, or a settings module.
    names
        Settings; without any, all.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns a dict by name. Raises CommandExecutionError for a setting that is not there.

    CLI Example:

    .. code-block:: bash

        salt-call django.settings shop DEBUG ALLOWED_HOSTS DATABASES
    """
    found = _ask(project, where, "setting_values", names=[str(name) for name in names])
    return django_target.without_passwords(found)


def version(project, **where):
    """
    Django's version (str) in the project's environment.

    project
        Name of a project, or a settings module.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Raises CommandExecutionError when there is no Django.

    CLI Example:

    .. code-block:: bash

        salt-call django.version shop
    """
    target, timeout = _target(project, where)
    return _run(target, ["--version"], timeout, [target.python, "-m", "django"]).strip()


def sendtestemail(project, *recipients, managers=False, admins=False, **where):
    """
    Send a test e-mail through the project's settings.

    project
        Name of a project, or a settings module.
    recipients
        Addresses.
    managers, admins : False
        Also to the addresses in the settings MANAGERS and ADMINS.
    where
        ``bin_env``, ``pythonpath``, ``env``, ``runas``, ``cwd``, ``timeout``.

    Returns the command's output (str). Raises CommandExecutionError when the mail server refuses.

    CLI Example:

    .. code-block:: bash

        salt-call django.sendtestemail shop me@example.org
    """
    if not (recipients or managers or admins):
        raise CommandExecutionError("name a recipient, or give managers=True or admins=True")
    options = {"managers": bool(managers), "admins": bool(admins)}
    return _manage(project, ["sendtestemail", *django_target.words(recipients)], options, where)


def logs(project, name="web", lines=50):
    """
    The last lines of a log of a project of the pillar, without its secrets.

    project
        Name of a project.
    name : web
        Its process, or ``tasks``: a file of the project's folder of logs, without ``.log``.
    lines : 50
        How many.

    Returns the lines (str). Raises CommandExecutionError with the names of the logs that there
    are when there is no such log.

    CLI Example:

    .. code-block:: bash

        salt-call django.logs shop
        salt-call django.logs shop worker 200
    """
    deployment = _access().deployment(project)
    folder = deployment.layout.log
    known = sorted(path.name.removesuffix(".log") for path in folder.glob("*.log"))
    if name not in known:
        there = ", ".join(known) or "none"
        raise CommandExecutionError(f"{project} has no log {name!r}; there are: {there}")
    # As the project's user, who may have put a link there.
    argv = ["/usr/bin/tail", f"--lines={int(lines)}", str(folder / f"{name}.log")]
    try:
        return deployment.redact(run(argv, user=deployment.user, timeout=30).stdout)
    except (CommandError, OSError) as error:
        raise CommandExecutionError(deployment.redact(str(error))) from None
