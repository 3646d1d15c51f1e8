"""The example project on several hosts, by one pillar for all of them."""

import concurrent.futures

from .guestbook import SOURCE

DOMAIN = "shop.example.org"
PILLAR = """\
django:
  hosts: {%s}
  firewall: {}
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      domains: [%s]
      health: {path: /healthz/}
      database: {password: the-database-s-password}
      cache: {password: the-cache-s-password}
      secrets: {SECRET_KEY: all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz}
"""


def hosts(servers, roles):
    """The map of the hosts as a pillar has it (str): both by name, the roles as text."""
    return ", ".join(
        f"{name}: {{address: {server.host.address}, roles: {roles[name]}}}"
        for name, server in servers.items()
    )


def pillar(servers, roles, *more):
    """The pillar that all hosts have, with more lines for the project."""
    lines = "".join(f"      {line}\n" for line in more)
    return PILLAR % (hosts(servers, roles), SOURCE, DOMAIN) + lines


def at_once(function, items):
    """What a function returns for each of the items, all at the same moment."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        return list(pool.map(function, items))
