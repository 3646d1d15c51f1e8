"""
Servers that come and go, from the Salt mine. One module with ``django.py`` to Salt.
"""

import django_elastic
from salt.exceptions import NotImplemented as Told  # the one that Salt shows without a traceback

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def pool(members, network=None, function="address", least=1):
    """
    What ``django_mine.hosts`` gives a pillar: a part of ``django:hosts`` (dict).

    members
        Roles by pattern of minion ids: ``{'web*': [app, web]}``.
    network : None
        Where the addresses must be; others are not looked at.
    function : address
        Under which name servers publish their addresses (``mine_functions``).
    least : 1
        How many servers each pattern must have.

    CLI Example:

    .. code-block:: bash

        salt-run django.pool "{'web*': [app, web]}" network=10.0.0.0/24
    """
    said = django_elastic.published(__opts__, members, function)
    try:
        return django_elastic.hosts(members, said, network, least)
    except django_elastic.Refused as refusal:
        raise Told(str(refusal)) from None
