"""
The firewall of a host: who may reach which of its ports.

One module with ``django.py`` to Salt.
"""

import difflib
import json
import pathlib

import django_access
import django_firewall
import django_layout
from django_run import BASE_PATH, CommandError, run
from salt.exceptions import CommandExecutionError

__virtualname__ = "django"

NFT = "/usr/sbin/nft"
LIST = ["-j", "list", "table", "inet", django_firewall.TABLE]
# What the kernel would make of the rules, seen in a network of its own that nothing is in.
TRY = f"{NFT} -f - && exec {NFT} {' '.join(LIST)}"
MASTER_KEY = "master/master.pem"
TIMEOUT = 60
MODE = 0o600
_ENVIRONMENT = {"PATH": BASE_PATH, "LANG": "C.UTF-8"}


def __virtual__():
    return __virtualname__


def _access():
    return django_access.Access(__salt__, __pillar__, __grains__, __context__)


def apply_firewall(test=False):
    """
    Let the rules of nftables be what the roles of this host and the pillar's ``firewall`` say, now
    and after a boot. Nothing changes where an operator or Salt would be locked out.

    CLI Example:

    .. code-block:: bash

        salt-call django.apply_firewall test=True
    """
    config = _access().valid()["firewall"]
    if not config:
        raise CommandExecutionError("This host's pillar has no django:firewall")
    try:
        return _apply(config, test)
    except (CommandError, OSError) as error:
        raise CommandExecutionError(f"The firewall cannot be looked after: {error}") from None


def _apply(config, test):
    listening = [found[:3] for found in _sockets("listening")]
    key = pathlib.Path(__opts__["pki_dir"]).parent / MASTER_KEY
    rules = django_firewall.with_salt(config, listening, key.exists())
    wanted = django_firewall.script(rules)
    path = pathlib.Path(django_firewall.RULES)
    changes = _changes(path, wanted, test)
    if not changes:
        return {"changes": {}, "comment": "The firewall is as wanted."}
    accepted = {port for _, _, port in listening}
    connected = [
        (program, port, peer)
        for program, _, port, peer in _sockets("established")
        if port in accepted
    ]
    own = [*__grains__.get("ipv4", []), *__grains__.get("ipv6", [])]
    told = django_firewall.locked_out(rules, listening, connected, own)
    if told:
        text = "; ".join(told)
        advice = "see django:firewall:ssh and django:firewall:allow"
        raise CommandExecutionError(
            f"Nothing was changed, as somebody would be locked out: {text} ({advice})"
        )
    if test:
        return {"changes": changes, "comment": "The rules of the firewall would change."}
    path.parent.mkdir(exist_ok=True)
    django_layout.write_atomic(path, wanted, MODE, 0, 0)
    run([NFT, "-f", str(path)], env=_ENVIRONMENT, timeout=TIMEOUT)
    left = _changes(path, wanted, test)
    if left:
        raise CommandExecutionError(f"After the change the firewall still differs: {left}")
    return {"changes": changes, "comment": "The rules of the firewall were changed."}


def _changes(path, wanted, test):
    """What differs in the file and in the kernel (dict)."""
    changes = {}
    if django_layout.file_differences(str(path), wanted, MODE, 0, 0):
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        lines = list(
            difflib.unified_diff(before.splitlines(), wanted.splitlines(), lineterm="", n=0)
        )
        rules = [f"{line[0]} {line[1:].strip()}" for line in lines[2:] if "accept" in line]
        changes[str(path)] = rules or ["as it was written"]
    if not pathlib.Path(NFT).exists() and test:
        return changes | {"loaded": "after nftables is installed"}
    if _listed([NFT, *LIST]) != _listed(["unshare", "--net", "sh", "-ec", TRY], wanted):
        changes["loaded"] = "the rules in the kernel differ"
    return changes


def _listed(argv, stdin=""):
    """The table as the kernel has it (list), empty without one."""
    found = run(argv, env=_ENVIRONMENT, stdin=stdin, timeout=TIMEOUT, check=bool(stdin))
    return django_firewall.normal(json.loads(found.stdout)) if found.returncode == 0 else []


def _sockets(state):
    argv = ["ss", "-Htnp", "state", state]
    found = run(argv, env=_ENVIRONMENT, timeout=TIMEOUT).stdout
    return django_firewall.sockets(found, _arguments)


def _arguments(pid):
    """The command line of a process, empty if it has ended."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
