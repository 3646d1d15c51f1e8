"""
A release on all servers of a project by one order on their master: two that serve behind a
balancer, and the master's own, which has the balancer, the data and the workers.
"""

import json
import re

import pytest

from test.hosts import boot

from .crowd import Crowd
from .fleet import DOMAIN
from .guestbook import INDEX, SOURCE, change
from .machines import ensure
from .server import CHECKOUT, Server, documented, put_checkout, wait_for

pytestmark = pytest.mark.proves(
    "several servers",
    "releases from a master (salt-run django.deploy)",
    "server by server out of the balancer without a failed request; a bad release stops at the "
    "first; killed, the next goes on; rollback, locks, history",
    on=["Debian 12"],
)

SALT, FORMULA = "/opt/django-formula/salt/bin", "/srv/django-formula"
KEYS = "/etc/salt/pki"
MASTER, FIRST, SECOND = "int-fl-master", "int-fl-web1", "int-fl-web2"
ROLES = {
    MASTER: "[balancer, database, cache, worker]",
    FIRST: "[app, web]",
    SECOND: "[app, web]",
}
REQUESTS, LEISURE = 500, 4
PILLAR = """\
django:
  hosts: {%s}
  projects:
    guestbook:
      source: {git: 'git://%s/guestbook', rev: %s}
      settings: config.settings
      domains: [%s]
      health: {path: /healthz/}
      processes: {heart: {manage: heartbeat}}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
      database: {password: the-database-s-password}
      cache: {password: the-cache-s-password}
      secrets: {SECRET_KEY: all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz}
"""
MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [migrations.RunSQL("CREATE TABLE carried_out (by text)", "DROP TABLE carried_out")]
"""


class Fleet(Server):
    """The master, who gives orders; ``servers`` are all, itself too, by name."""

    def means(self, rev):
        """Write the pillar."""
        hosts = ", ".join(
            f"{name}: {{address: {server.host.address}, roles: {ROLES[name]}}}"
            for name, server in self.servers.items()
        )
        text = PILLAR % (hosts, self.host.address, rev, DOMAIN)
        self.host.write("/srv/pillar/shop.sls", text)

    def order(self, *words):
        """An order to a runner (its outcome)."""
        return self.run([f"{SALT}/salt-run", *words], check=False, timeout=400)

    def obeyed(self, *words):
        """What an order says (str) that is carried out."""
        done = self.order(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def refused(self, *words):
        """What an order says (str) that fails."""
        done = self.order(*words)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return done.stdout

    def apply_all(self):
        """``state.apply`` on all servers: what it changed and what failed (list of IDs)."""
        argv = [f"{SALT}/salt", "--timeout", "300", "--out", "json", "--static", "*", "state.apply"]
        answers = self.run(argv, check=False, timeout=400)
        results = json.loads(answers.stdout)
        assert all(isinstance(results[name], dict) for name in ROLES), results
        return [
            f"{name}: {result['__id__']}: {result['comment']}"
            for name, found in results.items()
            for result in found.values()
            if result["changes"] or result["result"] is False
        ]

    def serving(self):
        """The release of each server (dict)."""
        return {name: server.live()[0] for name, server in self.servers.items()}

    def drained(self):
        """Who is out of the balancer (list)."""
        argv = [f"{SALT}/salt", "--out", "json", "--static", MASTER, "django.drained"]
        return json.loads(self.run(argv).stdout)[MASTER]


def join(master, host, name):
    """Make a server a minion; it and the master know each other's key before they meet."""
    text = f"id: {name}\nmaster: {master.address}\nenable_gpu_grains: False\n"
    host.write("/etc/salt/minion.d/django-formula.conf", text)
    host.run(f"mkdir -p {KEYS}/minion")
    host.run(f"{SALT}/salt-key --gen-keys minion --gen-keys-dir {KEYS}/minion")
    master.write(f"{KEYS}/master/minions/{name}", host.read(f"{KEYS}/minion/minion.pub"))
    host.write(f"{KEYS}/minion/minion_master.pub", master.read(f"{KEYS}/master/master.pub"))
    host.run(f"setsid {SALT}/salt-minion -d")


def develop(fleet):
    """The source in git, at the master: v1, v2, v3 that is never healthy, and v4."""
    git = f"git -C {SOURCE} -c user.name=a -c user.email=a@b"
    fleet.run("apt-get install -qy --no-install-recommends git")
    fleet.run(f"mkdir -p /srv/src && cp -r {FORMULA}/examples/guestbook {SOURCE}")
    fleet.run(f"{git} init -q -b main && {git} add . && {git} commit -qm 1 && {git} tag v1")
    change(fleet, INDEX, "<h1>", "<h1>Second: ")
    fleet.run(f"{git} commit -qam 2 && {git} tag v2")
    change(fleet, "guestbook/views.py", "status=200 if ok else 503", "status=404")
    fleet.run(f"{git} commit -qam 3 && {git} tag v3 && {git} checkout -q v2")
    fleet.host.write(f"{SOURCE}/guestbook/migrations/0004_more.py", MIGRATION)
    fleet.run(f"{git} add . && {git} commit -qm 4 && {git} tag v4")
    fleet.run("setsid git daemon --base-path=/srv/src --export-all --reuseaddr --detach")


@pytest.fixture(scope="module")
def fleet():
    """A master that has brought v1 to all of its servers, itself too, by ``state.apply``."""
    image = ensure("bookworm-ready")
    with (
        boot(MASTER, image=image) as master,
        boot(FIRST, image=image) as first,
        boot(SECOND, image=image) as second,
    ):
        fleet = Fleet(master)
        hosts = {MASTER: master, FIRST: first, SECOND: second}
        fleet.servers = {name: Server(host) for name, host in hosts.items()}
        put_checkout(master, FORMULA)
        text = documented("docs/operations.md", "file_roots:\n  base: [/srv/django-formula")
        master.write("/etc/salt/master.d/django-formula.conf", text)
        master.write("/srv/pillar/top.sls", "base: {'*': [shop]}\n")
        fleet.means("v1")
        develop(fleet)
        master.run(f"setsid {SALT}/salt-master -d")
        wait_for(lambda: master.exists(f"{KEYS}/master/master.pub"), 60)
        for name, host in hosts.items():
            host.run(f"rm -rf {CHECKOUT} /etc/salt/minion.d/*")
            join(master, host, name)
        ping = f"{SALT}/salt --timeout 5 --out txt '*' test.ping"
        wait_for(lambda: fleet.run(ping, check=False).stdout.count(": True") == len(hosts), 60)
        fleet.apply_all()
        assert not [line for line in fleet.apply_all() if "failed" in line]
        yield fleet


def test_release_fails_no_request(fleet, tmp_path):
    before = fleet.serving()[FIRST]
    fleet.means("v2")
    with Crowd(fleet, tmp_path, REQUESTS, LEISURE, fleet.host, DOMAIN) as crowd:
        done = fleet.order("django.deploy", "guestbook", "rev=v2")
    assert done.returncode == 0, done.stdout + done.stderr
    crowd.assert_all_served()
    serving = fleet.serving()
    assert set(crowd.report["releases"]) == {before, serving[FIRST]}
    assert len(set(serving.values())) == 1 and serving[FIRST] != before
    assert re.search(rf"{MASTER} +{before} +{serving[MASTER]} +\d+ +done", done.stdout)
    told = [line.split(maxsplit=3)[-1] for line in done.stderr.splitlines() if "batch" in line]
    for name in (FIRST, SECOND):
        mine = [line.removeprefix(f"{name}: ") for line in told if line.startswith(f"{name}: ")]
        assert [line.split("(")[0].strip() for line in mine] == [
            "drained",
            f"{serving[FIRST]} serves and is healthy",
            "back in the balancer",
        ]
    assert fleet.drained() == []


def test_nothing_is_left_to_do(fleet):
    serving = fleet.serving()
    assert fleet.obeyed("django.deploy", "guestbook").count("was there already") == 3
    assert fleet.serving() == serving
    assert fleet.apply_all() == []


def test_mistakes_are_told_before_anything_changes(fleet):
    fleet.means("v3, nonsense: 1")
    said = fleet.refused("django.deploy", "guestbook")
    assert (
        f"{MASTER}, {FIRST}, {SECOND}: django:projects:guestbook:source:nonsense: unknown" in said
    )


def test_bad_release_stops_at_the_first_server(fleet, tmp_path):
    before = fleet.serving()
    fleet.means("v3")
    with Crowd(fleet, tmp_path, REQUESTS // 2, LEISURE, fleet.host, DOMAIN) as crowd:
        said = fleet.refused("django.deploy", "guestbook")
    crowd.assert_all_served()
    assert fleet.serving() == before and fleet.drained() == []
    assert "halted at: batch 1/2" in said and "answered 404" in said
    assert re.search(rf"{SECOND} .* not reached", said)


def test_deploy_that_is_killed_leaves_no_lock_and_the_next_goes_on(fleet):
    before = fleet.serving()[SECOND]
    fleet.means("v4")
    fleet.run(
        f"setsid {SALT}/salt-run django.deploy guestbook reason='the fourth' >/tmp/out 2>&1 &"
    )
    wait_for(lambda: f"{FIRST}: drained" in fleet.host.read("/tmp/out"), 120)
    fleet.run("pkill -STOP -f '[s]alt-run django.deploy'")
    assert "the fourth" in fleet.obeyed("django.lock_status")
    said = fleet.refused("django.deploy", "guestbook")
    assert "is being worked on by root" in said and "the fourth" in said
    fleet.run("pkill -KILL -f '[s]alt-run django.deploy'")
    assert fleet.obeyed("django.lock_status") == "Nothing is locked.\n"
    assert fleet.drained() == [FIRST] and fleet.serving()[SECOND] == before
    fleet.obeyed("django.deploy", "guestbook")
    assert fleet.drained() == [] and len(set(fleet.serving().values())) == 1
    assert fleet.serving()[SECOND] != before
    assert fleet.psql("SELECT count(*) FROM carried_out", "guestbook") == ["0"]


def test_all_go_back_and_stay_there(fleet):
    newest = fleet.serving()[FIRST]
    said = fleet.obeyed("django.rollback", "guestbook")
    back = fleet.serving()
    assert len(set(back.values())) == 1 and back[FIRST] != newest
    assert "guestbook.0004_more" in said, "the database is ahead"
    assert fleet.apply_all() == [] and fleet.serving() == back
    status = fleet.obeyed("django.status", "guestbook")
    assert status.count("held back") == 3 and status.count(back[FIRST]) >= 3
    lines = fleet.obeyed("django.history", "guestbook").splitlines()[-len(ROLES) :]
    assert {tuple(line.split()[1:3]) for line in lines} == set(back.items())


def test_operator_keeps_deploys_out(fleet):
    fleet.obeyed("django.lock", "guestbook", "reason=sale until Monday")
    assert "sale until Monday" in fleet.refused("django.deploy", "guestbook")
    assert "sale until Monday" in fleet.refused("django.rollback", "guestbook")
    fleet.obeyed("django.unlock", "guestbook")
    assert "django.release_allow" in fleet.refused("django.deploy", "guestbook")


def test_server_that_does_not_answer_is_told_before_anything_changes(fleet):
    fleet.means("v1")
    before = fleet.serving()
    fleet.servers[SECOND].run("pkill -9 -f '[s]alt-minion'")
    said = fleet.refused("django.deploy", "guestbook")
    assert f"{SECOND}: does not answer" in said and fleet.serving() == before
