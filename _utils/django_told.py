"""What a balancer of somebody else was told of its backends, by the pillar's hook."""

import json
import os
import pathlib
import shlex

import django_address
import django_drained
import django_layout
from django_run import CommandError, build_environment, run

PATH = "/etc/django-formula/backends.json"
MODE = 0o600


class TellError(Exception):
    """The hook failed; the message has its last words."""


def listing(backends, drained, known=None):
    """
    The list of backends (dict), in which each server says whether it is ``drained``.

    drained
        Names of the hosts that are.
    known
        Those of which this host knows it; None are all.
    """

    def state(name):
        return name in drained if known is None or name in known else None

    return {
        name: {
            **entry,
            "servers": [{**each, "drained": state(each["name"])} for each in entry["servers"]],
        }
        for name, entry in backends.items()
    }


def tell(external, backends, drained, test=False):
    """
    Let the hook tell the list of backends, unless that is what it told last. Returns what differed
    (dict). A host that is not the one to tell forgets what it once told, since another host tells
    something else meanwhile.
    """
    told = django_layout.read_json(PATH)
    if not external["hook"].get("here"):
        if not os.path.lexists(PATH):
            return {}
        if not test:
            pathlib.Path(PATH).unlink()
        return {"forgotten": "what this host has told"}
    wanted = {"hook": external["hook"]["command"], "backends": listing(backends, drained)}
    changes = differences(told, wanted)
    if changes and not test:
        _run(external["hook"], wanted["backends"])
        pathlib.Path(PATH).parent.mkdir(exist_ok=True)
        django_layout.write_json(PATH, wanted, MODE)
    return changes


def _run(hook, backends):
    try:
        run(
            hook["command"],
            env=build_environment(),
            stdin=json.dumps(backends, indent=1) + "\n",
            timeout=hook["timeout"],
        )
    except CommandError as error:
        raise TellError(f"The balancer was not told; the next run tells it. {error}") from None


def differences(told, wanted):
    """What differs between what was told and what is to be (dict), each in words."""
    found = {}
    if told and told.get("hook") != wanted["hook"]:
        hooks = [shlex.join(each["hook"]) for each in (told, wanted)]
        found["hook"] = dict(zip(("old", "new"), hooks))
    before, after = told.get("backends", {}), wanted["backends"]
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            found[name] = {"old": words(before.get(name)), "new": words(after.get(name))}
    return found


def words(entry):
    """A project's backends in words (str)."""
    if not entry:
        return "nothing"
    servers = [
        f"{server['name']} ({django_address.bracketed(server['address'])}:{server['port']}"
        f"{', drained' if server['drained'] else ''})"
        for server in entry["servers"]
    ]
    health, by_address = entry["health"], entry["health"]["by_address"]
    status = ", ".join(map(str, health["status"]))
    asked = f"{health['path']} of {health['host'] or 'its address'} answers {status}"
    if by_address and health["host"]:
        asked += f", or :{by_address['port']}{by_address['path']} by address"
    domains = ", ".join(entry["domains"]) or "every name"
    return f"{domains} at {', '.join(servers)}; healthy if {asked}"


def keep(members, test=False):
    """The hosts on the list of drained ones (dict), without those that are no backends any more."""
    listed = django_drained.load()
    kept = {name: since for name, since in listed.items() if name in members}
    if len(kept) < len(listed) and not test:
        django_drained.save(kept)
    return kept
