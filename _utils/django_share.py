"""Shared drives: what /etc/fstab says of one, and what is mounted."""

import pathlib
import re

FSTAB = pathlib.Path("/etc/fstab")
MOUNTS = pathlib.Path("/proc/self/mountinfo")
MARK = "# django-formula: what follows is looked after by it"


def entry(share, target):
    """The line (str) of fstab for a share (``device``, ``type``, ``options``) at ``target``."""
    return f"{share['device']} {target} {share['type']} {share['options']} 0 0"


def with_entry(text, line):
    """
    The text of fstab with ``line`` in it, in the place of what it says of the same mount point.
    """
    target = line.split()[1]
    lines = text.splitlines()
    own = [number for number, other in enumerate(lines) if _target(other) == target]
    if own:
        lines[own[0]] = line
        lines = [each for number, each in enumerate(lines) if number not in own[1:]]
    else:
        lines += [line] if MARK in lines else [MARK, line]
    return "".join(f"{each}\n" for each in lines)


def mounted(text, target):
    """
    What is mounted at ``target``, the last of several: ``(device, type)``, or None.

    text
        That of /proc/self/mountinfo.
    """
    found = None
    for line in text.splitlines():
        fields, _, more = line.partition(" - ")
        if _plain(fields.split()[4]) == target:
            kind, device = more.split()[:2]
            found = (_plain(device), kind)
    return found


def is_same(found, share):
    """Whether what is mounted (as :func:`mounted` says) is this share, as its program names it."""
    device, kind = found
    wanted = share["device"].rstrip("/")
    names = {wanted, wanted.replace(":/", ":")}  # GlusterFS leaves the slash out
    types = {share["type"], f"fuse.{share['type']}"}
    if share["type"].startswith("nfs"):
        types |= {"nfs", "nfs4"}
    return device.rstrip("/") in names and kind in types


def _target(line):
    fields = line.split()
    return _plain(fields[1]) if len(fields) > 1 and not fields[0].startswith("#") else None


def _plain(word):
    """A word of fstab or mountinfo without its escapes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), word)
