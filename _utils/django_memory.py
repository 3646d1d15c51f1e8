"""What a host's servers and processes may come to hold of its memory, when all of them are busy."""

import django_queue
import django_server_postgresql
import django_tuning

SYSTEM = 120  # MiB of the system itself, with its front door and process manager
MARIADB = 100  # MiB that it has beside its pool
MARIADB_THREAD = 1  # MiB of a connection
VARNISH = 50  # MiB that a Varnish has beside its pages
OTHER = 80  # MiB of a process that does nothing but wait for work, such as a scheduler
UNITS = {"kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def plan(config, held):
    """
    What a host may come to hold: list of ``(MiB, what, pillar key to lower)``, the most first.

    config
        The host's configuration.
    held
        Connections to its database that all processes may have at once.
    """
    entries = [*_databases(config, held), *_caches(config), *_programs(config)]
    return sorted(entries, key=lambda entry: (-entry[0], entry[2]))


def doubts(config, held):
    """What is to be known of a host that may come to hold more than it has, as messages."""
    memory, entries = config["host"]["memory"], plan(config, held)
    total = SYSTEM + sum(size for size, _, _ in entries)
    if not entries or total <= memory:
        return []
    told = ", ".join(f"{what} {size} ({key})" for size, what, key in entries)
    return [
        f"this host: what is planned for it may come to need {total} MiB when all is busy, and has"
        f" {memory}: {told}, the system {SYSTEM}. Lower some of these keys, move a role to"
        " another host, or give it more memory"
    ]


def _databases(config, held):
    if config["postgresql"]:
        own = _mib(config["postgresql"]["settings"]["shared_buffers"])
        size = own + held * django_server_postgresql.BACKEND_MIB
        yield size, "PostgreSQL", "django:postgresql:memory_share"
    if config["mariadb"]:
        own = _mib(config["mariadb"]["settings"]["innodb_buffer_pool_size"])
        size = own + MARIADB + held * MARIADB_THREAD
        yield size, "MariaDB", "django:mariadb:memory_share"


def _caches(config):
    for kind, title, size in (
        ("redis", "Redis", lambda each: each["maxmemory"] >> 20),
        ("memcached", "Memcached", lambda each: each["memory"]),
        ("varnish", "Varnish", lambda each: each["memory"] + VARNISH),
    ):
        instances = config[kind].get("instances", [])
        if instances:
            yield sum(map(size, instances)), title, f"django:{kind}:memory_share"


def _programs(config):
    roles = config["host"]["roles"]
    for name, project in config["projects"].items():
        key = f"django:projects:{name}"
        if "app" in roles and project["app"]["server"] != "command":
            size = project["app"]["workers"] * django_tuning.WORKER_MEMORY
            yield size, f"web workers of {name}", f"{key}:app:workers"
        for label, process in project["processes"].items():
            yield _process(process, label, f"{key}:processes:{label}")


def _process(process, label, key):
    """A long-running process; those of a project that this host does not run are not there."""
    kind, count = django_queue.kind(process), process["count"]
    if kind not in django_queue.WORKERS:
        return count * OTHER, label, f"{key}:count"
    forks = kind == "celery" and process["celery"]["pool"] == "prefork"
    each = django_queue.jobs(process) if forks else 1
    lower = f"{key}:celery:{_limit(process)}" if forks else f"{key}:count"
    return count * each * django_tuning.WORKER_MEMORY, label, lower


def _limit(process):
    return "autoscale" if process["celery"]["autoscale"] else "concurrency"


def _mib(value):
    """A server's setting of memory (str with a unit, or int of bytes) in MiB (int)."""
    text = str(value)
    for unit, size in UNITS.items():
        if text.endswith(unit):
            return int(float(text.removesuffix(unit)) * size) >> 20
    return int(text) >> 20 if text.isdecimal() else 0
