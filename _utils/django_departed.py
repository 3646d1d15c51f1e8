"""
Projects that this host had and the pillar does not name any more: their programs and timers end,
their data stays. Servers that keep nothing of worth end, too, once no project asks for them, and so
do the firewall, the timer by which a host fetches its pillar and that of its backups.
"""

import pathlib
import time

import django_backup
import django_firewall
import django_monitor
import django_process
import django_pull_note
import django_server_haproxy
import django_server_keepalived
import django_server_nfs
import django_service

CRON = pathlib.Path("/etc/cron.d")
LEAVE_SECONDS = 10
STOP_SECONDS = 10  # of a program that does not run
CACHES = ("memcached", "varnish")
SERVERS = {
    "haproxy": django_server_haproxy,
    "keepalived": django_server_keepalived,
    "nfs": django_server_nfs,
}
PULL_TIMER = "django-pull.timer"
PULL_FILES = (
    f"/etc/systemd/system/{PULL_TIMER}",
    "/etc/systemd/system/django-pull.service",
    "/etc/cron.d/django-pull",
    "/etc/logrotate.d/django-pull",
    "/usr/local/bin/django-pull",
)


def services(config):
    """
    Services (list of str) that run or start with the host and that the pillar does not ask for: of
    caches, the balancer, the media server and the firewall.

    config
        The configuration of this host.
    """
    wanted = {each["service"] for kind in CACHES for each in config[kind].get("instances", [])}
    found = set()
    for kind in CACHES:
        units = (django_service.UNITS / "multi-user.target.wants").glob(f"{kind}@*.service")
        found |= {path.stem for path in units}
        found |= {path.name for path in django_service.SCRIPTS.glob(f"{kind}-*")}
    if not config["firewall"] and pathlib.Path(django_firewall.RULES).exists():
        found.add(django_firewall.SERVICE)
    servers = [(kind, each.SERVICE, each.CONFIG) for kind, each in SERVERS.items()]
    for kind, service, path in [*servers, *django_monitor.SERVICES]:
        if not config[kind] and django_service.is_configured_by_us(path):
            found.add(service)
    # These end just before what takes their ports begins.
    found -= {rival["service"] for rival in config["rivals"]}
    looked = {name: django_service.look(name) for name in sorted(found - wanted)}
    return [name for name, seen in looked.items() if seen["running"] or seen["enabled"]]


def end_pulls(test=False):
    """
    End the timer by which this host fetches its pillar, and take away what belongs to it. A pull
    that is under way, of which this may be a part, goes on. Returns the paths (list of str).
    """
    paths = [path for path in PULL_FILES if django_service.is_configured_by_us(path)]
    settings = django_pull_note.SETTINGS
    found = [*paths, *([str(settings)] if settings.exists() else [])]
    if not test:
        if PULL_FILES[0] in paths and django_service.booted():
            for verb in ("stop", "disable"):
                django_service.act(PULL_TIMER, verb)
        for path in found:
            pathlib.Path(path).unlink()
    return found


def end_backups(test=False):
    """
    End the timer by which this host made backups, and forget the passwords that they needed, and
    what monitoring was told; what was saved stays. Returns the paths (list of str).
    """
    found = [django_backup.CRON] if django_service.is_configured_by_us(django_backup.CRON) else []
    found += [
        path
        for path in (*django_backup.FILES, django_backup.METRICS)
        if pathlib.Path(path).exists()
    ]
    if not test:
        for path in found:
            pathlib.Path(path).unlink()
    return found


def find(root, known):
    """Names (list of str) of the projects with a folder in ``root`` that are not ``known``."""
    folders = sorted(pathlib.Path(root).glob("*/instances"))
    return [folder.parent.name for folder in folders if folder.parent.name not in known]


def stop(name, managers, test=False):
    """
    End what a project that left still runs. Workers finish what they are at: who takes longer than
    some seconds is not waited for, and is forgotten by a later run.

    managers
        Adapters of the process managers, see :mod:`django_managers`.

    Returns what changed (dict) and the programs that finish their work (list of str).
    """
    programs = _programs(name, managers)
    timers = CRON / f"django-{name}"
    changes = {
        "stopped": sorted(each for each, (_, found) in programs.items() if not found["leaving"]),
        "ended": sorted(each for each, (_, found) in programs.items() if _has_ended(found)),
        "timers": [str(timers)] if timers.exists() else [],
    }
    changes = {key: names for key, names in changes.items() if names}
    if test:
        return changes, []
    timers.unlink(missing_ok=True)
    for program in changes.get("stopped", []):
        manager, found = programs[program]
        if found["pid"]:
            manager.dismiss(program)
        else:
            manager.stop(program, STOP_SECONDS)
    busy = _forget(name, managers)
    deadline = time.monotonic() + LEAVE_SECONDS
    while changes.get("stopped") and busy and time.monotonic() < deadline:
        time.sleep(0.2)
        busy = _forget(name, managers)
    return changes, busy


def _programs(name, managers):
    """The project's programs: ``{program: (manager, what it says of it)}``."""
    return {
        program: (manager, found)
        for manager in managers
        for program, found in manager.programs().items()
        if django_process.parse_program(program, name)
    }


def _has_ended(found):
    return found["leaving"] and not found["pid"]


def _forget(name, managers):
    """Forget programs that have ended; returns those that have not."""
    programs = _programs(name, managers)
    for program, (manager, found) in programs.items():
        if _has_ended(found):
            manager.stop(program, 0)
    return sorted(each for each, (_, found) in programs.items() if not _has_ended(found))
