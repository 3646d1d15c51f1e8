#!/usr/bin/python3
"""
mount.nfs4 of test hosts, whose kernel cannot mount NFS: a FUSE program that speaks NFS 4 by libnfs.
It takes the place of nfs-common's, so mount(8) and systemd run it for lines of fstab. The server
knows whoever asks by the numbers of his user and group (AUTH_SYS). It does soft mounts only, and
gives up on a server that does not answer sooner than the kernel.
"""

import contextlib
import ctypes
import errno
import itertools
import os
import stat
import sys
import threading
import time

import fuse

fuse.fuse_python_api = (0, 2)
LIBRARY = ctypes.CDLL("libnfs.so.13")
WORD, NUMBER, TEXT, POINTER = ctypes.c_int, ctypes.c_uint64, ctypes.c_char_p, ctypes.c_void_p
CALLS = {
    "mount": (TEXT, TEXT),
    "lstat64": (TEXT, POINTER),
    "statvfs64": (TEXT, POINTER),
    "readlink": (TEXT, POINTER, WORD),
    "opendir": (TEXT, POINTER),
    "open2": (TEXT, WORD, WORD, POINTER),
    "pread": (POINTER, NUMBER, NUMBER, POINTER),
    "pwrite": (POINTER, NUMBER, NUMBER, POINTER),
    "fsync": (POINTER,),
    "close": (POINTER,),
    "truncate": (TEXT, NUMBER),
    "mkdir2": (TEXT, WORD),
    "rmdir": (TEXT,),
    "unlink": (TEXT,),
    "rename": (TEXT, TEXT),
    "link": (TEXT, TEXT),
    "symlink": (TEXT, TEXT),
    "chmod": (TEXT, WORD),
    "lchown": (TEXT, WORD, WORD),
    "utimes": (TEXT, POINTER),
}
for _name, _types in CALLS.items():
    getattr(LIBRARY, f"nfs_{_name}").argtypes = (POINTER, *_types)
for _name, _types, _result in (
    ("nfs_init_context", (), POINTER),
    ("nfs_destroy_context", (POINTER,), None),
    ("nfs_get_error", (POINTER,), TEXT),
    ("nfs_set_version", (POINTER, WORD), WORD),
    ("nfs_set_uid", (POINTER, WORD), None),
    ("nfs_set_gid", (POINTER, WORD), None),
    ("nfs_set_timeout", (POINTER, WORD), None),
    ("nfs_set_tcp_syncnt", (POINTER, WORD), None),
    ("nfs_set_autoreconnect", (POINTER, WORD), None),
    ("nfs_umask", (POINTER, ctypes.c_uint16), ctypes.c_uint16),
    ("nfs4_set_client_name", (POINTER, TEXT), None),
    ("nfs4_set_verifier", (POINTER, TEXT), None),
    ("nfs_readdir", (POINTER, POINTER), POINTER),
    ("nfs_closedir", (POINTER, POINTER), None),
):
    getattr(LIBRARY, _name).argtypes, getattr(LIBRARY, _name).restype = _types, _result

ANSWERS = {  # the server's own, after which a connection is as good as before
    *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
    *(errno.ENOTEMPTY, errno.ENOSPC, errno.EROFS, errno.ENAMETOOLONG, errno.EXDEV, errno.EDQUOT),
}
PATIENCE = 2  # seconds
IDLE = 20  # seconds, since the server forgets clients that are silent for longer
PIECE = 2048  # bytes: libnfs 4.0 has room for little more in a request that writes
RETRY = "2"  # minutes that a mount is tried for
NUMBERS = itertools.count()


class Status(ctypes.Structure):
    """nfs_stat_64."""

    _fields_ = [
        (name, NUMBER)
        for name in (
            *("dev", "ino", "mode", "nlink", "uid", "gid", "rdev", "size", "blksize", "blocks"),
            *("atime", "mtime", "ctime", "atime_nsec", "mtime_nsec", "ctime_nsec", "used"),
        )
    ]


class Space(ctypes.Structure):
    """nfs_statvfs_64."""

    _fields_ = [
        (f"f_{name}", NUMBER)
        for name in (
            *("bsize", "frsize", "blocks", "bfree", "bavail"),
            *("files", "ffree", "favail", "fsid", "flag", "namemax"),
        )
    ]


class Entry(ctypes.Structure):
    """The beginning of nfsdirent."""

    _fields_ = [("next", POINTER), ("name", TEXT)]


class Session:
    """A connection to the server's export as one user; OSError when there is none to be had."""

    def __init__(self, share, uid, gid):
        self._nfs, self.last = LIBRARY.nfs_init_context(), time.monotonic()
        LIBRARY.nfs_set_version(self._nfs, 4)
        LIBRARY.nfs_set_uid(self._nfs, uid)
        LIBRARY.nfs_set_gid(self._nfs, gid)
        LIBRARY.nfs_set_timeout(self._nfs, PATIENCE * 1000)
        LIBRARY.nfs_set_tcp_syncnt(self._nfs, 1)
        LIBRARY.nfs_set_autoreconnect(self._nfs, 0)
        LIBRARY.nfs_umask(self._nfs, 0)
        name = f"{os.uname().nodename} {os.getpid()} {next(NUMBERS)} {uid}:{gid}"
        LIBRARY.nfs4_set_client_name(self._nfs, name.encode())
        LIBRARY.nfs4_set_verifier(self._nfs, os.urandom(8).hex().encode())
        try:
            self.call("mount", share.server, share.export)
        except OSError:
            self.close()
            raise

    def call(self, name, *words):
        """What a function of libnfs returns (int)."""
        result = getattr(LIBRARY, f"nfs_{name}")(self._nfs, *words)
        if result < 0:
            raise OSError(-result, (LIBRARY.nfs_get_error(self._nfs) or b"").decode())
        self.last = time.monotonic()
        return result

    def names(self, path):
        """Names (list of str) in a folder."""
        folder, found = POINTER(), []
        self.call("opendir", path, ctypes.byref(folder))
        while entry := LIBRARY.nfs_readdir(self._nfs, folder):
            found.append(os.fsdecode(Entry.from_address(entry).name))
        LIBRARY.nfs_closedir(self._nfs, folder)
        return found

    def close(self):
        LIBRARY.nfs_destroy_context(self._nfs)


class Share:
    """What is mounted: ``server`` and ``export``, with sessions to lend."""

    def __init__(self, device, options):
        server, _, path = device.rpartition(":/")
        self.server, self.export = server.strip("[]").encode(), f"/{path}".encode()
        if not {"soft", "softerr"} & set(options):
            raise ValueError("test hosts know soft mounts only")
        self._idle, self._lock = {}, threading.Lock()
        self.away_until = 0

    def take(self, user):
        """A :class:`Session` for a user (uid, gid)."""
        with self._lock:
            idle = self._idle.setdefault(user, [])
            while idle:
                session = idle.pop()
                if time.monotonic() - session.last < IDLE:
                    return session
                session.close()
        return Session(self, *user)

    def settle(self, user, session, error=None):
        """Take a session back; one whose connection failed is never used again."""
        if error is None or is_answer(error):
            with self._lock:
                self._idle[user].append(session)
        else:
            session.close()

    @contextlib.contextmanager
    def session(self, user):
        """One for the time being."""
        session, failure = self.take(user), None
        try:
            yield session
        except OSError as error:
            failure = error
            raise
        finally:
            self.settle(user, session, failure)


def is_answer(error):
    return error.errno in ANSWERS


def times(*moments):
    """Moments (s) as an array of timeval."""
    return (ctypes.c_long * 4)(*(n for at in moments for n in (int(at), int(at % 1 * 1e6))))


def in_time(work):
    """
    What ``work`` (function) returns; ETIMEDOUT when the server does not answer in time, and for a
    while after that.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() >= drive.share.away_until:
        try:
            return work()
        except OSError as error:
            if is_answer(error):
                raise
            if time.monotonic() >= deadline:
                drive.share.away_until = time.monotonic() + PATIENCE
        time.sleep(0.2)
    raise OSError(errno.ETIMEDOUT, "the server does not answer")


class File:
    """An open file, with a session of its own."""

    def __init__(self, path, flags, mode=0):
        self._user, self._handle, self._alone = drive.user(), POINTER(), threading.Lock()
        mode = stat.S_IMODE(mode)
        words = os.fsencode(path), flags, mode, ctypes.byref(self._handle)

        def opened():
            session = drive.share.take(self._user)
            try:
                session.call("open2", *words)
            except OSError as error:
                drive.share.settle(self._user, session, error)
                raise
            return session

        self._session = in_time(opened)
        if flags & os.O_CREAT:  # libnfs leaves the mode out, or the times
            now = time.time()
            drive.call("chmod", path, mode)
            drive.call("utimes", path, times(now, now))

    def _call(self, *words):
        try:
            with self._alone:  # the kernel reads ahead, with several requests at once
                return self._session.call(*words)
        except OSError as error:
            raise error if is_answer(error) else OSError(errno.ETIMEDOUT, str(error)) from None

    def read(self, length, offset):
        buffer = ctypes.create_string_buffer(length)
        count = self._call("pread", self._handle, offset, length, buffer)
        return buffer.raw[:count]

    def write(self, data, offset):
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            self._call("pwrite", self._handle, offset + start, len(piece), piece)
        return len(data)

    def fsync(self, _):
        self._call("fsync", self._handle)

    def release(self, _):
        failure = None
        try:
            self._session.call("close", self._handle)
        except OSError as error:
            failure = error
        drive.share.settle(self._user, self._session, failure)


class Drive(fuse.Fuse):
    """The share as FUSE has it."""

    def __init__(self, share, **words):
        super().__init__(**words)
        self.share, self.file_class = share, File

    def user(self):
        context = self.GetContext()
        return context["uid"], context["gid"]

    def call(self, name, *words):
        user = self.user()
        words = [os.fsencode(word) if isinstance(word, str) else word for word in words]

        def called():
            with self.share.session(user) as session:
                return session.names(*words) if name == "names" else session.call(name, *words)

        return in_time(called)

    def getattr(self, path):
        found = Status()
        self.call("lstat64", path, ctypes.byref(found))
        names = [name for name, _ in Status._fields_[:13]]
        return fuse.Stat(**{f"st_{name}": getattr(found, name) for name in names})

    def statfs(self):
        found = Space()
        self.call("statvfs64", "/", ctypes.byref(found))
        return fuse.StatVfs(**{name: getattr(found, name) for name, _ in Space._fields_})

    def readdir(self, path, _):
        return [fuse.Direntry(name) for name in self.call("names", path)]

    def readlink(self, path):
        buffer = ctypes.create_string_buffer(4096)
        self.call("readlink", path, buffer, len(buffer))
        return os.fsdecode(buffer.value)

    def mknod(self, path, mode, _):
        if not stat.S_ISREG(mode):
            raise OSError(errno.EPERM, path)
        File(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, stat.S_IMODE(mode)).release(0)

    def mkdir(self, path, mode):
        self.call("mkdir2", path, mode)

    def rmdir(self, path):
        self.call("rmdir", path)

    def unlink(self, path):
        self.call("unlink", path)

    def rename(self, path, other):
        self.call("rename", path, other)

    def link(self, path, other):
        self.call("link", path, other)

    def symlink(self, target, path):
        self.call("symlink", target, path)

    def chmod(self, path, mode):
        self.call("chmod", path, stat.S_IMODE(mode))

    def chown(self, path, uid, gid):
        self.call("lchown", path, uid, gid)

    def truncate(self, path, length):
        self.call("truncate", path, length)

    def utimens(self, path, read, written):
        moments = (each.tv_sec + each.tv_nsec / 1e9 for each in (read, written))
        self.call("utimes", path, times(*moments))


def wait_for(share, minutes):
    """Try the export as root until the server answers, for so long; what it refuses is raised."""
    deadline = time.monotonic() + minutes * 60
    while True:
        try:
            with share.session((0, 0)) as session:
                return session.call("lstat64", b"/", ctypes.byref(Status()))
        except OSError as error:
            if is_answer(error) or time.monotonic() >= deadline:
                raise
        time.sleep(1)


device, target, *words = sys.argv[1:]
given = words[words.index("-o") + 1] if "-o" in words else ""
options = dict(word.partition("=")[::2] for word in given.split(","))
try:
    drive = Drive(Share(device, options))
    wait_for(drive.share, int(options.get("retry", RETRY)))
except (OSError, ValueError) as problem:
    sys.exit(f"mount.nfs4: {device}: {problem}")
kept = [name for name in ("ro", "nosuid", "nodev", "noexec") if name in options]
drive.parse([target, "-o", ",".join(["allow_other", f"fsname={device}", "subtype=nfs4", *kept])])
drive.main()
