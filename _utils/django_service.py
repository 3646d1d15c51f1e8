"""
Services of the host, steered by systemd or, where it does not run the host, by their init scripts.

Salt's own module does nothing on a host that has systemd's programs but was not booted by it, such
as a container, and none serves Ubuntu without systemd.
"""

import os
import pathlib
import time

from django_run import BASE_PATH, CommandError, run, tail

UNITS = pathlib.Path("/etc/systemd/system")
# Where Debian's packages note which of their services were there, also after they are removed.
REMEMBERED = pathlib.Path("/var/lib/systemd/deb-systemd-helper-enabled")
SCRIPTS = pathlib.Path("/etc/init.d")
RUNLEVELS = "rc[2345].d/S[0-9][0-9]"
# When a service last read its files at our word: the times of these files.
STAMPS = pathlib.Path("/run/django-formula/services")
READING = ("start", "restart", "reload")
TIMEOUT = 600
_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState")
HEADER = "# Written by django-formula;"
_ENABLED = ("enabled", "static", "generated", "alias", "indirect")
_RUNNING = ("active", "reloading", "activating")
_ENVIRONMENT = {"PATH": BASE_PATH, "LANG": "C.UTF-8"}


class ServiceError(Exception):
    """A service did not do what it was asked to; the message has its last words."""


def booted():
    """Whether systemd runs this host, as its sd_booted(3) finds out."""
    return os.path.isdir("/run/systemd/system")


def look(name):
    """
    What is known of a service: ``{there, running, enabled}``, each bool, the last two None for one
    that this host has never had. One whose package was removed is as it will be when that is back.
    """
    return _look_at_unit(name) if booted() else _look_at_script(name)


def is_configured_by_us(path):
    """Whether a configuration file is one that this formula wrote."""
    try:
        return HEADER in pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def unit(name):
    """systemd's name of a service, or of a timer, which says so itself."""
    return name if name.endswith(".timer") else f"{name}.service"


def is_masked(name):
    """Whether somebody has forbidden systemd to start a service."""
    return booted() and os.path.realpath(UNITS / unit(name)) == os.devnull


def act(name, verb):
    """
    Carry out ``start``, ``stop``, ``restart``, ``reload``, ``enable`` or ``disable``.

    Raises :class:`ServiceError` when it fails.
    """
    now = time.time()
    for argv in _commands(name, verb):
        try:
            run(argv, env=_ENVIRONMENT, timeout=TIMEOUT)
        except CommandError as error:
            said = _last_words(name, now) if booted() else error.output
            raise ServiceError(f"{name} did not {verb}: {said or error}") from None
    if verb in READING:
        note_read(name, now)


def note_read(name, moment=None):
    """
    Note that a service knows what its files say since a moment (seconds since the epoch), by
    default this one: it was told in another way than by reading them.
    """
    moment = time.time() if moment is None else moment
    STAMPS.mkdir(parents=True, exist_ok=True)
    (STAMPS / name).touch()
    os.utime(STAMPS / name, (moment, moment))


def read_ago(name):
    """How many seconds ago (float) that was noted last; endless where it never was."""
    try:
        return time.time() - (STAMPS / name).stat().st_mtime
    except OSError:
        return float("inf")


def unread(name, paths):
    """
    Those of ``paths`` (files and folders) that have changed since a service read them, which is
    when it started, when :func:`act` last let it read them, or when the host was booted. A run that
    is killed between a change and the service's restart leaves such ones behind.
    """
    now = time.time()
    stamp = STAMPS / name
    read = max(now - _seconds_since_boot(), stamp.stat().st_mtime if stamp.exists() else 0)
    changed = {path: _changed(path) for path in paths}
    if booted() and any(read < moment <= now for moment in changed.values()):
        # Somebody else may have started it since, which only systemd knows.
        read = max(read, now - _seconds_since_start(name))
    return [path for path, moment in changed.items() if read < moment <= now]


def _seconds_since_start(name):
    argv = ["systemctl", "show", "--property=ExecMainStartTimestampMonotonic", "--value"]
    said = run([*argv, unit(name)], env=_ENVIRONMENT, timeout=TIMEOUT).stdout.strip()
    return time.monotonic() - int(said) / 1e6 if int(said or 0) else float("inf")


def _changed(path):
    """When a file or a link to it changed last (seconds since the epoch); 0 without it."""
    try:
        return max(os.lstat(path).st_ctime, os.stat(path).st_ctime)
    except OSError:
        return 0


def _seconds_since_boot():
    """How long ago this host, which may be a container, began to run (float)."""
    started = int(pathlib.Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
    ticks = started / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks


def _look_at_unit(name):
    argv = ["systemctl", "show", f"--property={','.join(_PROPERTIES)}", unit(name)]
    lines = run(argv, env=_ENVIRONMENT, timeout=TIMEOUT).stdout.splitlines()
    found = dict(line.split("=", 1) for line in lines if "=" in line)
    running = found.get("ActiveState") in _RUNNING
    # Such a link may lead nowhere, which a glob of its name would leave out.
    linked = any(os.path.islink(folder / unit(name)) for folder in UNITS.glob("*.wants"))
    if found.get("LoadState") not in (None, "not-found"):
        # A unit that runs without its file has no state but its links.
        enabled = found["UnitFileState"] in _ENABLED if found.get("UnitFileState") else linked
        return {"there": True, "running": running, "enabled": enabled}
    if running or linked or (REMEMBERED / f"{unit(name)}.dsh-also").exists():
        return {"there": False, "running": running or linked, "enabled": linked}
    return {"there": False, "running": None, "enabled": None}


def _look_at_script(name):
    script = SCRIPTS / name
    if not os.access(script, os.X_OK):
        return {"there": False, "running": None, "enabled": None}
    asked = run([str(script), "status"], env=_ENVIRONMENT, timeout=TIMEOUT, check=False)
    return {
        "there": True,
        "running": asked.returncode == 0,
        "enabled": any(SCRIPTS.parent.glob(f"{RUNLEVELS}{name}")),
    }


def _commands(name, verb):
    """The command lines (list of lists) that carry out ``verb``."""
    if booted():
        # A timer's service is read with it.
        units = dict.fromkeys((unit(name), f"{name.removesuffix('.timer')}.service"))
        # It takes longer than the rest; systemctl itself does it after enable and disable.
        stale = verb in ("start", "restart") and any(map(_is_stale, units))
        fresh = [["systemctl", "daemon-reload"]] if stale else []
        return [*fresh, ["systemctl", verb, "--quiet", unit(name)]]
    if verb == "enable":
        # "defaults" does nothing while there are links, and "enable" fails where some are missing.
        return [["update-rc.d", "-f", name, "remove"], ["update-rc.d", name, "defaults"]]
    if verb == "disable":
        return [["update-rc.d", name, "disable"]]
    return [[str(SCRIPTS / name), verb]]


def _is_stale(unit):
    """Whether the files of a unit are not those that systemd has read."""
    argv = ["systemctl", "show", "--property=NeedDaemonReload", "--value", unit]
    return run(argv, env=_ENVIRONMENT, timeout=TIMEOUT).stdout.strip() == "yes"


def _last_words(name, since):
    """What a service and systemd have said of it since a moment (seconds since the epoch)."""
    argv = ["journalctl", f"--unit={unit(name)}", "--lines=15", "--no-pager", "--output=cat"]
    argv += ["--quiet", f"--since=@{since:.3f}"]
    try:
        return tail(run(argv, env=_ENVIRONMENT, timeout=60, check=False).stdout)
    except CommandError:
        return ""
