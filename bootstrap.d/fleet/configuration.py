"""
What the configuration of a Salt master, of its minions and of salt-ssh holds, and who else says
something.
"""

import pathlib

import django_keys
import yaml
from masterless import registration

MASTER = pathlib.Path("/etc/salt/master.d/django-formula-master.conf")
SSH = pathlib.Path("/etc/salt/master.d/django-formula-ssh.conf")
MINION = pathlib.Path("/etc/salt/minion.d/django-formula-minion.conf")
# What the master says to a minion that it has not met is signed; by default still with SHA-1.
SIGNING = {"signing_algorithm": "PKCS1v15-SHA224"}
# What somebody else may not have said otherwise, and what nobody may have said.
BLIND = ("auto_accept", "autosign_file", "autosign_grains_dir", "open_mode")
ELSEWHERE = {
    "master": ("ext_pillar", "fileserver_backend", "user"),
    "minion": ("file_client", "file_roots", "master_type", "pillar_roots"),
}


def master(repository, pillar):
    """
    Options (dict) of a master that serves this repository, and trusts its minions no further than
    it must.

    pillar
        Folder of the pillar of all minions.
    """
    return {
        **_served(repository, pillar),
        "runner_dirs": [f"{repository}/_runners"],
        "module_dirs": [f"{repository}/_master"],
        # An operator accepts each key by its fingerprint.
        "auto_accept": False,
        "open_mode": False,
        "allow_minion_key_revoke": False,
        "minimum_auth_version": 3,
        # No minion may name a source of pillar itself.
        "on_demand_ext_pillar": [],
        **SIGNING,
        # A minion that builds a release may be slow to say that it is still at it.
        "gather_job_timeout": 30,
    }


def ssh(repository, pillar):
    """
    Options (dict) of salt-ssh that serves this repository to the servers of the pillar's map.

    pillar
        Folder of the pillar of all servers.
    """
    return {
        **_served(repository, pillar),
        # Orders to the whole fleet: they go over SSH where the roster is this one.
        "runner_dirs": [f"{repository}/_runners"],
        "roster": "django",
        "roster_dirs": [f"{repository}/_roster"],
        # A server is sent the files that its states name; the formula's modules read others, too.
        "extra_filerefs": "salt://django",
        **_wrapped(repository),
        # On the server: its grains are this minute's, and an operator gives it its pillar. Salt
        # looks for wrappers by what a server says that it was told.
        "ssh_minion_opts": {
            "grains_cache": False,
            "django_formula_ssh": True,
            **_wrapped(repository),
            **registration.tuning(systemd=True),
        },
        "ssh_log_file": "/var/log/django-formula/ssh.log",
    }


def _wrapped(repository):
    return {"wrapper_dirs": [f"{repository}/_wrapper"]}


def _served(repository, pillar):
    """Options (dict) by which this repository, and the pillar in a folder, are served to others."""
    repository = str(repository)
    return {
        "file_roots": {"base": [f"{repository}/salt", repository]},
        "pillar_roots": {"base": [str(pillar)]},
        "utils_dirs": [f"{repository}/_utils"],
        "django_formula": repository,  # as without a master: {{ opts.django_formula }} in a pillar
        "hash_type": django_keys.HASH,
        # At the end of each salt-run Salt 3008 warns of itself, even after its log is closed.
        "log_granular_levels": dict.fromkeys(
            ("salt.minion", "salt.runner", "salt.utils.asynchronous"), "error"
        ),
        **registration.OUTPUT,
    }


def minion(address, fingerprint, minion_id, systemd):
    """
    Options (dict) of a minion.

    address
        Name or address of its master.
    fingerprint
        Of the master's key; None where the minion has been given that key itself.
    minion_id
        Its name in ``django:hosts``; None for what Salt takes.
    systemd
        Whether systemd runs this server.
    """
    options = {
        "master": address,
        "hash_type": django_keys.HASH,
        **SIGNING,
        # One that was cut off from its master notices within a minute; by default it takes five.
        "tcp_keepalive_idle": 30,
        "tcp_keepalive_cnt": 3,
        "tcp_keepalive_intvl": 10,
        **registration.tuning(systemd),
        **registration.OUTPUT,
    }
    if ":" in address:
        options["ipv6"] = True
    if fingerprint:
        options["master_finger"] = fingerprint
    if minion_id:
        options["id"] = minion_id
    return options


def read(path):
    """The options (dict) in a file of Salt's configuration; empty without one."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else {}


def others(kind, ours, root="/"):
    """
    What other files of Salt's configuration say: dict of options by path, None for one that cannot
    be read.

    kind
        ``master`` or ``minion``.
    ours
        Path of the file that this formula writes.
    """
    salt = pathlib.Path(root) / registration.SALT.relative_to("/")
    paths = [salt / kind, *sorted(salt.glob(f"{kind}.d/*.conf"))]
    known = (ours.name, registration.OURS) if kind == "minion" else (ours.name,)
    return {path: read(path) for path in paths if path.name not in known}


def conflicts(kind, found, options, chapter="Servers with a Salt master"):
    """
    Sentences (list) about what others have said that is not as ``options`` (dict) have it.

    found
        See :func:`others`.
    chapter
        Of docs/operations.md, which tells what to do by hand.
    """
    problems = []
    for path, said in found.items():
        if said is None:
            problems.append(f"{path} cannot be read")
            continue
        blind = [name for name in BLIND if kind == "master" and said.get(name)]
        if blind:
            problems.append(
                f"{path} sets {' and '.join(blind)}: keys would be accepted that nobody has looked"
                " at. Take it out"
            )
        differing = [name for name in (*ELSEWHERE[kind], *options) if _differs(name, said, options)]
        differing = sorted(set(differing) - set(blind))
        if differing:
            problems.append(
                f"{path} sets {' and '.join(differing)}, so this server's Salt is set up otherwise."
                f" Take it out, or go on by hand: docs/operations.md, {chapter}"
            )
    return problems


def _differs(name, said, options):
    """Whether an option is said to be another than ours; of roots each environment has its own."""
    if name not in said:
        return False
    theirs, ours = said[name], options.get(name)
    if name.endswith("_roots") and isinstance(theirs, dict) and "base" not in theirs:
        return False
    return theirs != ours
