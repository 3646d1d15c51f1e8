"""
Servers that fetch their own pillar: what the command ``django-pull`` is told.

One module with ``django.py`` to Salt.
"""

import os

import django_access
import django_layout
import django_pull
import django_pull_note
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"
MODE = 0o600


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def configure_pull(test=False):
    """
    Write what ``django-pull`` has to know, ``django:pull`` of the pillar, to a file for root only,
    as deploy keys are in it.

    Returns ``{"changes": dict, "comment": str}``, with ``"warnings"`` where the last pull failed.
    Raises CommandExecutionError on a host without ``pull`` in its pillar, and on one that
    ``bootstrap`` has not set up.

    CLI Example:

    .. code-block:: bash

        salt-call django.configure_pull test=True
    """
    config = _access().valid()["pull"]
    if not config:
        raise CommandExecutionError("The pillar of this host says nothing of pulls (django:pull).")
    repository = __opts__.get("django_formula") or ""
    if not os.path.isfile(f"{repository}/bootstrap"):
        raise CommandExecutionError(
            "django:pull needs a server that bootstrap has set up, since that is what applies what "
            "was fetched: run ./bootstrap of a checkout of this formula once."
        )
    path = str(django_pull_note.SETTINGS)
    text = django_pull.settings(config, repository)
    differing = django_layout.file_differences(path, text, MODE, 0, 0)
    if differing and not test:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        django_layout.write_atomic(path, text, MODE)
    words = "is as wanted" if not differing else "would be written" if test else "was written"
    told = {"changes": {path: differing} if differing else {}, "comment": f"{path} {words}."}
    complaint = django_pull_note.complaint()
    return {**told, "warnings": [complaint]} if complaint else told
