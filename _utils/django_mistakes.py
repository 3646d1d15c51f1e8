"""
Mistakes beside others: what is wrong between the sections of a project (its keys: source, env, …)
that has mistakes in some of them.

The sections with mistakes are left out, the rest is checked as a project of its own and beside the
others, and what is said of it counts unless it may only be said because something was left out.
"""

from collections.abc import Mapping

import django_schema

# Sections whose checks look at another one: what is said of them is left out with that one.
LOOKS_AT = {
    "app": {"settings", "web"},
    "broker": {"cache", "processes"},
    "cache": {"broker", "processes", "web"},
    "database": {"databases"},
    "databases": {"database", "migrate"},
    "env": {"secrets", "processes"},
    "media": {"static", "uid", "web"},
    "migrate": {"database", "databases"},
    "processes": {"broker", "cache", "env", "secrets"},
    "secrets": {"env"},
    "settings": {"manage", "source"},
    "manage": {"settings", "source"},
    "static": {"media"},
    "uid": {"app", "media"},
    "user": {"uid"},
    "web": {"app", "domains", "media", "static"},
}
# Sections that give references their meaning.
NAMED = {"broker", "cache", "database", "databases", "media", "processes", "secrets", "superuser"}
NAMED |= {"writable"}
REFERENCE = "unknown reference"
# What stands for a section that was left out where a project without it is wrong.
STAND_INS = {"source": {"path": "/srv"}, "domains": ["left-out.invalid"]}


def sections(name, errors):
    """Sections (set of str) of a project that messages are about; empty where one is about all."""
    found = set()
    for error in errors:
        path = error.split(": ", 1)[0].split(":")
        if path[:3] == ["django", "projects", name]:
            if len(path) == 3:
                return set()
            found.add(path[3])
    return found


def without(project, wrong, keys):
    """
    A project (dict) without its wrong sections, or None where nothing sound can be said of what is
    left. Adds the sections to ``wrong`` that misspelt ones stand for.

    keys
        The schema of the sections (dict).
    """
    if not isinstance(project, Mapping) or not wrong.intersection(project):
        return None
    for section in sorted(wrong - set(keys)):
        meant = django_schema.nearest(section, keys)
        if not meant:
            return None
        wrong.add(meant)
    rest = {key: value for key, value in project.items() if key not in wrong}
    rest.update({key: value for key, value in STAND_INS.items() if key in wrong})
    return rest if rest != project else None


def keys(errors, schema):
    """
    Keys (set of str) below ``django`` but ``projects`` that messages are about, or that misspelt
    ones stand for.

    schema
        The schema of the keys (dict).
    """
    paths = [error.split(": ", 1)[0].split(":") for error in errors]
    found = {path[1] for path in paths if len(path) > 1} - {"projects"}
    return {django_schema.nearest(key, schema) for key in found} - {None}


def worth_telling(name, wrong, errors):
    """Those of ``errors``, found in a project without its ``wrong`` sections, that are true."""
    told = []
    for error in errors:
        found = sections(name, [error])
        apart = found and not any(({each} | LOOKS_AT.get(each, set())) & wrong for each in found)
        if apart and not (REFERENCE in error and wrong & NAMED):
            told.append(error)
    return told
