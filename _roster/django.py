"""
The servers of the pillar's map of hosts, for ``salt-ssh``.

What is otherwise at single servers (a port, a user) may stand in Salt's own roster,
``/etc/salt/roster``: what it says of a server of the map counts, all else in it does not.

.. code-block:: yaml

    # /etc/salt/roster
    web1: {port: 2222}
"""

import django_roster
import salt.fileclient
import salt.loader
import salt.pillar
import salt.roster
from salt.exceptions import SaltClientError
from salt.template import compile_template

__virtualname__ = "django"


def __virtual__():
    return __virtualname__


def targets(tgt, tgt_type="glob", **_):
    """
    Entries of the roster (dict by name) for the servers that are meant. Beside Salt's own ways to
    say which, ``--nodegroup`` takes a role.

    CLI Example:

    .. code-block:: bash

        salt-ssh '*' test.ping
        salt-ssh --nodegroup web django.status
    """
    pillar = _pillar()
    try:
        entries = django_roster.servers(
            pillar, _given(), __opts__.get("roster_defaults"), __opts__["ssh_user"]
        )
        if tgt_type == "nodegroup" and tgt not in __opts__.get("ssh_list_nodegroups", {}):
            tgt, tgt_type = django_roster.having(pillar, tgt), "list"
    except django_roster.NoRoster as error:
        raise SaltClientError(str(error)) from None
    _fetch_files()
    return __utils__["roster_matcher.targets"](entries, tgt, tgt_type)


def _fetch_files():
    """
    Have the formula's files in Salt's cache. From here on each server has a process of its own,
    and those would write the same files there while others read them.
    """
    client = salt.fileclient.FSClient(__opts__)
    try:
        saltenv = __opts__.get("saltenv") or "base"
        client.cache_file("salt://top.sls", saltenv)
        client.cache_dir("salt://django", saltenv)
    finally:
        client.destroy()


def _pillar():
    """The pillar (dict) that all servers get: here as one that is not in the map."""
    grains = __opts__.get("grains") or salt.loader.grains(__opts__)
    saltenv = __opts__.get("saltenv") or "base"
    compiler = salt.pillar.get_pillar(
        __opts__, grains, __opts__["id"], saltenv, pillarenv=__opts__.get("pillarenv")
    )
    return compiler.compile_pillar()


def _given():
    """What Salt's own roster says (dict by name)."""
    try:
        path = salt.roster.get_roster_file(__opts__)
    except OSError:
        return {}
    render = salt.loader.render(__opts__, {})
    blocked, allowed = (__opts__[f"renderer_{kind}list"] for kind in ("black", "white"))
    return compile_template(path, render, __opts__["renderer"], blocked, allowed) or {}
