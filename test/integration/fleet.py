"""The example project on several hosts, by one pillar for all of them."""

import concurrent.futures
import subprocess
import sys
import time

from .guestbook import SOURCE

DOMAIN = "shop.example.org"
# Hosts share the cores of one machine, which each would take for its own.
PILLAR = """\
django:
  hosts: {%s}
  firewall: {}
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      domains: [%s]
      app: {workers: 2}
      health: {path: /healthz/}
      database: {password: the-database-s-password}
      cache: {password: the-cache-s-password}
      secrets: {SECRET_KEY: all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz}
"""

# A visitor every 20 ms for some seconds, each with a connection of his own: when, and what he got.
ASK = """\
import sys, time, requests
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    try:
        status = requests.get(sys.argv[1], headers={"Host": sys.argv[2]}, timeout=10).status_code
    except requests.RequestException as error:
        status = type(error).__name__
    print(time.time(), status, flush=True)
    time.sleep(0.02)
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


def asked_while(address, happens, visitors=1):
    """
    What visitors got who asked at an address for twenty seconds, in the midst of which something
    ``happens`` (function): sorted list of the moment (s) and the status or error, and when it was.
    """
    argv = [sys.executable, "-c", ASK, f"http://{address}/whoami/", DOMAIN, "20"]
    asking = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(visitors)]
    seen = [asking[0].stdout.readline()]
    happens()
    moment = time.time()
    for visitor in asking:
        seen += visitor.communicate(timeout=90)[0].splitlines()
    return sorted((float(when), status) for when, status in map(str.split, seen)), moment


def assert_missed_for_a_moment_only(seen):
    """Errors are at most one in two hundred, within three seconds of each other, and then none."""
    failed = [when for when, status in seen if status != "200"]
    assert len(seen) > 400 and len(failed) <= len(seen) / 200, failed
    assert not failed or failed[-1] - failed[0] <= 3
