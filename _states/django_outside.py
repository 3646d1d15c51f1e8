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
