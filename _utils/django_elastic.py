"""
Servers of a fleet that come and go: which they are is known by the accepted keys of a master, where
they are by the Salt mine. A server says where it is and nothing else of itself.
"""

import fnmatch
import ipaddress

import salt.cache
import salt.utils.mine
import salt.utils.minions


class Refused(Exception):
    """There is no map of servers to go by; the message is for the operator."""


def hosts(members, said, network=None, least=1):
    """
    A part of ``django:hosts`` (dict): each server with its address and roles.

    members
        Roles (list) by pattern of minion ids, such as ``web*``.
    said
        What each server says of its addresses (dict): a text, or a list of them.
    network : None
        Where the addresses must be; others are not looked at.
    least : 1
        How many servers each pattern must have.

    Raises :class:`Refused` where a pattern has fewer, or what is given is no such thing.
    """
    if not isinstance(members, dict) or not members:
        raise Refused(
            "members: expected a map from patterns to roles, such as {'web*': [app, web]}"
        )
    if not isinstance(least, int) or least < 1:
        raise Refused(f"least: expected a number of servers such as 2, got {least!r}")
    within = _network(network)
    found = {}
    for pattern, roles in members.items():
        if not isinstance(roles, list) or not roles:
            raise Refused(f"members:{pattern}: expected a list of roles")
        there = {name: _address(said[name], within) for name in said}
        there = {
            name: address
            for name, address in there.items()
            if address and fnmatch.fnmatchcase(name, pattern)
        }
        if len(there) < least:
            told = ", ".join(sorted(there)) or "none"
            raise Refused(
                f"members:{pattern}: expected at least {least} servers that publish an address in"
                f" {network or 'the mine'}, got {told}"
            )
        for name, address in there.items():
            entry = found.setdefault(name, {"address": address, "roles": []})
            entry["roles"] += [role for role in roles if role not in entry["roles"]]
    return dict(sorted(found.items()))


def published(opts, members, function):
    """
    What servers with an accepted key have put into the mine (dict by name). Salt's own ``mine.get``
    takes a second of the processor each time, as it loads all that a minion has.

    opts
        Options of the master.
    members
        Roles by pattern of minion ids; those whom no pattern fits are not looked at.
    function
        Under which name servers publish their addresses.
    """
    checker, cache, found = salt.utils.minions.CkMinions(opts), salt.cache.factory(opts), {}
    for pattern in members if isinstance(members, dict) else ():
        for name in checker.check_minions(str(pattern), "glob", greedy=False)["minions"]:
            # Salt 3006 and 3007 keep it the other way round.
            mine = cache.fetch("mine", name) or cache.fetch(f"minions/{name}", "mine")
            entry = mine.get(function) if isinstance(mine, dict) else None
            if isinstance(entry, dict) and salt.utils.mine.MINE_ITEM_ACL_ID in entry:
                entry = entry.get(salt.utils.mine.MINE_ITEM_ACL_DATA)
            found[name] = entry
    return found


def silent(said, network=None):
    """Servers (sorted list) that publish no address which counts."""
    within = _network(network)
    return sorted(name for name in said if not _address(said[name], within))


def _network(text):
    try:
        return None if text is None else ipaddress.ip_network(str(text))
    except ValueError:
        raise Refused(f"network: expected a network such as 10.0.0.0/24, got {text!r}") from None


def _address(said, within):
    """The lowest address (str) of those that a server publishes and that count, or None."""
    found = []
    for text in said if isinstance(said, (list, tuple)) else [said]:
        try:
            address = ipaddress.ip_address(text if isinstance(text, str) else "")
        except ValueError:
            continue
        if address.is_loopback or address.is_link_local or address.is_unspecified:
            continue
        if within is None or (address.version == within.version and address in within):
            found.append(address)
    return str(min(found, key=lambda each: (each.version, each))) if found else None
