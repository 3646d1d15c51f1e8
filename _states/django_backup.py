"""
States of backups.

One with ``django.py`` to Salt.
"""

import django_states

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _apply(state_name, function):
    return django_states.apply(state_name, __salt__[function], __opts__["test"], {})


@django_states.of_words
def backup_configured(name):
    """
    The command ``django-backup`` knows what to save, where to, and how it comes to the databases.
    Backups that failed or are overdue are told by each run.

    .. code-block:: yaml

        what to save is known:
          django.backup_configured: []
    """
    return _apply(name, "django.configure_backup")


@django_states.of_words
def backup_repository_present(name):
    """
    The repository of backups is there and opens with the password that the pillar, or this host,
    has.

    .. code-block:: yaml

        backups have their repository:
          django.backup_repository_present: []
    """
    return _apply(name, "django.open_repository")
