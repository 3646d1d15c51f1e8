"""
States of a balancer of somebody else before the fleet. One module with ``django.py`` to Salt.

.. code-block:: yaml

    the balancer in front knows its backends:
      django.backends_told: []
"""

import django_states

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


@django_states.of_words
def backends_told(name):
    """
    The balancer in front was told which hosts are behind it, by the pillar's hook.

    .. code-block:: yaml

        the balancer in front knows its backends:
          django.backends_told: []
    """
    return django_states.apply(name, __salt__["django.tell_backends"], __opts__["test"], {})


@django_states.of_words
def targets_registered(name):
    """
    This host is a target of the pillar's target groups, and who is no backend any more is none.

    .. code-block:: yaml

        this host is a target of the balancer in front:
          django.targets_registered: []
    """
    return django_states.apply(name, __salt__["django.register_targets"], __opts__["test"], {})
