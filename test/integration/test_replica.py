"""
A primary and its replica, each on a host of its own: rows reach the replica, the primary loses its
power in the midst of writes, the replica takes its place, and the old primary comes back behind it.
"""

import pytest

from test.hosts import boot

from .fleet import at_once
from .machines import ensure
from .server import Server, put_checkout, wait_for

pytestmark = pytest.mark.proves(
    "several servers",
    "PostgreSQL with a replica",
    "a hot standby by the map; no synchronous commit is lost by a power cut of the primary; "
    "a guarded promote; the old primary stays down until it follows; data is never replaced",
    on=["Debian 12"],
)

FIRST, SECOND = "int-pg1", "int-pg2"
# The host of the project is of no matter here: only its address is.
PILLAR = """\
django:
  hosts:
    %s: {address: %s, roles: [%s]}
    %s: {address: %s, roles: [%s]}
    app1: {address: 10.77.0.250, roles: [app]}
  firewall: {}
  postgresql: {replication: {password: 'they:come\\in-with-it', synchronous: true}}
  projects:
    shop:
      source: {path: /srv/src}
      settings: config.settings
      database: {password: the-database-s-password}
      cache: {engine: none}
      secrets: {SECRET_KEY: all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz}
"""
UNIT = "postgresql@15-main"
FOLLOWS = "this host follows %s"
ROWS = 20_000


def pillar(servers, primary):
    """The pillar of both hosts, with the name of the one that has the role database."""
    words = []
    for name, server in servers.items():
        words += [name, server.host.address, "database" if name == primary else "replica"]
    return PILLAR % tuple(words)


def refused(server, *words):
    """What a call says that must fail."""
    done = server.run(["salt-call", *words, "--log-level", "error"], check=False)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="module")
def servers():
    """Two bare hosts, of which the second is set up before it has anything to follow."""
    image = ensure("bookworm-ready")
    names = (FIRST, SECOND)
    hosts = at_once(lambda name: boot(name, image=image), names)
    found = {name: Server(host) for name, host in zip(names, hosts)}
    try:
        text = pillar(found, FIRST)
        at_once(lambda server: put_checkout(server.host), found.values())
        at_once(lambda server: server.bootstrap(pillar=text, check=False), found.values())
        yield found
    finally:
        for host in hosts:
            host.destroy()


@pytest.fixture(scope="module")
def replicated(servers):
    """The primary, and the replica that follows it, with commits that wait for it."""
    first, second = servers.values()
    for server in (second, first):  # the second may have been ahead of the first
        server.apply()
    return first, second


def test_replica_has_what_is_written(replicated):
    first, second = replicated
    first.psql("CREATE TABLE note (number int)", "shop")
    first.psql("INSERT INTO note VALUES (0)", "shop")
    wait_for(lambda: second.psql("SELECT number FROM note", "shop") == ["0"])
    assert first.psql("SELECT sync_state FROM pg_stat_replication") == ["quorum"]
    assert first.apply().changed == []
    second.assert_settled()


def test_password_is_in_no_list_of_processes_and_for_postgresql_alone(replicated):
    for server in replicated:
        assert "come" not in server.run("ps -eo args").stdout
        assert server.mode("/etc/postgresql/15/main/django-replication.pgpass") == (
            "600 postgres:postgres"
        )


def test_a_primary_that_runs_is_not_replaced(replicated):
    _, second = replicated
    said = refused(second, "django.promote", "force=True")
    assert f"{FIRST} " in said and f"systemctl stop {UNIT}" in said
    assert second.psql("SELECT pg_is_in_recovery()") == ["t"]


def written(server):
    """Write row after row until the host loses its power; the numbers that were acknowledged."""
    script = "".join(
        f"INSERT INTO note VALUES ({number}) RETURNING number;\n" for number in range(1, ROWS)
    )
    server.host.write("/run/rows.sql", script)
    argv = ["stdbuf", "-oL", "psql", "-XAtq", "-d", "shop", "-f", "/run/rows.sql"]
    process = server.host.start(argv, user="postgres", stdout=-1)
    lines = [process.stdout.readline() for _ in range(300)]
    server.host.power_cut()
    lines += process.stdout.read().splitlines(keepends=True)
    return {int(line) for line in lines if line.endswith("\n")}


def test_power_cut_promote_and_return(servers, replicated):
    first, second = replicated
    acknowledged = written(first)
    assert 300 <= len(acknowledged) < ROWS - 1, "it was in the midst of it"
    warned = second.apply()
    assert not warned.changed and "does not stream" in warned.comment(FOLLOWS % FIRST)

    told = second.call("django.promote")
    assert "nothing that was committed is missing" in told["comment"]
    assert "timeline 2" in told["comment"] and "django.rejoin" in told["comment"]
    there = {int(number) for number in second.psql("SELECT number FROM note", "shop")}
    assert acknowledged <= there
    second.psql("INSERT INTO note VALUES (-1)", "shop")  # it waits for nobody
    settled = second.apply()
    assert not settled.changed and "pillar calls it a replica" in settled.comment(FOLLOWS % FIRST)

    first.host.power_on()
    assert first.run(f"systemctl is-active {UNIT}", check=False).stdout == "failed\n"
    outcome = first.apply(check=False)
    assert outcome.failed[0] == "PostgreSQL runs"
    assert f"{SECOND} ({second.host.address}) has been promoted" in outcome.comment(
        "PostgreSQL runs"
    )

    text = pillar(servers, SECOND)
    for server in (first, second):
        server.pillar(text)
    second.apply()
    assert first.apply(check=False).failed[0] == "PostgreSQL runs", "never by a run alone"
    told = first.call("django.rejoin", "force=True")
    assert "follows" in told["comment"] and "copied anew" not in told["comment"]
    wait_for(lambda: "-1" in first.psql("SELECT number FROM note", "shop"))
    second.assert_mended("replicas may follow")
    first.assert_settled()
    assert second.psql("SELECT sync_state FROM pg_stat_replication") == ["quorum"]


def test_primary_that_was_cut_off_is_ended(servers, replicated):
    """It has not been down; with nobody to wait for it commits nothing that it tells of."""
    first, second = replicated
    second.psql("INSERT INTO note VALUES (-2)", "shop")  # sent a moment before
    second.host.cut()
    told = first.call("django.promote")
    assert "nothing that was committed is missing" in told["comment"]
    assert "-2" in first.psql("SELECT number FROM note", "shop")
    assert second.run(f"systemctl is-active {UNIT}").stdout == "active\n"
    second.host.heal()
    wait_for(lambda: second.run(f"systemctl is-active {UNIT}", check=False).returncode, 60)
    assert (
        f"{FIRST} ({first.host.address}) has been promoted"
        in second.run("journalctl -u django-primary --no-pager").stdout
    )
    text = pillar(servers, FIRST)
    for server in (first, second):
        server.pillar(text)
    first.apply()
    told = second.call("django.rejoin")
    assert "copied anew" not in told["comment"]
    second.assert_settled()


def test_data_is_never_replaced_and_a_copy_that_is_broken_off_is_made_again(replicated):
    _, second = replicated
    folder = "/var/lib/postgresql/15/main"
    second.run(
        f"systemctl stop {UNIT} && pg_dropcluster 15 main && pg_createcluster 15 main"
        f" && systemctl start {UNIT}"
    )
    second.psql("CREATE TABLE mine (number int)")
    outcome = second.apply(check=False)
    assert "has databases of its own" in outcome.comment(outcome.failed[0]), outcome.told()
    assert "has databases of its own" in refused(second, "django.rejoin")
    assert second.psql("SELECT count(*) FROM mine") == ["0"]
    second.psql("DROP TABLE mine")
    second.psql("CHECKPOINT")  # its file is there until then
    run = second.host.start("exec salt-call state.apply >/dev/null 2>&1")
    second.run(f"until test -e {folder}.django-copy; do sleep 0.02; done", timeout=300)
    second.host.kill("salt-call state.apply")
    run.wait()
    assert not second.host.exists(f"{folder}/standby.signal")
    second.apply()
    kept = second.psql("SELECT number FROM note WHERE number < 1 ORDER BY 1", "shop")
    assert kept == ["-2", "-1", "0"]
    assert not second.host.exists(f"{folder}.django-copy")
    second.assert_settled()


def test_primary_that_was_stopped_in_order_leaves_nothing_behind(replicated):
    first, second = replicated
    first.psql("INSERT INTO note VALUES (-2)", "shop")
    first.run(f"systemctl stop {UNIT}")
    told = second.call("django.promote")
    assert "was stopped in order: nothing is missing" in told["comment"]
    assert "-2" in second.psql("SELECT number FROM note", "shop")


def test_replica_that_leaves_the_map_leaves_nothing_behind(servers, replicated):
    """Its slot would keep the log for ever, and commits would wait for it."""
    _, second = replicated
    lines = pillar(servers, SECOND).splitlines(keepends=True)
    second.pillar("".join(line for line in lines if not line.startswith(f"    {FIRST}:")))
    predicted = second.predict()
    made = second.apply()
    assert "shop: database default is there" in made.changed == predicted.changed, made.told()
    assert second.psql("SELECT slot_name FROM pg_replication_slots") == []
    assert second.psql("SHOW synchronous_standby_names") == [""]
    assert not second.host.exists("/etc/postgresql/15/main/django-replication.pgpass")
    assert second.run("systemctl is-active django-primary.timer", check=False).returncode
