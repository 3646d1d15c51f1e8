"""
Servers that come and go, from the Salt mine, for the pillar. A master has this module by
``module_dirs``, minions do not: it reads the master's own keys and cache.
"""

import logging

import django_elastic
from salt.exceptions import CommandExecutionError

log = logging.getLogger(__name__)


def hosts(members, network=None, function="address", least=1):
    """
    A part of ``django:hosts`` (dict): servers whose keys this master has accepted, with the roles
    that the pattern of their minion id has here, at the address that they publish in the Salt mine.
    That is all that a server says of itself.

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

    .. code-block:: jinja

        {%- set pool = salt['django_mine.hosts']({'web*': ['app', 'web']}, '10.0.0.0/24') %}
    """
    said = django_elastic.published(__opts__, members, function)
    try:
        found = django_elastic.hosts(members, said, network, least)
        for name in django_elastic.silent(said, network):
            log.warning("%s publishes no address in %s and is left out", name, network)
    except django_elastic.Refused as refusal:
        raise CommandExecutionError(str(refusal)) from None
    return found
