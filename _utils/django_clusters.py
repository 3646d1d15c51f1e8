"""
PostgreSQL's clusters on a host, by Debian's files, so that another major version is never set up
beside the one that has the data.
"""

import pathlib

CLUSTERS = pathlib.Path("/etc/postgresql")
SETTINGS = "conf.d/10-django-restart.conf"
ADVICE = "see 'Another major version of PostgreSQL' in docs/operations.md"


def find(root=CLUSTERS):
    """
    The clusters (list of dict): ``{version, name, start, ours}``, start as in start.conf, and ours
    those that have this formula's settings.
    """
    folders = sorted(path.parent for path in pathlib.Path(root).glob("*/*/postgresql.conf"))
    return [
        {
            "version": folder.parent.name,
            "name": folder.name,
            "start": _start(folder),
            "ours": (folder / SETTINGS).exists(),
        }
        for folder in folders
    ]


def _start(folder):
    try:
        lines = (folder / "start.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "auto"
    words = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return words[0] if words else "auto"


def problem(wanted, is_given, clusters):
    """
    Why the wanted major version would not be where the data is (str), or None.

    wanted
        The version (str) that the configuration comes to.
    is_given
        Whether the pillar names it; otherwise it is that of the operating system.
    clusters
        As :func:`find` returns them.
    """
    others = [each for each in clusters if each["version"] != wanted]
    shown = " and ".join(f"{each['version']}/{each['name']}" for each in others)
    meant = f"'{wanted}'" if is_given else f"left out, which means {wanted} on this system"
    if others and len(others) == len(clusters):
        version = others[-1]["version"]
        return (
            f"django:postgresql:version is {meant}, and this host's PostgreSQL is {shown}: an empty"
            f" {wanted} would be set up beside it. Say version: '{version}', or upgrade first,"
            f" {ADVICE}"
        )
    # pg_upgradecluster leaves the old one behind with our settings, and no longer started.
    if any(each["start"] == "auto" and (each["ours"] or not is_given) for each in others):
        return (
            f"django:postgresql:version is {meant}, and this host starts {shown}, too: say which"
            f" version has the projects' data, or end the other, {ADVICE}"
        )
    return None
