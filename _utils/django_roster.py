"""
Servers that are reached over SSH: Salt's roster, worked out of the pillar's map of hosts.
"""

from collections.abc import Mapping

# On the server, for what salt-ssh leaves there: /var/tmp, its own choice, is everybody's.
THIN = "/var/cache/django-formula/ssh"
# A server whose key is not known yet, or is another one, is not spoken to.
OPTIONS = ["StrictHostKeyChecking=yes"]


class NoRoster(Exception):
    """There is no map of hosts to be used; the message says what to do."""


def servers(pillar, given=None, defaults=None, user="root"):
    """
    Entries of a roster (dict by name of dict) for all servers of the map.

    pillar
        What is told to all servers (dict); its ``django:hosts`` counts.
    given
        What is said of single servers beside it (dict by name): a dict as in Salt's own roster, or
        an address. Others than those of the map are passed over.
    defaults
        What is said of all servers (dict).
    user
        As whom to log in, where neither of these says so.

    Raises :class:`NoRoster` where the pillar has no map, or one that is none.
    """
    hosts = _hosts(pillar)
    given, defaults = given or {}, defaults or {}
    found = {}
    for name, host in hosts.items():
        own = given.get(name) or {}
        own = {"host": own} if isinstance(own, str) else own
        entry = {"host": host["address"], "ssh_options": OPTIONS, **defaults, **own}
        if entry.get("user", user) == "root":
            entry.setdefault("thin_dir", THIN)
        found[name] = entry
    return found


def having(pillar, role):
    """The names (list) of the servers of the map that have a role; see :func:`servers`."""
    return [name for name, host in _hosts(pillar).items() if role in (host.get("roles") or ())]


def _hosts(pillar):
    django = pillar.get("django")
    hosts = django.get("hosts") if isinstance(django, Mapping) else None
    if not isinstance(hosts, Mapping) or not hosts:
        raise NoRoster("\n".join(_unread(pillar) or [_without(hosts)]))
    wrong = [
        f"django:hosts:{name}:address: expected the server's address, as text"
        for name, host in hosts.items()
        if not (isinstance(host, Mapping) and isinstance(host.get("address"), str))
    ]
    if wrong:
        raise NoRoster("\n".join(wrong))
    return {str(name): host for name, host in hosts.items()}


def _unread(pillar):
    """What Salt says of pillar files that it could not read (list of str)."""
    return [str(error).split("\n", 1)[0] for error in pillar.get("_errors") or ()]


def _without(hosts):
    told = "django:hosts: expected a map with each server's address and roles"
    where = ", in a file of the pillar that all servers get; there is none"
    return told + (where if hosts is None else "")
