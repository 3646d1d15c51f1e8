"""
States of a PostgreSQL database with replicas: who may follow the primary, and who does.

One with ``django.py`` to Salt.
"""

import django_states

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def _apply(name, function):
    return django_states.apply(name, __salt__[function], __opts__["test"], {})


@django_states.of_words
def replication_login_kept(name):
    """
    PostgreSQL's user has the password by which the database's servers come in at each other, in a
    file that nobody else can read.

    .. code-block:: yaml

        servers of the database know their password:
          django.replication_login_kept: []
    """
    return _apply(name, "django.keep_replication_login")


@django_states.of_words
def replicas_admitted(name):
    """
    The map's replicas may follow this host's PostgreSQL, each by a slot of its own, and with
    ``synchronous`` commits wait for those that do. A replica that does not is told as a warning.

    .. code-block:: yaml

        replicas may follow:
          django.replicas_admitted: []
    """
    return _apply(name, "django.admit_replicas")


@django_states.of_words
def standby_kept(name):
    """
    This host's PostgreSQL is a hot standby of the map's primary. Only a cluster that nobody has
    used is replaced by a copy; one with data is told, and left as it is.

    .. code-block:: yaml

        this host follows db1:
          django.standby_kept: []
    """
    return _apply(name, "django.keep_standby")
