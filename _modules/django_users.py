"""
Users of a project: superusers and passwords, which are named and never given.

One module with ``django.py`` to Salt; what is said in ``django_manage.py`` of projects, settings
modules and keyword arguments is true here.
"""

import os

import django_access
import django_commands
import django_config
import django_password
from salt.exceptions import CommandExecutionError
from salt.utils.data import traverse_dict_and_list

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def _commands():
    return django_commands.Commands(_access(), __pillar__)


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
        look = _commands().ask(project, where, "superuser", test=True, **request)
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
    answer = _commands().ask(project, where, "superuser", hide=hide, password=password, **request)
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
            _commands().ask(project, where, "set_password", password=None, test=True, **request)
            password = None if test else django_password.keep(path)
    except (django_password.PasswordError, OSError) as error:
        raise CommandExecutionError(str(error)) from None
    hide = [password] if password else []
    changed = _commands().ask(
        project, where, "set_password", hide=hide, password=password, test=test, **request
    )
    lies = f" It is in {path}." if path else ""
    if not changed:
        return {"changes": {}, "comment": f"{username} has that password.{lies}"}
    words = "would get" if test else "has got"
    return {"changes": {"password": username}, "comment": f"{username} {words} a password.{lies}"}
