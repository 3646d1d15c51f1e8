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

import shlex

import django_access
import django_commands
import django_target
from django_run import CommandError, run
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"

LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50, "NEVER": 1000}


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _commands():
    return django_commands.Commands(_access(), __pillar__)


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
    return _commands().manage(project, [str(name), *django_target.words(args)], own, where)


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
    is_list = isinstance(command, (list, tuple))
    try:
        argv = django_target.words(command) if is_list else shlex.split(str(command or ""))
    except ValueError as error:
        raise CommandExecutionError(f"command: {error}") from None
    if not argv:
        raise CommandExecutionError(f"command: expected a text or a list of words, got {command!r}")
    target, timeout = _commands().target(project, where)
    changes = {"command": target.redact(shlex.join(argv))}
    if test:
        return {"changes": changes, "comment": "The command would be run."}
    said = _commands().run(target, argv, timeout).strip()
    return {"changes": changes, "comment": said or "The command has run."}


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
    answer = _commands().ask(
        project, where, "collect_static", options=options, clear=bool(clear), test=test
    )
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
    return _commands().manage(project, ["compilemessages"], options, where)


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
    found = _commands().ask(
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
    return _commands().ask(project, where, "evaluate", code=str(code))


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
    found = _commands().ask(project, where, "setting_values", names=[str(name) for name in names])
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
    target, timeout = _commands().target(project, where)
    return _commands().run(target, ["--version"], timeout, [target.python, "-m", "django"]).strip()


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
    return _commands().manage(
        project, ["sendtestemail", *django_target.words(recipients)], options, where
    )


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
    argv = [
        "/usr/bin/tail",
        f"--lines={django_access.whole('lines', lines)}",
        str(folder / f"{name}.log"),
    ]
    try:
        return deployment.redact(run(argv, user=deployment.user, timeout=30).stdout)
    except (CommandError, OSError) as error:
        raise CommandExecutionError(deployment.redact(str(error))) from None
