"""
Files that an instance has outside of its release, such as ``/etc/shop.ini``.

There is one place for each, whichever instance runs, so every instance keeps copies of its own:
going back to it, or staying with it when another failed, puts them back.
"""

import os
import pathlib

import django_layout


def wanted(deployment, instance):
    """
    The files of the wanted instance and their copies: two dicts of
    ``{path: (text, mode, uid, gid)}``.
    """
    folder = _copies(deployment, instance)
    files, copies = {}, {}
    for path, text in deployment.files("host", deployment.names(instance)).items():
        mode = int(deployment.project_file(path)["mode"], 8)
        files[path] = (text, mode, 0, deployment.gid)
        copies[str(folder / django_layout.digest(path))] = (text, 0o400, 0, 0)
    return files, copies


def record(deployment):
    """What the wanted instance's record says of its files: ``{path: mode}``."""
    entries = deployment.project["files"]
    return {entry["path"]: entry["mode"] for entry in entries if entry["where"] == "host"}


def differing(deployment, instance):
    """The files (dict as of :func:`wanted`) that are not as ``instance`` has them in its copies."""
    found = {}
    for path, mode in deployment.layout.instance_record(instance).get("files", {}).items():
        copy = _copies(deployment, instance) / django_layout.digest(path)
        entry = (copy.read_text(encoding="utf-8"), int(mode, 8), 0, deployment.gid)
        if django_layout.file_differences(path, *entry):
            found[path] = entry
    return found


def restore(deployment, instance):
    """Put back the files of ``instance`` that differ; returns their paths (sorted list)."""
    left = differing(deployment, instance)
    for path, entry in left.items():
        os.makedirs(pathlib.Path(path).parent, exist_ok=True)
        django_layout.write_atomic(path, *entry)
    return sorted(left)


def _copies(deployment, instance):
    return deployment.layout.instance(instance) / "files"
