"""
The NFS server of a fleet's uploads: what it gives to whom, and how other hosts mount that.

It speaks NFS 4 only, so that one port is all it needs. An export's number is the one of the
project's user: clients know files by it, so that another project must not change it.
"""

import json

import django_mod_wsgi

ROOT = "/srv/media"
PORT = 2049
SERVICE = "nfs-ganesha"
CONFIG = "/etc/ganesha/ganesha.conf"
LOG = "/var/log/ganesha/ganesha.log"
EMBEDDED_ID = 33  # of www-data on each Debian
# Calls end with an error when the connection is broken, which it is after timeo (0.1 s) and retrans
# times more, and cannot be made again: visitors wait for them. A boot waits 20 s for the server.
SOFT = "softerr,timeo=50,retrans=1"
OPTIONS = f"rw,{SOFT},nosuid,nodev,noexec,_netdev,x-systemd.mount-timeout=20"
SHOW = "ShowExports"
ASK = [
    "busctl",
    "--json=short",
    "call",
    "org.ganesha.nfsd",
    "/org/ganesha/nfsd/ExportMgr",
    "org.ganesha.nfsd.exportmgr",
    SHOW,
]


def is_used(given, fleet):
    """Whether a project has its uploads on the fleet's media host (its validated pillar)."""
    media = given["media"]
    return bool(fleet["media_host"]) and not (media["s3"] or media["mount"])


def mount(name, given, fleet):
    """The share (dict, or None) that a project's uploads are on, by pillar or by the map."""
    if not is_used(given, fleet):
        return given["media"]["mount"]
    address = fleet["media_host"]["address"]
    host = f"[{address}]" if ":" in address else address
    return {"device": f"{host}:/{name}", "type": "nfs4", "options": OPTIONS}


def configuration(fleet, host, hosts, projects):
    """
    What the server is told (dict); empty where no project has its uploads on it.

    Returns ``address``, ``port``, ``clients`` (addresses of the hosts that run projects) and
    ``exports``, a list of dict with ``project``, ``id``, ``owner`` (number), ``path`` and
    ``folders``.
    """
    exports = [
        _export(name, project)
        for name, project in sorted(projects.items())
        if is_used(fleet["projects"][name], fleet)
    ]
    if not exports:
        return {}
    return {
        "address": host["address"],
        "port": PORT,
        "clients": [
            item["address"] for item in hosts.values() if {"app", "worker"} & set(item["roles"])
        ],
        "exports": exports,
    }


def _export(name, project):
    number = project["uid"]
    if project["user"] == django_mod_wsgi.EMBEDDED_USER:
        number = EMBEDDED_ID
    path = f"{ROOT}/{name}"
    folders = [key for key in ("media", "private") if key == "media" or project["media"][key]]
    return {
        "project": name,
        "id": number,
        "owner": number,
        "path": path,
        "folders": [f"{path}/{folder}" for folder in folders],
    }


def served(answer):
    """Paths (set of str) that the server gives out, by its answer to :data:`ASK`."""
    _, exports = json.loads(answer)["data"]
    return {path for number, path, *_ in exports if number}  # 0 leads to the others
