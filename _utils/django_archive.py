"""
Unpack a zip or tar archive so that nothing of it is outside of its folder, and nothing in the
folder leads outside: no absolute member, no ``..``, no link that leaves, no device.
"""

import os
import posixpath
import shutil
import stat
import zipfile

from django_run import CommandError, run

TIMEOUT = 600


class ArchiveError(Exception):
    """The archive is broken, or has a member that no source needs; the message says which."""


def unpack(package, destination):
    """Lay the members of the archive ``package`` (path) down in the new folder ``destination``."""
    os.mkdir(destination, 0o750)
    try:
        if zipfile.is_zipfile(package):
            _unpack_zip(package, destination)
        else:
            _unpack_tar(package, destination)
    except (CommandError, zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise ArchiveError(str(error)) from None


def _unpack_zip(package, destination):
    with zipfile.ZipFile(package) as archive:
        members = archive.infolist()
        for member in members:
            _require_inside(member.filename)
        # Links last: nothing is written through them.
        for member in sorted(members, key=_is_link):
            if _is_link(member):
                target = archive.read(member).decode(errors="surrogateescape")
                _require_link_inside(member.filename, target)
                path = os.path.join(destination, member.filename)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink(target, path)
                continue
            path = archive.extract(member, destination)
            if member.external_attr >> 16 & 0o100:  # the mode that a Unix zip kept
                os.chmod(path, 0o755)


def _is_link(member):
    return stat.S_ISLNK(member.external_attr >> 16)


def _unpack_tar(package, destination):
    listing = ["tar", "--list", "--absolute-names", "--quoting-style=literal", f"--file={package}"]
    for name in run(listing, timeout=TIMEOUT).stdout.splitlines():
        _require_inside(name)
    # tar makes the links that leave the folder last, and they are refused here.
    extract = ["tar", "--extract", "--no-same-owner", "--no-same-permissions"]
    run([*extract, f"--directory={destination}", f"--file={package}"], timeout=TIMEOUT)
    for folder, folders, names in os.walk(destination):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            member = os.path.relpath(path, destination)
            if os.path.islink(path):
                _require_link_inside(member, os.readlink(path))
            elif not (os.path.isfile(path) or os.path.isdir(path)):
                raise ArchiveError(f"its member {member!r} is a pipe, socket or device")


def _require_inside(name):
    if name.startswith("/") or ".." in name.split("/"):
        raise ArchiveError(f"its member {name!r} leads out of it")


def _require_link_inside(name, target):
    place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if place.startswith("/") or place.split("/")[0] == "..":
        raise ArchiveError(f"its link {name!r} to {target!r} leads out of it")


def without_only_folder(unpacked, destination):
    """Rename the folder ``unpacked``, or the only folder in it, to ``destination``."""
    entries = [os.path.join(unpacked, name) for name in os.listdir(unpacked)]
    only = entries[0] if len(entries) == 1 else None
    if only and os.path.isdir(only) and not os.path.islink(only):
        os.rename(only, destination)
        shutil.rmtree(unpacked)
    else:
        os.rename(unpacked, destination)
