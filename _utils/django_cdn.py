"""
What a CDN in front of the static files has to forget: paths whose files changed under the same
name. Files with a hash in their name never do.
"""

import hashlib
import os
import re
import urllib.parse

import django_static

# As the web server has it, which lets browsers keep such files for ever.
HASHED = re.compile(r"[.-][0-9a-f]{12,64}\.[^/]+$")
MOST_PATHS = 100  # more are told as one path with a star


def files(published, known):
    """
    The published files without a hash in their name: ``{name: [bytes, moment of change, digest]}``.

    known
        The same of an earlier time (dict): files of the same size and moment are not read again.
    """
    names = django_static.listing(published)
    found = {}
    for name in sorted(names):
        if HASHED.search(name) or (name.endswith(".gz") and name[:-3] in names):
            continue
        path = os.path.join(published, name)
        status = os.stat(path)
        entry = [status.st_size, status.st_mtime_ns]
        before = known.get(name, [])
        if before[:2] != entry:
            with open(path, "rb") as stream:
                entry.append(hashlib.sha256(stream.read()).hexdigest()[:32])
        else:
            entry.append(before[2])
        found[name] = entry
    return found


def outdated(before, now):
    """Names (sorted list) of files that are of another content now, or gone."""
    return sorted(name for name, entry in before.items() if now.get(name, [None])[-1] != entry[-1])


def paths(location, names):
    """
    Paths (list of str) to invalidate.

    location
        Path of the static files' URL.
    names
        Names of files below it; None stands for all.
    """
    if names is None or len(names) > MOST_PATHS:
        return [f"{location}*"]
    return [location + urllib.parse.quote(name, safe="/~") for name in names]
