"""
A PostgreSQL cluster on this host that is, or becomes, a copy of another one: what its files say,
how it is copied and put in its place. A copy is made beside the cluster, and the two exchanged in
one step of the kernel, so that a run that is killed leaves either.
"""

import ctypes
import os
import pathlib
import shutil
import time

import django_psql
import django_replica
import django_service
from django_run import CommandError, run

SIGNAL = "standby.signal"
LABEL = "backup_label"
COPY = ".django-copy"  # what the name of the folder of a copy ends with
REWINDING = ".django-rewinding"  # a file while pg_rewind works in the folder before it
FIRST_NUMBER = 16384  # of what users make in a cluster; below it is what initdb made
SYSTEM_DATABASES = 3  # postgres, template0, template1
KEEP_ALL = "1TB"  # of the log: pg_rewind reads it from the last checkpoint that both servers have
DAY = 86400
STREAM_SECONDS = 60
# What a copy that was broken off has begun may hold its slot until the primary misses it, which is
# wal_sender_timeout: a minute, unless somebody has changed that.
SLOT_SECONDS = 120
SLOT_HELD = "is active for PID"
PAUSE = 1
_EXCHANGE, _AT_FDCWD = 2, -100


class StandbyError(Exception):
    """A cluster that is not what it should be, or could not be made so; the message is in words."""


def is_standby(data):
    """Whether a cluster's folder is that of a standby."""
    return os.path.exists(f"{data}/{SIGNAL}")


def has_data(data):
    """Whether a cluster's folder has anything that somebody made: a database, a table, a drive."""
    base = pathlib.Path(data, "base")
    folders = [path for path in base.glob("*") if path.name.isdigit()]
    if len(folders) > SYSTEM_DATABASES or any(pathlib.Path(data, "pg_tblspc").glob("*")):
        return True
    numbers = (
        int(path.name.partition(".")[0].partition("_")[0])
        for folder in folders
        for path in folder.iterdir()
        if path.name[0].isdigit()
    )
    return any(number >= FIRST_NUMBER for number in numbers)


def kind(data):
    """``missing``, ``fresh``, ``standby`` or ``data``: what is in a cluster's folder."""
    if not os.path.exists(f"{data}/PG_VERSION"):
        return "missing"
    if is_standby(data):
        return "standby"
    return "data" if has_data(data) else "fresh"


def misplaced(server, clusters):
    """
    Why this host's cluster is not for the role that the pillar gives the host (str), or None. What
    a server that runs would have to be asked for is looked at later.

    clusters
        As :func:`django_clusters.find` returns them.
    """
    data = f"/var/lib/postgresql/{server['version']}/main"
    found = kind(data)
    if found == "standby" and server["replication"].get("role") != "standby":
        return (
            "This host's PostgreSQL is a standby, and the pillar calls it the database: promote it"
            " first (salt-call django.promote), or give it the role replica again"
        )
    ours = any(each["ours"] for each in clusters if each["version"] == server["version"])
    if found == "data" and not ours and server["replication"].get("role") == "standby":
        return strange(server)
    return None


def strange(server):
    """What to say (str) of databases where a replica should be."""
    return (
        "This host's PostgreSQL has databases of its own, in the place of which the copy of"
        f" {server['replication']['primary']['name']} would have to come. Nothing was changed: move"
        f" them elsewhere, then pg_dropcluster --stop {server['version']} main and"
        f" pg_createcluster {server['version']} main, and apply again"
    )


def control(server):
    """What this host's cluster is (dict), see :func:`django_replica.control`."""
    argv = [django_psql.program(server, "pg_controldata"), server["replication"]["data"]]
    return django_replica.control(run(argv, user="postgres", timeout=60).stdout)


def stop(server):
    """Stop this host's cluster, in order."""
    django_service.act(server["replication"]["unit"], "stop")


def start(server):
    """Start this host's cluster."""
    django_service.act(server["replication"]["unit"], "start")


def tidy(data):
    """
    Put away what a run that was killed has left beside a cluster: a copy goes, and what was in the
    cluster's place before is kept. Returns the path where that is (str), or None.
    """
    left = pathlib.Path(data + COPY)
    if not left.exists():
        return None
    is_copy = any((left / name).exists() for name in (SIGNAL, LABEL))
    if is_copy or not (left / "global/pg_control").exists() or not has_data(left):
        shutil.rmtree(left)
        return None
    aside = f"{data}.before-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    os.rename(left, aside)
    return aside


def copy(server):
    """
    Put a copy of the primary in the place of this host's cluster, which is stopped only for the
    exchange; returns the path where a cluster that was no standby and had data is kept, or None.
    """
    replication = server["replication"]
    data, made = replication["data"], pathlib.Path(replication["data"] + COPY)
    argv = [django_psql.program(server, "pg_basebackup"), f"--pgdata={made}", "--no-password"]
    argv += [f"--host={replication['primary']['address']}", f"--port={server['port']}"]
    argv += ["--checkpoint=fast", "--wal-method=stream", f"--slot={replication['slot']}"]
    _copy(argv, server, data)
    mark(made)
    run(["sync", "--file-system", str(made)], timeout=DAY)
    stop(server)
    exchange(data, made)
    pathlib.Path(data + REWINDING).unlink(missing_ok=True)
    return tidy(data)


def _copy(argv, server, data):
    """Make the copy beside the cluster, as soon as nobody else holds the slot for it."""
    deadline = time.monotonic() + SLOT_SECONDS
    while True:
        tidy(data)
        try:
            run(argv, user="postgres", env=django_psql.environment(server), timeout=DAY)
            return
        except CommandError as error:
            tidy(data)  # it may be what the disk is full of
            if SLOT_HELD not in str(error) or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE)


def mark(data):
    """Let a cluster be a standby from its next start on."""
    path = pathlib.Path(data, SIGNAL)
    owner = os.stat(data)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.fchown(handle, owner.st_uid, owner.st_gid)
        os.fsync(handle)
    finally:
        os.close(handle)


def exchange(one, other):
    """Let two folders have each other's name, in one step."""
    library = ctypes.CDLL(None, use_errno=True)
    paths = [os.fsencode(str(path)) for path in (one, other)]
    if library.renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one))


def streams(server, seconds=STREAM_SECONDS):
    """
    Wait until this host's server streams from the primary; whether it does within some seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = django_psql.ask_here(server, django_replica.STANDBY)
        except CommandError:
            found = {}
        if is_streaming(server, found):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.3)


def is_streaming(server, found):
    """Whether an answer to :data:`django_replica.STANDBY` is of one that follows the primary."""
    receiver = found.get("receiver") or {}
    wanted = server["replication"]["primary"]["address"]
    return receiver.get("status") == "streaming" and receiver.get("host") == wanted


def report(server):
    """
    How this host's server stands to the others (dict), for operators: of a primary its ``replicas``
    by name, of a standby whether it ``streams``; with the log that waits to be carried out (bytes)
    and since when (seconds).
    """
    replication = server["replication"]
    try:
        found = django_psql.ask_here(server, django_replica.STANDBY)
        if found["standby"]:
            return {
                "role": f"standby of {replication['primary']['name']}",
                "streams": is_streaming(server, found),
                **django_replica.lag(found),
            }
        found = django_psql.ask_here(server, django_replica.PRIMARY)
    except CommandError as error:
        return {"role": replication["role"], "problem": django_psql.told(error)}
    senders = found["senders"] or {}
    replicas = {
        peer["name"]: {
            "streams": senders[peer["slot"]]["state"] == "streaming",
            "commits_wait": senders[peer["slot"]]["sync"] in ("sync", "quorum"),
            **django_replica.lag(senders[peer["slot"]]),
        }
        if peer["slot"] in senders
        else {"streams": False}
        for peer in replication["peers"]
    }
    return {"role": "primary", "replicas": replicas}


def was_stopped(server, found):
    """
    Whether the last that a standby got of its primary is that it was stopped in order, which it
    does when its standbys have all it has.

    found
        The standby's answer to :data:`django_replica.STANDBY`.
    """
    log = pathlib.Path(server["replication"]["data"], "pg_wal")
    size = control(server)["segment"]
    name = django_replica.segment_of(int(found["position"]), size)
    files = sorted(path for path in log.glob("*" + name) if len(path.name) == 24)
    if not files:
        return False
    argv = [django_psql.program(server, "pg_waldump"), str(files[-1])]
    # It ends with an error where the log does, which is where it is to end.
    said = run(argv, user="postgres", timeout=300, check=False).stdout.rstrip().splitlines()
    return bool(said) and "CHECKPOINT_SHUTDOWN" in said[-1]


def rewind(server, history, force):
    """
    Let this host's cluster, which was the primary, go back to where the servers parted, and be a
    standby of the one that follows it; returns how many transactions went (int).

    history
        The newer timeline's (str).
    force
        Whether transactions may go that are committed here and not there.

    Raises :class:`StandbyError` where some would and must not, CommandError where it cannot be
    done.
    """
    replication = server["replication"]
    data = replication["data"]
    marker = pathlib.Path(data + REWINDING)
    if marker.exists():
        raise CommandError(["pg_rewind"], None, "", "broken off before, so that it cannot go on")
    recover(server)
    own = control(server)
    where = django_replica.fork(history, own["timeline"])
    only_here = commits_after(server, own, where) if where else 0
    if only_here and not force:
        raise StandbyError(
            "Transactions that are committed on this host and not on"
            f" {replication['primary']['name']}: {only_here}. They would be gone, so nothing was"
            " changed. With synchronous commit no client was told that they had been committed."
            " Where nobody misses them: salt-call django.rejoin force=True"
        )
    marker.touch()
    source = django_replica.conninfo(replication, replication["primary"], server["port"])
    argv = [django_psql.program(server, "pg_rewind"), f"--target-pgdata={data}"]
    argv += [f"--source-server={source} dbname=postgres", "--no-ensure-shutdown"]
    run(argv, user="postgres", env=django_psql.environment(server), timeout=DAY)
    mark(data)
    marker.unlink()
    return only_here


def recover(server):
    """Let a cluster that does not run, and did not end in order, do so: pg_rewind needs that."""
    if control(server)["state"] == "shut down":
        return
    argv = [django_psql.program(server, "postgres"), "--single"]
    argv += ["-D", server["replication"]["data"]]
    argv += ["-c", f"config_file={server['config_dir']}/postgresql.conf"]
    argv += ["-c", f"wal_keep_size={KEEP_ALL}", "postgres"]
    run(argv, user="postgres", stdin="", timeout=DAY)


def commits_after(server, own, where):
    """How many transactions (int) a cluster's log has after a position (str)."""
    argv = [django_psql.program(server, "pg_waldump"), f"--start={where}", "--rmgr=Transaction"]
    argv += [f"--path={server['replication']['data']}/pg_wal", f"--timeline={own['timeline']}"]
    said = run(argv, user="postgres", timeout=DAY, check=False).stdout
    return sum("desc: COMMIT" in line for line in said.splitlines())
