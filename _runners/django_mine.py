"""
Servers that come and go, from the Salt mine. One module with ``django.py`` to Salt.
"""

import logging

import django_elastic
from salt.exceptions import NotImplemented as Told  # the one that Salt shows without a traceback

__virtualname__ = "django"
log = logging.getLogger(__name__)


def __virtual__():
    return __virtualname__


def pool(members, network=None, function="address", least=1):
    """
    A part of ``django:hosts`` for the pillar: servers whose keys this master has accepted, with the
    roles that the pattern of their minion id has here, at the address that they publish in the Salt
    mine. That is all that a server says of itself.

    members
        Roles by pattern of minion ids: ``{'web*': [app, web]}``.
    network : None
        Where the addresses must be; others are not looked at.
    function : address
        Under which name servers publish their addresses (``mine_functions``).
    least : 1
        How many servers each pattern must have. With fewer this fails, and so do pillars made of
        it: rather than that a lost cache shuts servers out, nothing changes.

    CLI Example:

    .. code-block:: bash

        salt-run django.pool "{'web*': [app, web]}" network=10.0.0.0/24
    """
    published = {}
    for pattern in members if isinstance(members, dict) else ():
        published.update(__salt__["mine.get"](pattern, function) or {})
    try:
        found = django_elastic.hosts(members, published, network, least)
        for name in django_elastic.silent(published, network):
            log.warning("%s publishes no address in %s and is left out", name, network)
    except django_elastic.Refused as refusal:
        raise Told(str(refusal)) from None
    return found
