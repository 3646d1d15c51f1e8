"""
Where a project's releases, instances and records lie on a host, and how they are named.

A release is content: source revision, requirements, interpreter, files in its tree and build steps.
An instance is a release together with a configuration: environment, secrets and process settings.
Records are JSON files, written by an atomic rename, so that a run that is killed leaves either the
old or the new one.
"""

import errno
import grp
import hashlib
import hmac
import json
import os
import pathlib
import pwd
import secrets
import shutil
import stat

DIGEST_LENGTH = 12


def digest(value, key=b""):
    """Short hexadecimal digest of any JSON value; with ``key`` (bytes) it cannot be guessed at."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str).encode()
    return hmac.new(key, text, hashlib.sha256).hexdigest()[:DIGEST_LENGTH]


def write_atomic(path, content, mode=0o644, uid=0, gid=0):
    """Write ``content`` (bytes or str) to ``path`` so that no reader ever sees a part of it."""
    path = pathlib.Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    handle = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fchown(stream.fileno(), uid, gid)
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def claim_log(path, gid):
    """
    Make ``path`` a log of root that the group ``gid`` can read. In a folder with the sticky bit the
    project cannot put a link in its place then, so what root appends goes nowhere else.
    """
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or (status.st_uid, status.st_nlink) != (
            os.geteuid(),
            1,
        ):
            os.unlink(path)
    except FileNotFoundError:
        pass
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        os.fchown(handle, os.geteuid(), gid)
        os.fchmod(handle, 0o640)
    finally:
        os.close(handle)


def owner(user, group):
    """Numbers of a user and a group; None for one that does not exist yet."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        uid = None
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        gid = None
    return uid, gid


def file_differences(path, text, mode, uid, gid):
    """What of ``content``, ``mode`` and ``owner`` is not as wanted of a file (list of str)."""
    try:
        status = os.stat(path)
        content = pathlib.Path(path).read_bytes()
    except OSError:
        return ["content", "mode", "owner"]
    found = {
        "content": content == text.encode(),
        "mode": stat.S_IMODE(status.st_mode) == mode,
        "owner": (status.st_uid, status.st_gid) == (uid, gid),
    }
    return [aspect for aspect, same in found.items() if not same]


def folder_differences(path, gid):
    """What of ``mode`` and ``owner`` of a sealed folder's own is not as wanted (list of str)."""
    try:
        status = os.stat(path)
    except OSError:
        return []  # what is not there is missed elsewhere
    found = {
        "mode": stat.S_IMODE(status.st_mode) == 0o750,
        "owner": (status.st_uid, status.st_gid) == (0, gid),
    }
    return [aspect for aspect, same in found.items() if not same]


def close_folder(path, gid):
    """Give a folder itself to root and the project's group, which can read it and not change it."""
    os.chown(path, 0, gid)
    os.chmod(path, 0o750)


def read_json(path):
    """The record at ``path`` as a dict; empty when it is missing or was cut off."""
    try:
        value = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def write_json(path, value, mode=0o644):
    """Write a record."""
    write_atomic(path, json.dumps(value, indent=1, sort_keys=True) + "\n", mode)


def point(link, target):
    """Make the symbolic link ``link`` point to ``target`` in one atomic step."""
    link = pathlib.Path(link)
    temporary = link.with_name(f".{link.name}.{secrets.token_hex(4)}")
    temporary.symlink_to(target)
    try:
        os.replace(temporary, link)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def target_of(link):
    """What ``link`` points to (str), or None when it is no link."""
    try:
        return os.readlink(link)
    except OSError:
        return None


def give(path, uid, gid):
    """Give a tree to a user and a group; a link itself, never what it points to."""
    for _, _, names, folder in os.fwalk(path):
        os.fchown(folder, uid, gid)
        for name in names:
            os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


def hand_over(path, old, new):
    """
    Give all in a tree that a user had to another; a link itself, never what it points to.

    old, new
        Numbers (int, int) of user and group; a group that is not the old one's stays, and with None
        as the old one's all of them do.
    """
    for _, folders, names, folder in os.fwalk(path):
        for name in [".", *folders, *names]:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            uid = new[0] if status.st_uid == old[0] else -1
            gid = new[1] if status.st_gid == old[1] else -1
            if (uid, gid) != (-1, -1):
                os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)


def seal(path, gid):
    """
    Give a tree to root and the project's group: the project can read it and not change it, nobody
    else can read it. A link keeps its owner, which has no meaning.
    """
    for _, _, names, folder in os.fwalk(path):
        for name in [".", *names]:
            try:
                # Below an open folder and without following a link, so that the project, which may
                # exchange both meanwhile, cannot point root elsewhere.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
                handle = os.open(name, flags, dir_fd=folder)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENXIO):
                    continue
                raise
            try:
                mode = stat.S_IMODE(os.fstat(handle).st_mode)
                os.fchown(handle, 0, gid)
                os.fchmod(handle, (mode & 0o700) | ((mode & 0o500) >> 3) | 0o200)
            finally:
                os.close(handle)


def remove_tree(path):
    """Remove a folder and all in it, or a file; nothing to do when it is not there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        pathlib.Path(path).unlink(missing_ok=True)


def fingerprint(path):
    """
    Digest of a tree without reading its files: names, modes, sizes, moments of change and targets
    of links. Compiled Python is left out.
    """
    found = []
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in (*folders, *names):
            entry = os.path.join(place, name)
            status = os.lstat(entry)
            own = [os.path.relpath(entry, path), status.st_mode, status.st_uid]
            if stat.S_ISLNK(status.st_mode):
                own.append(os.readlink(entry))
            elif stat.S_ISREG(status.st_mode):
                own += [status.st_size, status.st_mtime_ns]
            found.append(own)
    return digest(sorted(found))


def size(path):
    """Bytes that a tree takes on the disk."""
    return sum(
        os.stat(name, dir_fd=folder, follow_symlinks=False).st_blocks * 512
        for _, _, names, folder in os.fwalk(path)
        for name in names
    )


class Layout:
    """The folders and records of one project, from the ``paths`` of its resolved configuration."""

    def __init__(self, paths):
        self.root = pathlib.Path(paths["root"])
        self.releases = pathlib.Path(paths["releases"])
        self.venvs = pathlib.Path(paths["venvs"])
        self.instances = pathlib.Path(paths["instances"])
        self.shared = pathlib.Path(paths["shared"])
        self.static = pathlib.Path(paths["static"])
        self.media = pathlib.Path(paths["media"])
        self.current = pathlib.Path(paths["current"])
        # Links to the socket of the instance that serves, by what Nginx speaks with it.
        self.sockets = {
            "http": pathlib.Path(paths["socket"]),
            "uwsgi": pathlib.Path(paths["uwsgi_socket"]),
            "mod_wsgi": pathlib.Path(paths["slot"]),
            "embedded": pathlib.Path(paths["embedded"]),
        }
        self.run = pathlib.Path(paths["run"])
        self.log = pathlib.Path(paths["log"])
        self.cache = pathlib.Path(paths["cache"])
        self.downloads = self.root / "downloads"  # root's own: git must not trust the project
        self.live = self.root / "live"
        self.history = self.root / "history.json"
        self.refused = self.root / "refused.json"
        self.restarts = self.root / "restarts.json"
        self.repairs = self.root / "repairs.json"
        self.names = self.root / "names.json"  # only root can read it
        self.cdn = self.root / "cdn.json"
        self.pages = self.root / "pages.json"
        self.owner = self.root / "owner.json"

    def release(self, release_id):
        """Folder of a release."""
        return self.releases / release_id

    def record(self, release_id):
        """The record of a release (dict): its stage, revision, venv and what was found in it."""
        return read_json(self.release(release_id) / "release.json")

    def is_whole(self, release_id):
        """Whether the source of a release is as it was built."""
        source = self.release(release_id) / "source"
        return self.record(release_id).get("tree") == fingerprint(source)

    def save_record(self, release_id, **values):
        """Add ``values`` to the record of a release."""
        write_json(self.release(release_id) / "release.json", {**self.record(release_id), **values})

    def instance(self, instance_id):
        """Folder of an instance."""
        return self.instances / instance_id

    def instance_record(self, instance_id):
        """The record of an instance (dict): what its check found."""
        return read_json(self.instance(instance_id) / "instance.json")

    def save_instance_record(self, instance_id, **values):
        """Add ``values`` to the record of an instance."""
        write_json(
            self.instance(instance_id) / "instance.json",
            {**self.instance_record(instance_id), **values},
        )

    def instance_socket(self, instance_id):
        """Unix socket that an instance's web process listens on."""
        return self.run / f"web-{instance_id}.sock"

    @staticmethod
    def release_of(instance_id):
        """Id of the release that an instance is of."""
        return instance_id.partition("-")[0]

    def served(self):
        """What has gone live on this host, the newest last (list of dict)."""
        return read_json(self.history).get("entries", [])

    def refusals(self):
        """Refusals (list of dict), see :mod:`django_hold`."""
        return read_json(self.refused).get("entries", [])

    def save_refusals(self, entries):
        """Keep these refusals; only root can read them."""
        write_json(self.refused, {"entries": entries}, 0o600)

    def naming_key(self, secret):
        """
        Key (bytes) of the digests that releases and instances are named by: what
        :meth:`save_naming_key` has kept, else made of ``secret`` (str); empty without either.
        """
        made = hmac.new(secret.encode(), b"names", hashlib.sha256).hexdigest() if secret else ""
        return read_json(self.names).get("key", made).encode()

    def save_naming_key(self, key):
        """Keep the key (bytes) of names: another SECRET_KEY is no reason to build all anew."""
        if key and read_json(self.names).get("key") != key.decode():
            write_json(self.names, {"key": key.decode()}, 0o600)

    def live_instance(self):
        """Id of the instance that serves now, or None."""
        target = target_of(self.live)
        return pathlib.PurePath(target).name if target else None

    def live_release(self):
        """Id of the release that serves now, or None."""
        target = target_of(self.current)
        return pathlib.PurePath(target).name if target else None

    def release_ids(self):
        """Ids of all releases on this host (list of str)."""
        return _folder_names(self.releases)

    def instance_ids(self):
        """Ids of all instances on this host (list of str)."""
        return _folder_names(self.instances)


def _folder_names(path):
    try:
        return sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    except FileNotFoundError:
        return []


def begins_with(name, wanted):
    """Whether a name begins with a text, or with digits that YAML reads as that number."""
    if isinstance(wanted, str):
        return name.startswith(wanted)
    starts = (name[:length] for length in range(1, DIGEST_LENGTH + 1))
    return any(_as_number(start) == wanted for start in starts)


def _as_number(digits):
    if not digits.isdecimal():
        return None
    if digits[0] == "0" and len(digits) > 1:  # octal, or no number at all
        return None if {*digits} & {"8", "9"} else int(digits, 8)
    return int(digits)
