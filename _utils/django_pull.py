"""
Servers that fetch their own pillar: what the pillar says of it, and what that tells the command
``django-pull``.

``django-pull`` itself is in ``bootstrap.d/masterless/pull.py``: it must work while the pillar that
is in force does not.
"""

import json
import re

import django_checks
import django_cron

KINDS = ("pillar", "formula")
KEYS = ("git", "rev", "deploy_key", "known_hosts", "signed_by", "rewind")
OVER_SSH = re.compile(r"(?!(https?|file|git)://|/)")


def is_own(opts):
    """
    Whether a server looks after its pillar itself (bool), and no master or operator over SSH does.

    opts
        Its Salt's options (dict).
    """
    return opts.get("file_client") == "local" and not opts.get("django_formula_ssh")


def configuration(pull):
    """
    What this host's configuration says of pulls (dict), empty where there are none: ``interval``
    and ``splay`` in seconds, ``schedule`` for a cron (None where it cannot say it), ``on_failure``
    (list of words or None) and ``sources``, by kind (``pillar``, ``formula``).

    pull
        The validated section of the pillar, or None.
    """
    if not pull:
        return {}
    sources = {kind: {key: pull[kind][key] for key in KEYS} for kind in KINDS if pull[kind]}
    if "pillar" in sources:
        sources["pillar"]["folders"] = list(pull["pillar"]["folders"])
    return {
        "interval": pull["interval"],
        "splay": pull["splay"],
        "schedule": django_cron.every(pull["interval"]),
        "on_failure": pull["on_failure"],
        "sources": sources,
    }


def problems(pull, init):
    """
    What is wrong between the keys of a validated section, as messages (list of str).

    init
        The host's init system, ``systemd`` or another.
    """
    if not pull:
        return []
    found = []
    if not any(pull[kind] for kind in KINDS):
        found.append("django:pull: expected pillar, formula or both, got neither")
    if pull["splay"] > pull["interval"]:
        found.append(f"django:pull:splay: expected at most the interval, {pull['interval']} s")
    if init != "systemd" and not django_cron.every(pull["interval"]):
        text = "expected a part of an hour or of a day that cron can say, such as 10m, 30m or 2h"
        found.append(f"django:pull:interval: {text}, since this host does not run systemd")
    for kind in KINDS:
        if pull[kind] and django_checks.LOGIN.match(pull[kind]["git"]):
            text = "expected an URL without a password or a token"
            found.append(f"django:pull:{kind}:git: {text}")
    return found


def packages(config, names, init):
    """
    Debian packages (set of str) that pulls need.

    config
        As :func:`configuration` returns it.
    names
        The packages of the system by purpose.
    init
        The host's init system, ``systemd`` or another.
    """
    if not config:
        return set()
    sources = config["sources"].values()
    # Signatures by SSH keys are looked at by ssh-keygen.
    ssh = any(each["signed_by"] or OVER_SSH.match(each["git"]) for each in sources)
    timer = [] if init == "systemd" else names["timers"]
    return {*names["git"], *(names["ssh"] if ssh else []), *timer}


def settings(config, repository):
    """
    The text of the file that tells ``django-pull`` what to do. It has deploy keys in it.

    config
        As :func:`configuration` returns it.
    repository
        Path of the formula that is registered with this host's Salt.
    """
    told = {"sources": config["sources"], "on_failure": config["on_failure"]}
    return json.dumps({**told, "repository": str(repository)}, indent=1, sort_keys=True) + "\n"
