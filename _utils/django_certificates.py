"""Certificates on a balancer: what is wrong with the files that the pillar names."""

import os
import stat


def problems(projects):
    """
    What keeps HAProxy from using the projects' certificates, or others from not seeing their keys
    (list of str, empty where all is well).

    projects
        Those of HAProxy's configuration.
    """
    return [text for project in projects if project["tls"] for text in _of(project)]


def _of(project):
    where = f"django:projects:{project['name']}:web:tls"
    for key in ("certificate", "key"):
        path = project["tls"][key]
        try:
            status = os.stat(path)
        except OSError as error:
            yield f"{where}:{key}: {path} on this host: {error.strerror}"
            continue
        if not stat.S_ISREG(status.st_mode):
            yield f"{where}:{key}: expected a file, {path} is none"
        elif key == "key" and status.st_mode & stat.S_IRWXO:
            mode = stat.S_IMODE(status.st_mode)
            text = f"everybody on this host can reach the private key {path} (mode {mode:04o})"
            yield f"{where}:key: {text}: chmod o= {path}"
