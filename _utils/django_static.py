"""
Publish static files so that old and new pages both find theirs.

A release collects into a folder of its own; publishing adds its files to the folder that the web
server reads. Files of releases that are kept stay. Each file is put in place by a rename, never
written over, so that no visitor reads half a file. What is collected is the project's, and root
publishes it: only files, never what a link leads to.
"""

import filecmp
import gzip
import os
import pathlib
import secrets
import stat
import time

COMPRESSIBLE = (
    ".css", ".csv", ".eot", ".html", ".ico", ".js", ".json", ".map", ".mjs", ".otf", ".svg", ".ttf",
    ".txt", ".wasm", ".webmanifest", ".xml",
)  # fmt: skip
MINIMUM_BYTES = 860  # below, the header of a compressed answer outweighs what is saved
# Manifests that a release's own processes read; nobody asks for them through the web server.
PRIVATE = ("staticfiles.json",)
# A file that is put in place after all others where somebody asks whether they are there.
PROBE = "-/health"


def listing(folder):
    """
    Relative paths of the files below ``folder`` (set of str), manifests, links and the probe left
    out.
    """
    found = set()
    for place, _, names in os.walk(folder):
        relative = os.path.relpath(place, folder)
        prefix = "" if relative == "." else relative + "/"
        found.update(
            prefix + name
            for name in names
            if name not in PRIVATE
            and prefix + name != PROBE
            and stat.S_ISREG(os.lstat(os.path.join(place, name)).st_mode)
        )
    return found


def unpublished(collected, published, probe=False):
    """
    Relative paths (sorted list) of collected files that are missing from ``published`` or differ
    there. Publishing keeps the time of change, so contents are compared only where that differs.

    probe : False
        Whether :data:`PROBE` has to be there, too; it is the last of what is missing.
    """
    names = [
        name
        for name in sorted(listing(collected))
        if not _is_same(os.path.join(collected, name), os.path.join(published, name))
    ]
    if probe and not os.path.isfile(os.path.join(published, PROBE)):
        names.append(PROBE)
    return names


def _is_same(source, target):
    try:
        there = os.stat(target)
    except OSError:
        return False
    here = os.stat(source)
    if here.st_size != there.st_size:
        return False
    return here.st_mtime_ns == there.st_mtime_ns or filecmp.cmp(source, target, shallow=False)


def publish(collected, published, names, compress=True):
    """Put ``names`` in place below ``published``, world-readable, with a ``.gz`` where it helps."""
    for name in names:
        target = pathlib.Path(published, name)
        _make_folder(target.parent, pathlib.Path(published))
        content, stamp = (b"", time.time_ns()) if name == PROBE else _read(collected, name)
        # The variant first: a run killed in between is continued, as the file still differs.
        packed = target.with_name(target.name + ".gz")
        if compress and target.suffix in COMPRESSIBLE and len(content) >= MINIMUM_BYTES:
            _place(packed, gzip.compress(content, 6, mtime=0), stamp)
        elif f"{name}.gz" not in names:
            packed.unlink(missing_ok=True)
        _place(target, content, stamp)


def stale(published, keep):
    """
    Relative paths (sorted list) of published files that no kept release has collected.

    keep
        Folders (list) of what the kept releases collected.
    """
    wanted = set().union(*(listing(folder) for folder in keep))
    return sorted(
        name
        for name in listing(published)
        if name not in wanted and name.removesuffix(".gz") not in wanted
    )


def remove(published, names):
    """Remove published files, and the folders that are empty then."""
    for name in names:
        os.unlink(os.path.join(published, name))
    for place, _, _ in os.walk(published, topdown=False):
        if place != str(published) and not os.listdir(place):
            os.rmdir(place)


def _make_folder(folder, top):
    if folder == top or folder.is_dir():
        return
    _make_folder(folder.parent, top)
    folder.mkdir(mode=0o755, exist_ok=True)
    os.chmod(folder, 0o755)


def _read(folder, name):
    """Content (bytes) and time of change (ns) of a file below ``folder``, no link on the way."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for part in name.split("/"):
        above = handle
        try:
            handle = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=above)
        finally:
            os.close(above)
    with os.fdopen(handle, "rb") as stream:
        return stream.read(), os.fstat(handle).st_mtime_ns


def _place(target, content, stamp):
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with open(temporary, "xb") as stream:
            stream.write(content)
            os.fchmod(stream.fileno(), 0o644)
        os.utime(temporary, ns=(stamp, stamp))
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
