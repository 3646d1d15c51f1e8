"""The password of HAProxy's page of statistics: generated and kept, and told to HAProxy."""

import base64

import django_config
import django_layout
import django_secrets
import django_server_haproxy

STORE = "haproxy.statistics"  # no project has a name with a dot
MODE = 0o600
LENGTH = 32


def guard(wanted, test=False):
    """
    Let HAProxy know the password. Returns what changed (dict).

    wanted
        ``user`` and ``password``, None for one that is generated.
    """
    folder, given = django_config.PATHS["secrets"], wanted["password"]
    specs = {"password": {"value": given} if given else {"generate": LENGTH, "format": "letters"}}
    missing = django_secrets.missing(specs, django_secrets.load(folder, STORE))
    changes = {"generated": missing} if missing else {}
    if missing and not test:
        django_secrets.keep(folder, STORE, specs)
    password = django_secrets.values(specs, django_secrets.load(folder, STORE))["password"]
    path, text = django_server_haproxy.STATISTICS, _file(wanted["user"], password)
    differing = django_layout.file_differences(path, text, MODE, 0, 0)
    if differing and not test:
        django_layout.write_atomic(path, text, MODE)
    return {**changes, path: differing} if differing else changes


def _file(user, password):
    """What HAProxy compares with (str): the header that a browser sends."""
    told = base64.b64encode(f"{user}:{password}".encode()).decode()
    return f"# Written by django-formula; the next run replaces changes.\nBasic {told}\n"
