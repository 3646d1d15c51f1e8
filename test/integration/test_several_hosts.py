"""
One pillar on several hosts, its `hosts` saying which does what: a server of databases and three
that serve, all set up at the same moment. No balancer: what is shown is that it does not matter
which of them a visitor meets.
"""

import socket

import pytest

from test.hosts import boot

from .fleet import DOMAIN, at_once, pillar
from .guestbook import SOURCE
from .machines import ensure
from .server import CHECKOUT, Browser, Server, put_checkout

pytestmark = [
    pytest.mark.proves(
        "several servers",
        "database and cache on one host, the site on three",
        "one pillar for all; three first runs at once migrate once; sessions and data are shared; "
        "schedulers and timers on one of them; who leaves the map is shut out",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "several servers",
        "firewall (nftables)",
        "hosts let in what their roles need, after a boot too; nobody who is there is locked out",
        on=["Debian 12"],
    ),
]

DATA, WEB = "int-data", ("int-web1", "int-web2", "int-web3")
ROLES = dict.fromkeys(WEB, "[app, web, worker]") | {DATA: "[database, cache]"}
MORE = (
    "superuser: {username: admin, password: the-first-host-makes-it}",
    "processes: {heartbeat: {manage: heartbeat --interval 1, single: true, start_seconds: 1s}}",
    "timers: {purge: {manage: purge_entries --days 30, schedule: daily}}",
)
# Slow enough for all to meet it, and it counts how often it was carried out.
SLOW_MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [
        migrations.RunSQL("CREATE TABLE IF NOT EXISTS carried_out (by text)"),
        migrations.RunSQL("INSERT INTO carried_out SELECT pg_sleep(8)::text"),
    ]
"""


@pytest.fixture(scope="module")
def servers():
    """Bare hosts by name, with the repository and the project's source."""
    image = ensure("bookworm-ready")

    def prepare(name):
        server = Server(boot(name, image=image))
        put_checkout(server.host)
        server.run(f"mkdir -p /srv/src && cp -r {CHECKOUT}/examples/guestbook {SOURCE}")
        server.host.write(f"{SOURCE}/guestbook/migrations/0004_slow.py", SLOW_MIGRATION)
        return server

    names = (DATA, *WEB)
    found = dict(zip(names, at_once(prepare, names)))
    yield found
    for server in found.values():
        server.host.destroy()


@pytest.fixture(scope="module")
def fleet(servers):
    """The hosts after ./bootstrap: the one with the data first, then all others at once."""
    text = pillar(servers, ROLES, *MORE)
    servers[DATA].bootstrap(pillar=text)
    at_once(lambda name: servers[name].bootstrap(pillar=text), WEB)
    return servers


def test_three_first_runs_at_once_migrated_once(fleet):
    data = fleet[DATA]
    assert data.psql("SELECT count(*) FROM carried_out", "guestbook") == ["1"]
    twice = "SELECT app, name FROM django_migrations GROUP BY 1, 2 HAVING count(*) > 1"
    assert data.psql(twice, "guestbook") == []
    assert data.psql("SELECT count(*) FROM auth_user", "guestbook") == ["1"]
    first, second, third = (fleet[name].live() for name in WEB)
    assert first[0] == second[0] == third[0], "one source is one release"


def test_what_must_be_there_once_runs_on_one_of_them(fleet):
    """A process that is single, such as a scheduler, and what the clock starts."""
    beating = [name for name in fleet if fleet[name].host.pids("manage.py heartbeat")]
    timed = [name for name in fleet if fleet[name].host.exists("/etc/cron.d/django-guestbook")]
    assert (beating, timed) == ([WEB[0]], [WEB[0]])


def test_what_is_written_on_one_host_is_read_on_another(fleet):
    first, second, _ = (Browser(fleet[name].host, DOMAIN) for name in WEB)
    answer = first.submit("/", {"name": "Ada", "message": "Written on the first host."})
    assert answer.status_code == 302
    assert "Written on the first host." in second.get("/").text


def test_session_of_one_host_is_one_of_another(fleet):
    first, second, third = (Browser(fleet[name].host, DOMAIN) for name in WEB)
    assert first.login("/admin/login/", "admin", "the-first-host-makes-it").status_code == 302
    for other in (second, third):
        assert "Log out" not in other.get("/admin/").text
        other.session.cookies.update(first.session.cookies.get_dict())
        assert "Log out" in other.get("/admin/").text


def test_nothing_is_left_to_do(fleet):
    at_once(lambda server: server.assert_settled(), fleet.values())


def test_hosts_have_what_their_roles_need(fleet):
    for name, server in fleet.items():
        listening = server.run("ss -Hltn | awk '{print $4}'").stdout.split()
        ports = {item.rpartition(":")[2] for item in listening}
        assert ("5432" in ports) == (name == DATA), (name, listening)
        assert ("80" in ports) == (name in WEB), (name, listening)


def is_open(server, port):
    """Whether one who is no host of the map, and only pings, gets to a port."""
    try:
        socket.create_connection((server.host.address, port), timeout=2).close()
    except TimeoutError:
        return False
    return True


def test_strangers_reach_the_front_door_alone(fleet):
    data, web = fleet[DATA], fleet[WEB[0]]
    listening = data.run("ss -Hltn | awk '{print $4}'").stdout.split()
    assert f"{data.host.address}:5432" in listening, "there is something to reach"
    assert not is_open(data, 5432)
    assert is_open(web, 80)
    assert not is_open(web, 9999), "not even told that nobody listens"


def test_rules_that_went_away_come_back(fleet):
    data = fleet[DATA]
    data.run("nft flush ruleset")
    assert is_open(data, 5432)
    data.assert_mended("the firewall is active")
    assert not is_open(data, 5432)
    data.host.reboot()
    assert not is_open(data, 5432)


def test_operator_is_not_locked_out(fleet):
    """Where SSH is at another port than the pillar says: told, and the rules stay as they are."""
    server = fleet[WEB[1]]
    before = server.run("nft list ruleset").stdout
    server.run(
        "cp $(readlink -f /usr/bin/python3) /usr/local/bin/sshd"
        " && (setsid sshd -m http.server 2222 >/dev/null 2>&1 & echo $! >/run/other-sshd)"
        " && until ss -Hltn | grep -q :2222; do sleep 0.1; done"
        " && sed -i '/front door/d' /etc/django-formula/firewall.nft"
    )
    outcome = server.apply(check=False)
    assert outcome.failed[0] == "the firewall is active"
    said = outcome.comment("the firewall is active")
    assert "sshd listens at port 2222, which no rule opens" in said and "firewall:ssh" in said
    assert server.run("nft list ruleset").stdout == before
    server.run("kill $(cat /run/other-sshd)")
    server.assert_mended("the firewall is active")


def test_who_leaves_the_map_is_shut_out(fleet):
    """Without a change on that host itself: it may be lost, or in other hands."""
    data, left = fleet[DATA], fleet[WEB[2]]
    others = {name: server for name, server in fleet.items() if name != WEB[2]}
    data.pillar(pillar(others, ROLES, *MORE))
    data.assert_mended("PostgreSQL lets in whom it should", exactly=False)
    ask = ["salt-call", "django.query", "guestbook", "SELECT 1"]
    connect = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{data.host.address}/5432'"
    assert left.run(connect, check=False).returncode == 124, "the firewall says nothing at all"
    assert fleet[WEB[0]].run(connect).returncode == 0
    data.run("nft flush ruleset")  # and without its firewall the server itself lets nobody in
    refused = left.run(ask, check=False)
    assert refused.returncode != 0 and "no pg_hba.conf entry" in refused.stdout + refused.stderr
    assert fleet[WEB[0]].call("django.query", "guestbook", "SELECT 1 AS one") == [{"one": 1}]
