"""The step that mounts the shared drive of uploads and lets nobody write where it is not."""

import grp
import os
import pathlib
import pwd

import django_layout
import django_service
import django_share
from django_deployment import Outcome, StepError
from django_run import CommandError, run

TIMEOUT = 120
PATIENCE = 20  # seconds for an answer of the drive
MODE = 0o2750
GROUP = "www-data"
DEAD = "Transport endpoint is not connected"  # of a drive whose program has ended
PROBE = ".django-formula-check"
# A drive may go away at any moment, and what is made where it was would be on the host. Who stands
# on it stays there: its root is another device than the folder above, as long as it is mounted.
MAKE = """
cd "$1"
[ "$(stat -c %d .)" != "$(stat -c %d ..)" ]
mkdir -p "$2" && chown "$3" "$2" && chmod "$4" "$2"
"""


def mount(deployment):
    """
    The project's share is mounted, now and after a boot, and its folders are the project's. Below
    the mount point, which is root's, the project can write nothing while the share is away.
    """
    share = deployment.project["media"]["mount"]
    if not share:
        return Outcome({}, "Uploads are on no shared drive.")
    target = pathlib.Path(deployment.project["paths"]["share"])
    changes = _differences(deployment, share, target)
    if not changes:
        return Outcome({}, f"{share['device']} is mounted.")
    if deployment.test:
        return Outcome(changes, f"{share['device']} would be mounted, with the project's folders.")
    if "mounted" in changes:
        _mount(share, target)
    elif "fstab" in changes:
        _write_fstab(share, target)
    for folder in _folders(deployment):
        _own(deployment, share, target, folder)
    left = _differences(deployment, share, target)
    if "mounted" in left:
        raise _refusal(share, target, "it went away again")
    if left:
        raise StepError(f"After the change the share {share['device']} still lacks: {left}")
    return Outcome(changes, f"{share['device']} is mounted.")


def _differences(deployment, share, target):
    """What is not as wanted (dict)."""
    changes = {}
    text = django_share.FSTAB.read_text(encoding="utf-8") if django_share.FSTAB.exists() else ""
    line = django_share.entry(share, target)
    if line not in text.splitlines():
        changes["fstab"] = line
    found = _mounted(target)
    if _is_away(target):
        changes["mounted"] = share["device"]
    elif not django_share.is_same(found, share):
        raise StepError(
            f"{found[0]} ({found[1]}) is mounted at {target}, and not {share['device']}"
            f" ({share['type']}): unmount it when nothing uses it, and run again"
        )
    is_away = "mounted" in changes
    folders = [str(path) for path in _folders(deployment) if is_away or _problem(deployment, path)]
    if folders:
        changes["folders"] = folders
    return changes


def _mounted(target):
    """What the kernel has mounted at ``target``, as :func:`django_share.mounted` tells it."""
    return django_share.mounted(django_share.MOUNTS.read_text(encoding="utf-8"), str(target))


def _is_away(target):
    return _mounted(target) is None or DEAD in _asked(target).stderr


def _folders(deployment):
    """The folders (list of Path) of the project on its share."""
    paths, media = deployment.project["paths"], deployment.project["media"]
    return [
        pathlib.Path(paths[key]) for key in ("media", "private") if key == "media" or media[key]
    ]


def _problem(deployment, folder):
    """What is wrong with a folder (str), or None."""
    asked = _asked(folder)
    if asked.returncode:
        said = asked.stderr.strip()
        if "No such file" in said:
            return "it is not there"
        raise StepError(f"{said}: is the share's server well?")
    try:
        wanted = f"{deployment.uid}:{grp.getgrnam(GROUP).gr_gid} {MODE:o}"
    except StepError:
        if deployment.test:
            return "its user is not there yet"
        raise
    return None if asked.stdout.strip() == wanted else f"it is {asked.stdout.strip()}"


def _asked(path):
    """
    What stat says of a path (CompletedProcess). A program asks, since whoever asks a drive whose
    server is away may wait for ever.
    """
    try:
        return run(["stat", "--format=%u:%g %a", str(path)], check=False, timeout=PATIENCE)
    except CommandError:
        raise StepError(f"{path} does not answer: is the share's server well?") from None


def _mount(share, target):
    if DEAD in _asked(target).stderr:
        _unmount(target)
    target.mkdir(mode=0o755, exist_ok=True)
    os.chown(target, 0, 0)
    os.chmod(target, 0o755)
    if any(target.iterdir()):
        raise StepError(
            f"{target} has files of this host in it, which the share would hide: move them away"
        )
    _write_fstab(share, target)
    try:
        run(_mount_argv(target), timeout=TIMEOUT)
        problem = _asked(target).stderr.strip()
    except CommandError as error:
        problem = str(error)
    if not problem and _is_away(target):
        problem = "it went away again"
    if problem:
        raise _refusal(share, target, problem)


def _refusal(share, target, problem):
    """What to raise (StepError) when the share is not there; what is left of it is taken away."""
    text = f"The share {share['device']} cannot be mounted, so nothing is released: {problem}"
    text = f"{text}\n{_last_words(target)}".rstrip()
    _unmount(target)
    return StepError(text)


def _mount_argv(target):
    """
    The command (list of str) that mounts what fstab has at ``target``. Where systemd runs the host
    it does so, since a drive may have a program of its own, which must not end with Salt's.
    """
    if not django_service.booted():
        return ["mount", str(target)]
    return ["systemctl", "start", _unit(target)]


def _unmount(target):
    """Take away what is left of a mount whose program has ended."""
    run(["umount", "--lazy", str(target)], check=False, timeout=TIMEOUT)
    if django_service.booted():
        run(["systemctl", "stop", _unit(target)], check=False, timeout=TIMEOUT)


def _unit(target):
    argv = ["systemd-escape", "--path", "--suffix=mount", str(target)]
    return run(argv).stdout.strip()


def _last_words(target):
    if not django_service.booted():
        return ""
    argv = ["journalctl", "--no-pager", "--output=cat", "--lines=6", f"--unit={_unit(target)}"]
    return run(argv, check=False).stdout.strip()


def _write_fstab(share, target):
    text = django_share.FSTAB.read_text(encoding="utf-8") if django_share.FSTAB.exists() else ""
    wanted = django_share.with_entry(text, django_share.entry(share, target))
    django_layout.write_atomic(django_share.FSTAB, wanted)
    if django_service.booted():
        run(["systemctl", "daemon-reload"], timeout=TIMEOUT)


def _own(deployment, share, target, folder):
    """Let a folder on the share be the project's, and try to write to it as the project does."""
    owner = f"{deployment.uid}:{grp.getgrnam(GROUP).gr_gid}"
    if _problem(deployment, folder):
        argv = ["sh", "-ec", MAKE, "sh", str(target), folder.name, owner, f"{MODE:o}"]
        made = run(argv, check=False, timeout=TIMEOUT)
        if made.returncode and _is_away(target):
            raise _refusal(share, target, "it went away again")
        if made.returncode:
            raise StepError(
                f"{folder} cannot be given to the project ({made.stderr.strip()}): make it on the"
                f" share's server, with the owner {owner} and the mode {MODE:04o}"
            )
    name = pwd.getpwuid(deployment.uid).pw_name
    script = 'umask 027 && : > "$1" && rm "$1"'
    try:
        run(["sh", "-ec", script, "sh", str(folder / PROBE)], user=name, timeout=TIMEOUT)
    except CommandError as error:
        if _is_away(target):
            raise _refusal(share, target, "it went away again") from None
        raise StepError(
            f"{name} cannot write to {folder} on {deployment.name}'s share: {error}"
        ) from None
