"""Certificates on a balancer: what is wrong with the files that the pillar names."""

import os
import ssl
import stat

OF_ANOTHER = "KEY_VALUES_MISMATCH"


def problems(projects):
    """
    What keeps HAProxy from using the projects' certificates, or others from not seeing their keys
    (list of str, empty where all is well).

    projects
        Those of HAProxy's configuration.
    """
    found = []
    for project in projects:
        if project["tls"]:
            where = f"django:projects:{project['name']}:web:tls"
            files = {key: project["tls"][key] for key in ("certificate", "key")}
            wrong = [
                f"{where}:{key}: {problem}"
                for key, path in files.items()
                for problem in _of_a_file(path, key == "key")
            ]
            found += wrong or [f"{where}: {problem}" for problem in _of_both(**files)]
    return found


def _of_a_file(path, is_key):
    try:
        status = os.stat(path)
    except OSError as error:
        return [f"{path} on this host: {error.strerror}"]
    if not stat.S_ISREG(status.st_mode):
        return [f"expected a file, {path} is none"]
    if is_key and status.st_mode & stat.S_IRWXO:
        mode = stat.S_IMODE(status.st_mode)
        return [f"everybody on this host can reach {path} (mode {mode:04o}): chmod o= {path}"]
    return []


def _of_both(certificate, key):
    try:
        # A key with a passphrase is not asked for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=b"")
    except ssl.SSLError as error:
        if error.reason == OF_ANOTHER:
            return [f"{key} is the key of another certificate than {certificate}"]
        words = (error.reason or "it is none, or has a passphrase").lower().replace("_", " ")
        return [f"{certificate} and {key} are no certificate with its key: {words}"]
    except (OSError, ValueError) as error:
        return [f"{certificate} and {key} cannot be read: {error}"]
    return []
