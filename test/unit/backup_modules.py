"""The command django-backup, whose modules lie beside each other and not on a path of Python's."""

import importlib.util
import os
import pwd

from pillars import ROOT

FOLDER = ROOT / "salt/django/backup/files/usr/local/lib/django-formula/backup"
ME = pwd.getpwuid(os.geteuid()).pw_name


def module(name):
    """A module of the command."""
    spec = importlib.util.spec_from_file_location(f"django_backup_{name}", FOLDER / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made
