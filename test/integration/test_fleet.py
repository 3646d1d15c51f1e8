"""
A fleet of tiers from bare servers, by README's commands and one pillar: a Salt master, balancers
with one address, servers of the site, one of its workers, the cache, a database, its replica, and
uploads, mounted by a client of the tests' own (see test_media_server). Releases by one order at the
master; then servers come, go, are cut off and lost.
"""

import re
import subprocess

import pytest
import requests

from test.hosts import boot

from .crowd import Crowd
from .fleet import DOMAIN, asked_while, assert_missed_for_a_moment_only, at_once, hosts
from .guestbook import INDEX, ROOT, SOURCE, change
from .machines import NFS, ensure
from .master import Master
from .server import CHECKOUT, Browser, Server, picture, put_checkout, wait_for

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.proves(
        "several servers",
        "a whole fleet of eleven servers and their master",
        "bare servers serve after two runs, a third changes nothing; only the front doors can be "
        "seen from outside; sessions and uploads (NFS) are those of all servers; servers come, go "
        "and are lost; one that was cut off in a deploy converges; the replica takes the "
        "database's place",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "several servers",
        "releases from a master (salt-run django.deploy)",
        "server by server out of the balancer without a failed request; a late migration drops a "
        "column once the last server has switched; a bad release stops at the first; killed, "
        "the next goes on; rollback, locks, history",
        on=["Debian 12"],
    ),
]

MASTER, WORKER, CACHE, MEDIA = "int-fl", "int-fl-work", "int-fl-cache", "int-fl-nas"
BALANCERS = ("int-fl-lb1", "int-fl-lb2")
DATA, REPLICA = "int-fl-db1", "int-fl-db2"
FIRST, SECOND, THIRD, NEW = WEB = tuple(f"int-fl-web{number}" for number in range(1, 5))
ROLES = {
    MASTER: "[]",
    **dict.fromkeys(BALANCERS, "[balancer]"),
    **dict.fromkeys(WEB, "[app, web]"),
    WORKER: "[worker]",
    CACHE: "[cache]",
    MEDIA: "[media]",
    DATA: "[database]",
    REPLICA: "[replica]",
}
PILLAR_FOLDER = "/srv/pillar"
STYLE = re.compile(r"/[^\"]*/guestbook\.\w+\.css")
REQUESTS, LEISURE = 500, 4
PILLAR = """\
django:
  hosts: {%(hosts)s}
  firewall: {allow: [{port: 9418, from: [%(addresses)s]}]}
  balancer: {floating: {address: %(floating)s}}
  postgresql: {replication: {password: the-replica-comes-in-with-it}}
  projects:
    guestbook:
      source: {git: 'git://%(git)s/guestbook', rev: %(rev)s}
      settings: config.settings
      uid: 900
      domains: [%(domain)s]
      health: {path: /healthz/}
      processes: {heart: {manage: heartbeat}}
      superuser: {username: admin, password: one-for-all-servers}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
      database: {password: the-database-s-password}
      cache: {password: the-cache-s-password}
      secrets: {SECRET_KEY: all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz}
"""
# Nobody reads NOTE any more since v2, and v2 itself drops MOOD, which v1 reads and fills.
MOOD, NOTE = (
    f'    {name} = models.CharField("{name}", max_length=9, default="fine")\n'
    for name in ("mood", "note")
)
SPAM = '    is_spam = models.BooleanField("spam", default=False)\n'
MIGRATION = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("guestbook", "%s")]
    after_switch = %s
    operations = [%s]
"""
FIELD = "migrations.%sField('entry', '%s', models.CharField(max_length=9, %s))"
REMOVED = "migrations.RemoveField('entry', '%s')"
CARRIED_OUT = (
    "migrations.RunSQL('CREATE TABLE IF NOT EXISTS carried_out "
    "(by text, at timestamptz DEFAULT clock_timestamp())', 'SELECT 1')"
)
# Each migration counts how often it was carried out, and says when it began.
COUNTED = "migrations.RunSQL(\"INSERT INTO carried_out SELECT '%s' || pg_sleep(%d)\", 'SELECT 1')"


class Fleet(Master):
    """The master, who gives orders; ``servers`` are all, itself too, by name."""

    def means(self, rev, without=(), roles=()):
        """
        Write the pillar: the revision, but not the servers ``without``; other ``roles`` (dict).
        """
        known = {name: found for name, found in self.servers.items() if name not in without}
        self.known, addresses = list(known), [server.host.address for server in known.values()]
        values = {
            "hosts": hosts(known, {**ROLES, **dict(roles)}),
            "addresses": ", ".join(addresses),
            "floating": self.floating,
            "git": self.host.address,
            "rev": rev,
            "domain": DOMAIN,
        }
        self.host.write(f"{PILLAR_FOLDER}/shop.sls", PILLAR % values)

    @property
    def sites(self):
        """The servers that run the project (dict)."""
        return {name: self.servers[name] for name in (*WEB, WORKER) if name in self.known}

    def settle(self, *targets):
        """``state.apply`` on servers, which all go well; what was changed (dict by server)."""
        found = self.apply(target="L@" + ",".join(targets) if targets else "*")
        missed = set(targets or self.known) - set(found)
        assert not missed, f"did not answer: {missed}"
        assert not any(failed for _, failed in found.values()), found
        return {name: changed for name, (changed, _) in found.items() if changed}

    def serving(self):
        """The release of each server that runs the project (dict)."""
        return {name: server.live()[0] for name, server in self.sites.items()}

    def psql(self, sql, database="guestbook"):
        """Ask the database on its own server."""
        return self.database.psql(sql, database)

    def serving_since(self, *names):
        """When each of some servers switched to what it serves (list of s)."""
        argv = ["stat", "--format", "%.9Z", f"{ROOT}/live"]
        return [float(self.servers[name].run(argv).stdout) for name in names]

    def carried_out(self, by):
        """When a migration was carried out, each time (list of s)."""
        sql = f"SELECT extract(epoch FROM at) FROM carried_out WHERE by = '{by}'"
        return [float(moment) for moment in self.psql(sql)]

    def assert_carried_out_last(self, by):
        """A migration was carried out once, and after all servers had switched."""
        (moment,) = self.carried_out(by)
        assert moment > max(self.serving_since(*self.sites))

    def drained(self):
        """Who is out of the balancers (list)."""
        answers = self.salt(f"L@{','.join(BALANCERS)}", "django.drained")
        assert answers[BALANCERS[0]] == answers[BALANCERS[1]], answers
        return answers[BALANCERS[0]]

    def ask(self, path="/whoami/", address=None, **options):
        """What the site answers at the balancers' address."""
        url = f"http://{address or self.floating}{path}"
        return requests.get(url, headers={"Host": DOMAIN}, timeout=20, **options)

    def hosts_that_answer(self):
        """Names of the servers that answered a number of visitors, all of them well."""
        answers = [self.ask() for _ in range(16)]
        assert {answer.status_code for answer in answers} == {200}
        return {answer.json()["hostname"] for answer in answers}

    def crowd(self, folder, requests=REQUESTS):
        """Visitors at the balancers' address."""
        return Crowd(self, folder, requests, LEISURE, self.door, DOMAIN)


class Door:
    """The address at which visitors find the site."""

    def __init__(self, address):
        self.address = address


def commit(fleet, tag):
    """A commit of the source, under a tag."""
    git = f"git -C {SOURCE} -c user.name=a -c user.email=a@b"
    fleet.run(f"{git} add . && {git} commit -qm {tag} && {git} tag {tag}")


def migration(fleet, name, before, *operations, late=False):
    """A migration of the source, which comes after another."""
    text = MIGRATION % (before, late, ", ".join(operations))
    fleet.host.write(f"{SOURCE}/guestbook/migrations/{name}.py", text)


def develop(fleet):
    """
    The source in git, at the master: v1; v2 without two of its columns, one of which it drops; v3
    that is never healthy; v4; v5, which drops the other column, and v6.
    """
    git, models = f"git -C {SOURCE}", "guestbook/models.py"
    fields = [FIELD % ("Add", name, "default='fine'") for name in ("mood", "note")]
    optional = [FIELD % ("Alter", name, "null=True") for name in ("mood", "note")]
    fleet.run("apt-get install -qy --no-install-recommends git")
    fleet.run(f"mkdir -p /srv/src && cp -r {CHECKOUT}/examples/guestbook {SOURCE}")
    fleet.run(f"{git} init -q -b main")
    change(fleet, models, SPAM, SPAM + MOOD + NOTE)
    migration(fleet, "0004_mood", "0003_heartbeat", *fields)
    commit(fleet, "v1")
    change(fleet, INDEX, "<h1>", "<h1>Second: ")
    change(fleet, models, MOOD + NOTE, "")
    migration(fleet, "0005_optional", "0004_mood", CARRIED_OUT, *optional)
    counted = COUNTED % ("v2 late", 0)
    migration(fleet, "0006_no_mood", "0005_optional", counted, REMOVED % "mood", late=True)
    commit(fleet, "v2")
    change(fleet, "guestbook/views.py", "status=200 if ok else 503", "status=404")
    commit(fleet, "v3")
    fleet.run(f"{git} checkout -q v2")
    migration(fleet, "0007_more", "0006_no_mood", COUNTED % ("v4", 0))
    migration(fleet, "0008_late", "0007_more", COUNTED % ("v4 late", 0), late=True)
    commit(fleet, "v4")
    migration(fleet, "0009_slow", "0008_late", COUNTED % ("v5", 6))
    counted = COUNTED % ("v5 late", 0)
    migration(fleet, "0010_no_note", "0009_slow", counted, REMOVED % "note", late=True)
    commit(fleet, "v5")
    fleet.run(f"echo '/* sixth */' >>{SOURCE}/guestbook/static/guestbook/guestbook.css")
    migration(fleet, "0011_late", "0010_no_note", COUNTED % ("v6 late", 0), late=True)
    commit(fleet, "v6")
    fleet.run("setsid git daemon --base-path=/srv/src --export-all --reuseaddr --detach")


@pytest.fixture(scope="module")
def bare():
    """Bare servers by name, each with a checkout."""
    image, found = ensure(NFS), {}

    def booted(name):
        return boot(name, image=image, bind=["/dev/fuse"])

    try:
        for name, host in zip(ROLES, at_once(booted, ROLES)):
            found[name] = Fleet(host) if name == MASTER else Server(host)
        # The host's own file system is one that no server can give out.
        found[MEDIA].run("mkdir /srv/media && mount -t tmpfs -o mode=711 tmpfs /srv/media")
        at_once(lambda server: put_checkout(server.host), found.values())
        yield found
    finally:
        at_once(lambda server: server.host.destroy(), found.values())


@pytest.fixture(scope="module")
def fleet(bare):
    """The master and its servers, but one, after two runs; ``passes`` has what these did."""
    fleet = bare[MASTER]
    fleet.servers, fleet.database = bare, bare[DATA]
    fleet.floating = fleet.host.address.rpartition(".")[0] + ".250"
    fleet.door = Door(fleet.floating)
    develop(fleet)
    fleet.means("v1", without=[NEW])
    fleet.host.write(f"{PILLAR_FOLDER}/top.sls", "base: {'*': [shop]}\n")
    fleet.become(PILLAR_FOLDER)
    known = [name for name in bare if name != NEW]
    at_once(lambda name: fleet.join(name, bare[name]), known)
    fleet.passes = [fleet.apply(), fleet.apply()]
    return fleet


def test_bare_servers_serve_after_two_runs(fleet):
    first, second = fleet.passes
    early = {name: failed for name, (_, failed) in first.items() if failed}
    assert set(early) <= {*WEB, WORKER, REPLICA}, early
    assert not {name: failed for name, (_, failed) in second.items() if failed}
    assert fleet.hosts_that_answer() == {FIRST, SECOND, THIRD}
    assert fleet.psql("SELECT count(*) FROM auth_user") == ["1"]


def test_another_run_changes_nothing(fleet):
    assert fleet.settle() == {}


def seen_from_outside(address):
    """Ports (set of int) that somebody finds open who is no server of the fleet."""
    scan = ["nmap", "-Pn", "-n", "-p-", "--min-rate", "6000", "--max-retries", "0", "--open"]
    done = subprocess.run([*scan, "-oG", "-", address], capture_output=True, text=True, check=True)
    return {int(port) for port in re.findall(r"(\d+)/open/tcp", done.stdout)}


def test_only_front_doors_are_seen_from_outside(fleet):
    """SSH's port is open, too, but no test host has anybody at it."""
    known = {name: server for name, server in fleet.servers.items() if name != NEW}
    found = at_once(lambda server: seen_from_outside(server.host.address), known.values())
    assert {name: ports for name, ports in zip(known, found) if ports} == {
        name: {80} for name in BALANCERS
    }


def test_session_of_one_server_is_one_of_another(fleet):
    """A visitor is known to each of them, once one has let him in."""
    visitor = Browser(fleet.door, DOMAIN)
    assert "Log out" not in visitor.get("/admin/").text
    assert visitor.login("/admin/login/", "admin", "one-for-all-servers").status_code == 302
    met = set()
    for _ in range(16):
        assert "Log out" in visitor.get("/admin/").text
        met.add(visitor.get("/whoami/").json()["hostname"])
    assert met == {FIRST, SECOND, THIRD}


# What a server answers at a path, in hexadecimal digits. Others than balancers cannot ask it.
FETCH = """
import sys, urllib.request
asked = urllib.request.Request(f"http://127.0.0.1{sys.argv[2]}", headers={"Host": sys.argv[1]})
print(urllib.request.urlopen(asked).read().hex())
"""


def test_upload_to_one_server_is_read_from_all(fleet):
    visitor = Browser(fleet.door, DOMAIN)
    files = {"picture": ("ada.png", picture(), "image/png")}
    signed = visitor.submit("/", {"name": "Ada", "message": "I was here."}, files=files)
    assert signed.status_code == 302
    (path,) = re.findall(r'<img class="avatar" src="([^"]+)"', visitor.get("/").text)
    assert visitor.get(path).content == picture()
    for name in (FIRST, SECOND, THIRD):
        fetched = fleet.servers[name].run(["python3", "-c", FETCH, DOMAIN, path]).stdout
        assert bytes.fromhex(fetched) == picture(), name


def test_release_that_drops_a_column_fails_no_request(fleet, tmp_path):
    """The old release reads and fills it, as long as any server serves that."""
    before = fleet.serving()[FIRST]
    fleet.means("v2", without=[NEW])
    with fleet.crowd(tmp_path) as crowd:
        done = fleet.order("django.deploy", "guestbook", "rev=v2")
    assert done.returncode == 0, done.stdout + done.stderr
    crowd.assert_all_served()
    serving = fleet.serving()
    assert set(crowd.report["releases"]) == {before, serving[FIRST]}
    assert len(set(serving.values())) == 1 and serving[FIRST] != before
    fleet.assert_carried_out_last("v2 late")
    assert fleet.psql("SELECT count(note) > 0 FROM guestbook_entry") == ["t"], "it was filled"
    assert re.search(rf"{WORKER} +{before} +{serving[WORKER]} +\d+ +done", done.stdout)
    told = [line.split(maxsplit=3)[-1] for line in done.stderr.splitlines() if "batch" in line]
    for name in (FIRST, SECOND, THIRD):
        mine = [line.removeprefix(f"{name}: ") for line in told if line.startswith(f"{name}: ")]
        assert [line.split("(")[0].strip() for line in mine] == [
            "drained",
            f"{serving[FIRST]} serves and is healthy",
            "back in the balancer",
        ]
    assert fleet.drained() == []


def test_nothing_is_left_to_deploy(fleet):
    serving = fleet.serving()
    assert fleet.obeyed("django.deploy", "guestbook").count("was there already") == len(serving)
    assert fleet.serving() == serving


def test_mistakes_are_told_before_anything_changes(fleet):
    fleet.means("v3, nonsense: 1", without=[NEW])
    said = fleet.refused("django.deploy", "guestbook")
    assert (
        f"{FIRST}, {SECOND}, {THIRD}, {WORKER}: django:projects:guestbook:source:nonsense: unknown"
        in said
    )


def test_bad_release_stops_at_the_first_server(fleet, tmp_path):
    before = fleet.serving()
    fleet.means("v3", without=[NEW])
    with fleet.crowd(tmp_path, REQUESTS // 2) as crowd:
        said = fleet.refused("django.deploy", "guestbook")
    crowd.assert_all_served()
    assert fleet.serving() == before and fleet.drained() == []
    assert "halted at: batch 1/3" in said and "answered 404" in said
    assert re.search(rf"{SECOND} .* not reached", said)


def test_deploy_that_is_killed_leaves_no_lock_and_the_next_goes_on(fleet):
    before = fleet.serving()[SECOND]
    fleet.means("v4", without=[NEW])
    fleet.run("setsid salt-run django.deploy guestbook reason='the fourth' >/tmp/out 2>&1 &")
    wait_for(lambda: f"{FIRST}: drained" in fleet.host.read("/tmp/out"), 120)
    fleet.run("pkill -STOP -f '[s]alt-run django.deploy'")
    assert "the fourth" in fleet.obeyed("django.lock_status")
    said = fleet.refused("django.deploy", "guestbook")
    assert "is being worked on by root" in said and "the fourth" in said
    fleet.run("pkill -KILL -f '[s]alt-run django.deploy'")
    assert fleet.obeyed("django.lock_status") == "Nothing is locked.\n"
    assert fleet.drained() == [FIRST] and fleet.serving()[SECOND] == before
    fleet.run("setsid salt-run django.deploy guestbook >/tmp/again 2>&1 &")
    # All web servers have the release then, and the worker is at it.
    wait_for(lambda: f"{THIRD}: back in the balancer" in fleet.host.read("/tmp/again"), 200)
    fleet.run("pkill -KILL -f '[s]alt-run django.deploy'")
    assert fleet.drained() == [] and fleet.serving()[THIRD] != before
    assert fleet.carried_out("v4 late") == [], "it waits for all servers"
    fleet.obeyed("django.deploy", "guestbook")
    assert fleet.drained() == [] and len(set(fleet.serving().values())) == 1
    assert fleet.serving()[SECOND] != before
    assert len(fleet.carried_out("v4")) == 1
    fleet.assert_carried_out_last("v4 late")


def test_all_go_back_and_stay_there(fleet, tmp_path):
    newest = fleet.serving()[FIRST]
    with fleet.crowd(tmp_path, REQUESTS // 2) as crowd:
        said = fleet.obeyed("django.rollback", "guestbook")
    crowd.assert_all_served()
    back = fleet.serving()
    assert len(set(back.values())) == 1 and back[FIRST] != newest
    assert "guestbook.0007_more" in said, "the database is ahead"
    assert fleet.settle(*back) == {} and fleet.serving() == back
    status = fleet.obeyed("django.status", "guestbook")
    assert status.count("held back") == len(back) and status.count(back[FIRST]) >= len(back)
    lines = fleet.obeyed("django.history", "guestbook").splitlines()[-len(back) :]
    assert {tuple(line.split()[1:3]) for line in lines} == set(back.items())


def test_operator_keeps_deploys_out(fleet):
    fleet.obeyed("django.lock", "guestbook", "reason=sale until Monday")
    assert "sale until Monday" in fleet.refused("django.deploy", "guestbook")
    assert "sale until Monday" in fleet.refused("django.rollback", "guestbook")
    fleet.obeyed("django.unlock", "guestbook")
    assert "django.release_allow" in fleet.refused("django.deploy", "guestbook")


def test_new_server_takes_traffic(fleet):
    """A line of the pillar, which lets it come to the master, and two runs for all."""
    fleet.means("v2")
    assert set(fleet.settle(MASTER)) == {MASTER}
    fleet.join(NEW, fleet.servers[NEW])
    early = {name: failed for name, (_, failed) in fleet.apply().items() if failed}
    assert set(early) <= {NEW}, early
    assert fleet.salt(NEW, "test.ping", patience=20) == {NEW: True}, "its firewall lets Salt in"
    fleet.settle()
    wait_for(lambda: NEW in fleet.hosts_that_answer(), 60)


def test_servers_pull_a_release_each_by_itself(fleet, tmp_path):
    """
    One of four at once migrates, and drops a column that no release reads any more, though a fifth
    still serves the old one.
    """
    before = fleet.serving()
    assert len(before) == 5
    fleet.means("v5")
    others = [server for name, server in fleet.sites.items() if name != FIRST]
    with fleet.crowd(tmp_path) as crowd:
        at_once(lambda server: server.apply(), others)
        assert fleet.serving()[FIRST] == before[FIRST]
        (dropped,) = fleet.carried_out("v5 late")
        fleet.servers[FIRST].apply()
    crowd.assert_all_served()
    after = fleet.serving()
    assert len(set(after.values())) == 1 and after[FIRST] != before[FIRST]
    assert len(fleet.carried_out("v5")) == 1 and fleet.carried_out("v5 late") == [dropped]
    since = fleet.serving_since(*fleet.sites)
    assert min(since) < dropped < max(since)


def test_server_that_is_cut_off_in_a_deploy_converges(fleet, tmp_path):
    before = fleet.serving()
    fleet.means("v6")
    order = "salt-run django.deploy guestbook >/tmp/out 2>&1; echo $? >/tmp/status"
    fleet.run(["sh", "-c", f"rm -f /tmp/status; : >/tmp/out; setsid sh -c '{order}' &"])
    wait_for(lambda: f"{FIRST}: drained" in fleet.host.read("/tmp/out"), 120)
    fleet.servers[SECOND].host.cut()
    wait_for(lambda: fleet.host.exists("/tmp/status"), 300)
    said = fleet.host.read("/tmp/out")
    assert fleet.host.read("/tmp/status") == "1\n" and f"{SECOND}: " in said, said
    assert fleet.hosts_that_answer() <= {FIRST, THIRD, NEW}
    styles = {STYLE.search(fleet.ask("/").text)[0] for _ in range(16)}
    assert len(styles) == 2, "pages of both releases are shown"
    for style in styles:
        assert {fleet.ask(style).status_code for _ in range(16)} == {200}, "on every server"
    serving = fleet.serving()
    assert serving[FIRST] != before[FIRST] and serving[SECOND] == before[SECOND]
    assert fleet.carried_out("v6 late") == []
    fleet.servers[SECOND].host.heal()
    back = {SECOND: True}
    wait_for(lambda: fleet.salt(SECOND, "test.ping", check=False, patience=5) == back, 120)
    fleet.obeyed("django.deploy", "guestbook")
    assert len(set(fleet.serving().values())) == 1 and fleet.drained() == []
    fleet.assert_carried_out_last("v6 late")
    wait_for(lambda: len(fleet.hosts_that_answer()) == len(WEB), 60)


def test_lost_server_is_missed_for_a_moment_only(fleet):
    lost = fleet.servers[SECOND].host
    assert_missed_for_a_moment_only(asked_while(fleet.floating, lost.power_cut, 4)[0])
    lost.power_on()


def owners(fleet):
    """The balancers that have the address now."""
    return [
        name
        for name in BALANCERS
        if f" {fleet.floating}/"
        in fleet.servers[name].run("ip -brief address").stdout.replace("\n", " ")
    ]


@pytest.mark.proves(
    "several servers",
    "two balancers with one address (Keepalived)",
    "moves within five seconds when the balancer that has it is lost or does not serve",
    on=["Debian 12"],
)
def test_address_of_a_lost_balancer_moves_within_seconds(fleet):
    (owner,) = owners(fleet)
    seen, cut = asked_while(fleet.floating, fleet.servers[owner].host.power_cut)
    well = [when for when, status in seen if status == "200"]
    first_after = next(when for when in well if when > cut + 0.5)
    assert first_after - cut <= 5, seen
    assert {status for when, status in seen if when > first_after} == {"200"}
    lost = fleet.servers[owner]
    lost.host.power_on()
    running = ["systemctl", "is-active", "--quiet", "haproxy", "keepalived"]
    wait_for(lambda: lost.run(running, check=False).returncode == 0, 60)
    (other,) = owners(fleet)
    assert other != owner, "it does not come back by itself"
    wait_for(lambda: fleet.ask(address=lost.host.address).status_code == 200, 60)
    fleet.servers[other].run("systemctl stop haproxy")
    wait_for(lambda: owners(fleet) == [owner], 10)
    assert fleet.ask().status_code == 200
    fleet.servers[other].assert_mended("HAProxy runs")


def test_server_that_leaves_is_shut_out(fleet):
    """It may be lost, or in other hands: nothing is done on it."""
    fleet.obeyed("django.drain", NEW)
    fleet.means("v6", without=[NEW])
    changed = fleet.settle(*BALANCERS, CACHE, DATA, MEDIA)
    assert set(changed) == {*BALANCERS, CACHE, DATA, MEDIA}
    assert fleet.drained() == [] and fleet.hosts_that_answer() == {FIRST, SECOND, THIRD}
    for name in (DATA, CACHE, MEDIA):
        host = fleet.servers[name].host
        (port,) = host.run(
            f"ss -Hltn src {host.address} | grep -oP ':\\K\\d+(?= +(0.0.0.0|\\*))'"
        ).stdout.split()
        connect = f"timeout 3 bash -c 'exec 3<>/dev/tcp/{host.address}/{port}'"
        assert fleet.servers[FIRST].run(connect, check=False).returncode == 0, port
        assert fleet.servers[NEW].run(connect, check=False).returncode == 124, port


def test_replica_takes_the_place_of_a_lost_database(fleet):
    written = fleet.psql("SELECT count(*) FROM guestbook_entry")
    replica = fleet.servers[REPLICA]
    wait_for(
        lambda: replica.psql("SELECT count(*) FROM guestbook_entry", "guestbook") == written, 20
    )
    fleet.database.host.power_cut()
    promoted = fleet.salt(REPLICA, "django.promote", "force=True")[REPLICA]
    assert promoted["changes"], promoted
    fleet.means("v6", without=[NEW], roles={DATA: "[replica]", REPLICA: "[database]"})
    fleet.settle(REPLICA, *fleet.sites)
    fleet.database = replica
    assert fleet.psql("SELECT count(*) FROM guestbook_entry") == written
    wait_for(lambda: fleet.hosts_that_answer() == {FIRST, SECOND, THIRD}, 60)
    old = fleet.servers[DATA]
    old.host.power_on()
    state = old.run("systemctl is-active postgresql@15-main", check=False).stdout
    assert state == "failed\n", "it was replaced"


def test_server_that_does_not_answer_is_told_before_anything_changes(fleet):
    before = fleet.serving()
    fleet.servers[SECOND].run("systemctl stop salt-minion")
    said = fleet.refused("django.deploy", "guestbook")
    assert f"{SECOND}: does not answer" in said and fleet.serving() == before
