"""
Entry point of every project that Apache runs by mod_wsgi. Apache passes no environment on, so this
loads that of the instance from its file, before Django's settings are looked for, and then the
project's own application. A slot that is to run nothing answers that nothing is here.

Written by django-formula; the next run replaces changes.
"""

import atexit
import contextlib
import importlib
import json
import os
import shlex
import sys
import time

import mod_wsgi

ROOT = "/srv/django"


def nothing(environ, start_response):
    """The application of a slot that is to run nothing."""
    headers = [("Content-Type", "text/plain"), ("Content-Length", "0"), ("Retry-After", "1")]
    start_response("503 Service Unavailable", headers)
    return [b""]


def prepare(entry):
    """Give this process the environment, the directory and the search path of the instance."""
    with open(entry["environment"], encoding="utf-8") as stream:
        words = shlex.split(stream.read())
    os.environ.clear()
    os.environ.update(word.split("=", 1) for word in words)
    time.tzset()
    os.chdir(entry["directory"])
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(":") if path]
    sys.path[:0] = [entry["directory"], *paths]
    if os.path.realpath(sys.prefix) != entry["venv"]:
        raise RuntimeError(f"this process runs in {sys.prefix}, which is not {entry['venv']}")


def load(entry):
    """The project's application, once it is certain that its settings are those of the pillar."""
    name, _, attribute = entry["module"].partition(":")
    found = getattr(importlib.import_module(name), attribute.removesuffix("()"))
    found = found() if attribute.endswith("()") else found
    from django.conf import settings

    if entry["settings"] not in ("", settings.SETTINGS_MODULE):
        raise RuntimeError(
            f"{name} uses the settings {settings.SETTINGS_MODULE}, and not those that are meant, "
            f"{entry['settings']}: it must leave DJANGO_SETTINGS_MODULE as it finds it"
        )
    return found


def start(group):
    """The application of a group of processes, PROJECT.SLOT; of Apache's own, without a name."""
    project, _, slot = group.rpartition(".")
    # Python's home is a link in the folder of the instance there.
    folder = f"{ROOT}/{project}/slots/{slot}" if group else os.path.dirname(sys.prefix)
    try:
        with open(f"{folder}/entry.json", encoding="utf-8") as stream:
            entry = json.load(stream)
    except FileNotFoundError:
        return nothing
    mark = f"{entry['run']}/web-{entry['instance']}"
    try:
        prepare(entry)
        found = load(entry)
    except BaseException:
        tell(f"{mark}.failed")
        raise
    loaded = f"{mark}.{os.getpid()}"
    tell(loaded)
    atexit.register(forget, loaded)
    return found


def tell(path):
    """Leave a file that says how it went."""
    with open(path, "w", encoding="utf-8"):
        pass


def forget(path):
    """Take such a file away."""
    with contextlib.suppress(OSError):
        os.unlink(path)


application = start(mod_wsgi.process_group)
