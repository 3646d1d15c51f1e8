"""
Folders of uploads: how those of a backup take the place of those that are there.

They are brought back beside the old ones, on the same disk and for root alone, and change places by
a rename. Nothing but the standard library is needed.
"""

import ctypes
import errno
import os
import pathlib
import shutil
import stat

BESIDE = ".django-backup"  # in the folder above; root's, as that folder is
OLD = "old"
AT_CWD, EXCHANGE = -100, 2  # of renameat2(2)


class FolderError(Exception):
    """A folder cannot be brought back; the message says why."""


def beside(path):
    """A new, empty folder (Path) of root on the same disk as ``path``, to bring files back to."""
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise FolderError(f"{path.parent} is not there: apply this host's state first")
    clear(path)
    folder = _beside(path)
    folder.mkdir(mode=0o700)
    return folder


def clear(path):
    """Take away what a restore has left beside ``path``, also one that was broken off."""
    path = pathlib.Path(path)
    folder = _beside(path)
    if (folder / OLD).is_dir():  # it ended between two steps
        try:
            os.rename(folder / OLD, path)
        except OSError:  # what is there is not empty
            raise FolderError(
                f"{folder / OLD} is what {path} was before a restore that was broken off: move it"
                " to where it belongs, or remove it"
            ) from None
    shutil.rmtree(folder, ignore_errors=True)


def is_ours(path):
    """Whether the folder above ``path`` is root's, so that nobody else puts links in it."""
    found = os.lstat(pathlib.Path(path).parent)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _beside(path):
    return path.parent / f"{BESIDE}-{path.name}"


def check(fetched, path, live=()):
    """Raise FolderError unless these folders can change places, see :func:`exchange`."""
    path, fetched = pathlib.Path(path), pathlib.Path(fetched)
    if not fetched.is_dir() or fetched.is_symlink():
        raise FolderError(f"the backup has no folder {path.name}")
    if not path.is_dir() or path.is_symlink():
        raise FolderError(f"{path} is no folder: apply this host's state first")
    for name in _within(path, live):
        for folder in (path, fetched):
            if (folder / name).parent.resolve() != folder.resolve() / name.parent:
                raise FolderError(f"{(folder / name).parent} is reached by a link")


def _within(path, live):
    """Files in use (list of Path) that are in a folder, as they are called from there."""
    names = [pathlib.Path(each) for each in live]
    return [
        each.relative_to(path)
        for each in names
        if each.is_relative_to(path) and os.path.lexists(each)
    ]


def exchange(fetched, path, room, live=(), owners=None):
    """
    Put a folder that was brought back in the place of ``path``; its files get the owners that they
    have here.

    room
        What :func:`beside` returned. The old folder is where ``fetched`` was then.
    live
        Paths of files that are in use and stay the same files: databases are loaded instead.
    owners
        Numbers of the project's user and group where it was saved, and those here: a pair of pairs.
    """
    path, fetched = pathlib.Path(path), pathlib.Path(fetched)
    check(fetched, path, live)
    own(fetched, path, owners)
    for name in _within(path, live):
        (fetched / name).unlink(missing_ok=True)
        os.link(path / name, fetched / name, follow_symlinks=False)
    if not _swap(fetched, path):
        os.rename(path, room / OLD)
        try:
            os.rename(fetched, path)
        except OSError:
            os.rename(room / OLD, path)
            raise
        os.rename(room / OLD, fetched)


def _swap(one, other):
    """Let two folders change places in one step; whether this file system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(one), AT_CWD, os.fsencode(other))
    if libc.renameat2(AT_CWD, *names, EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise FolderError(f"{other}: {os.strerror(number)}")


def own(fetched, path, owners=None):
    """
    Let a tree that was brought back belong to whom ``path`` belongs to: on another server the
    project's user may have another number, and its group.
    """
    saved, here = os.lstat(fetched), os.lstat(path)
    users, groups = {saved.st_uid: here.st_uid}, {saved.st_gid: here.st_gid}
    if owners:
        (uid, gid), (own_uid, own_gid) = owners
        users, groups = {uid: own_uid, **users}, {gid: own_gid, **groups}
    os.chmod(fetched, stat.S_IMODE(here.st_mode))
    if all(old == new for old, new in (*users.items(), *groups.items())):
        return
    for folder, names, files in os.walk(fetched):
        for each in [folder, *(os.path.join(folder, name) for name in (*names, *files))]:
            found = os.lstat(each)
            uid = users.get(found.st_uid, found.st_uid)
            gid = groups.get(found.st_gid, found.st_gid)
            if (uid, gid) != (found.st_uid, found.st_gid):
                os.lchown(each, uid, gid)
                if not stat.S_ISLNK(found.st_mode):
                    os.chmod(each, stat.S_IMODE(found.st_mode))
