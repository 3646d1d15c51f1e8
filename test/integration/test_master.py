"""
Servers of a Salt master, bare until then but for one that served alone: the master has the formula
and the pillar of all, and tells each what its roles need. One gets to know it by fingerprints, of
which the first are wrong; another's key and the master's are exchanged by other ways. Then the
fleet goes on by pulls, of both kinds, and comes back; and one server of it becomes another
environment's.
"""

import contextlib
import json
import re

import pytest

from test.hosts import boot

from . import environments as example
from .environments import OPERATIONS
from .fleet import at_once, hosts
from .guestbook import INDEX, no_failed_request
from .machines import SITE, ensure
from .master import PKI, Master, told
from .origin import Origin
from .server import (
    CHANGED,
    CHECKOUT,
    ROOT,
    Browser,
    Server,
    documented,
    put_checkout,
    told_of,
    wait_for,
)

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.proves(
        "several servers",
        "Salt master and minions",
        "bare servers serve after two runs; a third changes nothing; releases; secrets by roles",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "several servers",
        "`bootstrap --master`, `--minion`, `django.accept`",
        "keys of other fingerprints are refused on both sides; again is no change",
        on=["Debian 12"],
    ),
]

other_ways = pytest.mark.proves(
    "several servers",
    "from a master's orders to pulls, and back",
    "a whole fleet goes on by minions that apply by themselves, then without a master from git: no "
    "change but of the way itself; a release each, one migration, no failed request",
    on=["Debian 12"],
)
several_environments = pytest.mark.proves(
    "several servers",
    "staging and production of one master",
    "secrets encrypted; no server holds one that its roles in its environment do not need, nor "
    "gets it by asking; a change of one value is one of that environment's servers alone",
    on=["Debian 12"],
)

PILLAR = "/srv/pillar"
MASTER, DATA, STATIC = "int-master", "int-mdata", "int-mstatic"
SITES = WEB, SECOND = "int-mweb1", "int-mweb2"
ROLES = {
    DATA: "[database, cache]",
    STATIC: "[static]",
    **dict.fromkeys(SITES, "[app, web, worker]"),
}
DOMAIN, STYLE = "static.example.org", "guestbook/static/guestbook/guestbook.css"
WRONG = ":".join(["0f"] * 32)
SECRETS = {
    "database": "the-database-s-password",
    "cache": "the-cache-s-password",
    "application": "all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz",
    "superuser": "the-password-of-the-superuser",
}
# Files of secrets by the servers that have a use for them, and the keys of a project in some.
NEEDED = {
    DATA: {"database", "cache"},
    STATIC: {"application"},
    **dict.fromkeys(SITES, {"application", "superuser", "database", "cache"}),
}
KEYS = {"secrets": "application", "database": "database", "cache": "cache"}
SCHEDULE = {"apply": {"function": "state.apply", "seconds": 15, "splay": 5}}
PULLS = ["what to pull is known", "pulls can be made (3)", "pulls have a timer", "pulls are made"]
STAGING = "[app, web, static, worker, database, cache]"
NOTHING = {name: ([], []) for name in ROLES}
HOSTS = "django: {hosts: {%s}}"
SHOP = """\
django:
  projects:
    guestbook:
      source: {git: '%s'}
      settings: config.settings
      domains: [%s]
      static: {domains: [static.example.org]}
      broker: {engine: redis}
      app: {workers: 2}
      health: {path: /healthz/}
      superuser: {username: admin, email: admin@example.org}
      env: {DJANGO_TEST_ENDPOINTS: '1', PAYMENT_HEADER: 'Bearer @{secrets.PAYMENT_TOKEN}'}
"""
FILES = {
    "database": "{database: {password: %s}}",
    "cache": "{cache: {password: %s}, broker: {password: that-of-the-broker}}",
    "application": "{secrets: {SECRET_KEY: %s, PAYMENT_TOKEN: is-not-asked-for}}",
    "superuser": "{superuser: {password: %s}}",
}
# It comes after another one, tells in a table what it was called, and takes some seconds.
MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "%s")]
    operations = [
        migrations.RunSQL("CREATE TABLE IF NOT EXISTS carried_out (by text)", "SELECT 1"),
        migrations.RunSQL("INSERT INTO carried_out SELECT '%s' || pg_sleep(4)", "SELECT 1"),
    ]
"""


class Fleet(Master):
    """The master, and the ``servers`` that it orders about, by name; they fetch from ``origin``."""

    def means(self, rev, pull=None, **more):
        """
        Commit which revision the pillar means, and what else is in it, and let the master have it.
        """
        django = {"projects": {"guestbook": {"source": {"rev": rev}}}}
        if pull:
            django["pull"] = pull
        text = json.dumps({"django": django, **more})
        self.origin.commit("pillar", {"environment.sls": text})
        self.run(f"git -C {PILLAR} pull -q")

    def develop(self, tag, after=None):
        """A release of this name, with a slow migration where one is named to come after."""
        page = (self.origin.folder / "guestbook" / INDEX).read_text()
        files = {INDEX: re.sub("<h1>.*?</h1>", f"<h1>{tag}</h1>", page)}
        if after:
            files[f"guestbook/migrations/{tag}.py"] = MIGRATION % (after, tag)
        self.origin.commit("guestbook", files, tag=tag)

    def on_all(self, function):
        """What a function of a name and its server returns for all of them, all at once."""
        return at_once(lambda item: function(*item), self.servers.items())

    @property
    def sites(self):
        """The servers that run the project (list)."""
        return [self.servers[name] for name in SITES]

    def titles(self):
        """What visitors of each see (set of str)."""
        return {re.search("<h1>(.*?)</h1>", site.host.get("/").text)[1] for site in self.sites}

    def wait_for_all(self):
        """Wait until all are at the master's orders."""
        everyone = dict.fromkeys(self.servers, True)
        wait_for(lambda: self.salt("*", "test.ping", check=False, patience=5) == everyone, 120)


def write_pillar(fleet):
    """The pillar of all in git, by the example's top file, and a checkout of it on the master."""
    addresses = ", ".join(site.host.address for site in fleet.sites)
    secrets = {
        f"secrets/{name}.sls": f"django: {{projects: {{guestbook: {text % SECRETS[name]}}}}}"
        for name, text in FILES.items()
    }
    files = {
        "top.sls": (ROOT / "examples/environments/common/top.sls").read_text(),
        "hosts.sls": HOSTS % hosts(fleet.servers, ROLES),
        "shop.sls": SHOP % (fleet.origin.url("guestbook"), addresses),
        **secrets,
    }
    fleet.origin.commit("pillar", files)
    fleet.run(["git", "clone", "-q", fleet.origin.url("pillar"), PILLAR])
    fleet.means("v1")


def is_running(server):
    """Whether a server's minion runs."""
    asked = server.run("systemctl is-active salt-minion", check=False)
    return asked.stdout.strip() == "active"


def exchange_keys(master, web):
    """Give a server a key that the master has accepted, and the master's own."""
    block = documented(OPERATIONS, "--gen-keys web1").replace("web1", WEB)
    generate, accept = block.splitlines()[:2]
    master.run(f"{generate} && {accept}")
    for source, name in re.findall(r"^scp -p (\S+) \S+/([\w.]+)$", block, re.M):
        mode = int(master.run(["stat", "-c", "%a", source]).stdout, 8)
        web.write(f"{PKI}/minion/{name}", master.read(source), mode=mode)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Bare servers and one with the example site; the repository is on each."""
    ready = ensure("bookworm-ready")
    with contextlib.ExitStack() as stack:
        origin = stack.enter_context(Origin(tmp_path_factory.mktemp("origin")))
        origin.put_guestbook()
        found = {}
        for name in (MASTER, *ROLES):
            image = ensure(SITE) if name == SECOND else ready
            host = stack.enter_context(boot(name, image=image))
            put_checkout(host)
            found[name] = Fleet(host) if name == MASTER else Server(host)
        found[MASTER].origin = origin
        found[MASTER].servers = {name: found[name] for name in ROLES}
        write_pillar(found[MASTER])
        yield found


@pytest.fixture(scope="module")
def master(bare):
    """The master; ``words`` are those that it told for another server."""
    made = bare[MASTER]
    predicted = made.bootstrap("--master", PILLAR, "--test").stdout
    assert "salt-master is started" in predicted and not made.host.exists("/etc/salt/master.d")
    said = made.become(PILLAR)
    assert f"NAME is the server's in django:hosts ({', '.join(ROLES)})." in said
    return made


@pytest.fixture(scope="module")
def fleet(master):
    """The master and the servers that it orders about, with nothing of its pillar on them yet."""
    data, web = master.servers[DATA], master.servers[WEB]
    fingerprint = told(data.bootstrap(*master.words, DATA).stdout)
    again = data.bootstrap(*master.words, DATA).stdout
    assert "No changes" in again and told(again) == fingerprint
    exchange_keys(master.host, web.host)
    web.bootstrap("--minion", master.host.address, "--id", WEB)
    for name in (STATIC, SECOND):
        master.join(name, master.servers[name])
    # It served alone, with a SECRET_KEY of its own.
    master.servers[SECOND].run("rm /srv/django/guestbook/names.json")
    for server in master.servers.values():
        server.run(["rm", "-r", CHECKOUT])
    master.wait_for_all()
    nothing = f"{DATA} is accepted already: nothing to do"
    assert master.obeyed("django.accept", DATA, fingerprint).strip() == nothing
    master.data, master.web, master.static = data, web, master.servers[STATIC]
    return master


def test_a_master_is_one_only_once(master):
    for words in ([PILLAR], [PILLAR, "--test"], []):
        said = master.bootstrap("--master", *words).stdout
        assert "No changes" in said or "Nothing would change" in said, said


def test_keys_of_other_fingerprints_are_refused_on_both_sides(master):
    """What the server was told of the master cannot be known there, but that it does not come."""
    data, words = master.servers[DATA], [*master.words, DATA]
    words[3] = WRONG
    fingerprint = told(data.bootstrap(*words).stdout)
    assert fingerprint == data.call("--local", "key.finger")
    wait_for(lambda: master.keys("unaccepted") == [DATA], 60)
    refused = master.refused("django.accept", DATA, WRONG)
    assert refused.startswith(f"the key of {DATA} that waits here has another fingerprint")
    assert fingerprint in refused and master.keys("accepted") == []
    late = master.refused("django.accept", DATA, fingerprint, "wait=15")
    assert late.startswith(f"{DATA} is accepted, but did not come within 15 seconds.")
    wait_for(lambda: not is_running(data), 60)
    again = data.bootstrap(*words, check=False)
    assert again.returncode == 2
    assert f"has the fingerprint {master.words[3]}, and not {WRONG}" in again.stdout


def test_bare_servers_serve_after_two_runs_at_most(fleet):
    first = fleet.apply()
    changed, failed = first[DATA]
    assert "PostgreSQL runs" in changed and failed == []
    assert "Nginx runs" in first[STATIC][0] and first[STATIC][1] == [], "it needs no database"
    early = [failed[0] for _, failed in first.values() if failed]
    if early:
        assert set(early) == {"guestbook: release is checked"}, "the database was not there yet"
        assert all(failed == [] for _, failed in fleet.apply().values())
    answer = fleet.web.host.get("/")
    assert answer.status == 200 and "guestbook" in answer.text.lower()
    assert fleet.data.psql("SELECT count(*) > 9 FROM django_migrations", "guestbook") == ["t"]


def test_another_run_changes_nothing(fleet):
    assert fleet.apply("test=True") == NOTHING
    assert fleet.apply() == NOTHING


def test_server_knows_the_secrets_of_its_roles(fleet):
    """Salt may show stars in place of the values."""
    for name, pillar in fleet.salt("*", "pillar.items").items():
        project = pillar["django"]["projects"]["guestbook"]
        assert {file for key, file in KEYS.items() if key in project} == NEEDED[name] - {
            "superuser"
        }


def test_release_from_the_master_fails_no_request(fleet):
    fleet.develop("v2")
    fleet.means("v2")
    with no_failed_request(fleet.web):
        found = fleet.apply()
    for name in SITES:
        assert "guestbook: release is live" in found[name][0] and found[name][1] == []
    assert fleet.titles() == {"v2"}


def test_orders_are_answered(fleet):
    assert fleet.salt(WEB, "django.status")[WEB]["guestbook"]["healthy"] is True
    wrong = fleet.salt(WEB, "django.status", "guestbok", check=False)[WEB]
    assert "guestbook" in wrong and "Traceback" not in wrong
    back = fleet.salt(f"L@{STATIC},{','.join(SITES)}", "django.rollback", "guestbook")
    assert all(isinstance(answer, dict) for answer in back.values())
    assert "v2" not in fleet.titles()


def test_results_that_the_master_keeps_have_no_secret(fleet):
    kept = "/var/cache/salt/master/jobs"
    assert fleet.run(f"grep -rlF 'release is live' {kept}").stdout, "there are results"
    patterns = " ".join(f"-e {secret}" for secret in SECRETS.values())
    assert fleet.run(f"grep -rlF {patterns} {kept}", check=False).stdout == ""


def style(fleet):
    """The path of the style that the site's page wants from the domain of static files."""
    return re.search(rf'"http://{DOMAIN}(/static/.+?\.css)"', fleet.web.host.get("/").text)[1]


def asked(fleet, path):
    """What the host for static files answers (a status)."""
    return Browser(fleet.static.host, DOMAIN).get(path).status_code


@pytest.mark.proves(
    "several servers",
    "hosts for static files alone, from a master",
    "a deploy brings their files before web servers change and all go back together; they are told "
    "no password",
    on=["Debian 12"],
)
def test_static_files_come_first_in_a_deploy_and_go_back_with_all(fleet):
    old, before = style(fleet), fleet.web.live()[0]
    assert fleet.static.live()[0] == before, "one source is one release"
    text = (fleet.origin.folder / "guestbook" / STYLE).read_text()
    fleet.origin.commit("guestbook", {STYLE: f"{text}/* more */"}, tag="styled")
    fleet.means("styled")
    done = fleet.order("django.deploy", "guestbook")
    assert done.returncode == 0, done.stdout + done.stderr
    new, now = style(fleet), fleet.web.live()[0]
    assert new != old and fleet.static.live()[0] == now != before
    prepared, switched, followed = (
        done.stderr.index(words)
        for words in ("is ready on 3 servers", f"{SECOND}: {now} serves", f"{STATIC}: {now} serves")
    )
    assert prepared < switched < followed
    assert {asked(fleet, path) for path in (old, new)} == {200}
    fleet.obeyed("django.rollback", "guestbook")
    assert fleet.static.live()[0] == fleet.web.live()[0] == before
    assert style(fleet) == old and {asked(fleet, path) for path in (old, new)} == {200}


def scheduled(fleet):
    """Runs of the states that servers began by themselves (dict of their names by JID)."""
    words = ["jobs.list_jobs", "search_function=state.apply", "--out", "json"]
    listed = json.loads(fleet.obeyed(*words)).items()
    return {run: told["Target"] for run, told in listed if isinstance(told["Target"], str)}


def are_idle(fleet):
    """Whether no server has a schedule, or applies states."""
    schedules = fleet.salt("*", "schedule.list", "return_yaml=False")
    return not any("apply" in each for each in schedules.values()) and not any(
        fleet.salt("*", "saltutil.is_running", "state.*").values()
    )


def released(fleet, tag, before, begin):
    """A release comes to all by themselves, with one more migration and no failed request."""
    fleet.develop(tag, before)
    with no_failed_request(fleet.sites[0]), no_failed_request(fleet.sites[1]):
        begin()
        wait_for(lambda: fleet.titles() == {tag}, 180)
    assert fleet.data.psql("SELECT by FROM carried_out", "guestbook").count(tag) == 1


@other_ways
def test_fleet_applies_by_a_schedule_and_comes_back(fleet):
    fleet.means("v1")
    assert fleet.apply() == NOTHING
    fleet.means("v1", schedule=SCHEDULE)
    fleet.salt("*", "saltutil.refresh_pillar")
    wait_for(lambda: set(scheduled(fleet).values()) == set(ROLES), 120)
    for run in scheduled(fleet):
        came = told_of(json.loads(fleet.obeyed("jobs.lookup_jid", run, "--out", "json")))
        assert all(told == ([], []) for told in came.values()), came
    released(fleet, "v3", "0003_heartbeat", lambda: fleet.means("v3", schedule=SCHEDULE))
    fleet.means("v3")
    fleet.salt("*", "saltutil.refresh_pillar")
    wait_for(lambda: are_idle(fleet), 60)
    assert fleet.apply() == NOTHING


@other_ways
def test_fleet_pulls_without_the_master_and_comes_back(fleet):
    url = fleet.origin.url("pillar")
    pull = {"pillar": {"git": url, "rev": "main"}}
    fleet.means("v3", pull)
    assert fleet.apply() == NOTHING
    block = documented(OPERATIONS, "disable --now salt-minion")
    block = block.replace("production git@git.example.org:pillar.git", f"main {url}")

    def leave(name, server):
        put_checkout(server.host)
        script = "cd /root\n" + block.replace("web1", name)
        return CHANGED.findall(server.run(["sh", "-ec", script]).stdout)

    assert fleet.on_all(leave) == [PULLS] * len(ROLES)

    def begin():
        fleet.means("v4", pull)
        fleet.on_all(lambda name, server: server.run("systemctl start django-pull"))

    released(fleet, "v4", "v3", begin)
    fleet.on_all(lambda name, server: server.run("systemctl is-active django-pull.timer"))
    fleet.on_all(lambda name, server: server.bootstrap(*fleet.words, name))
    fleet.wait_for_all()
    assert fleet.apply() == {
        name: (["projects that left the pillar do not run"], []) for name in ROLES
    }
    assert fleet.apply() == NOTHING


@pytest.fixture(scope="module")
def environments(fleet):
    """
    The master of two environments, the fleet's second site alone in staging; ``passes`` has what
    two runs did.
    """
    staging = {SECOND: fleet.servers[SECOND]}
    production = {name: server for name, server in fleet.servers.items() if name != SECOND}
    own = {
        "common/shop.sls": SHOP % (fleet.origin.url("guestbook"), ""),
        "staging/hosts.sls": HOSTS % hosts(staging, {SECOND: STAGING}),
        "production/hosts.sls": HOSTS % hosts(production, ROLES),
    }
    words = {
        "    shop:": "    guestbook:",
        "rev: main": "rev: v4",
        "rev: v1.4.2": "rev: v4",
        "static.shop.example.org": DOMAIN,
        "staging.shop.example.org": fleet.servers[SECOND].host.address,
        "shop.example.org": fleet.web.host.address,
    }
    fleet.run(f"rm -rf {PILLAR} && mkdir -m 0700 {PILLAR}")
    example.write(fleet, PILLAR, own, words)
    assert fleet.run(f"grep -rl change-this {PILLAR}", check=False).stdout == ""
    example.serve(fleet)
    fleet.wait_for_all()
    assert "No changes" in fleet.bootstrap("--master").stdout
    fleet.passes = [fleet.apply(), fleet.apply()]
    return fleet


@several_environments
def test_server_holds_the_secrets_of_its_roles_and_environment(environments):
    """Also where it asks for more."""
    for name, pillar in environments.salt("*", "pillar.items", "unmask=True").items():
        environment = "staging" if name == SECOND else "production"
        needed = {(environment, key) for file in NEEDED[name] for key in example.KEPT[file]}
        assert example.held(pillar) == needed, name
    second = environments.servers[SECOND]
    claimed = f"pillarenv: production\ngrains: {{id: {DATA}, roles: [database]}}\n"
    second.host.write("/etc/salt/minion.d/claimed.conf", claimed)
    found = second.call("pillar.items", "unmask=True")
    assert set(found["django"]["hosts"]) == {DATA, STATIC, WEB} and example.held(found) == set()
    second.run("rm /etc/salt/minion.d/claimed.conf")


@several_environments
def test_change_of_a_value_is_one_of_its_environment_alone(environments):
    assert environments.passes[1] == NOTHING
    path = f"{PILLAR}/staging/environment.sls"
    text = environments.host.read(path)
    environments.host.write(path, text.replace("pay-sandbox", "pay-rehearsal"), mode=0o600)
    foretold = environments.salt("*", "state.apply", "test=True", check=False)
    told = told_of(foretold)
    changed, failed = told[SECOND]
    assert "guestbook: release is live" in changed and failed == []
    assert told == {**NOTHING, SECOND: told[SECOND]}
    assert environments.apply() == told
    code = "import os; print(os.environ['PAYMENT_URL'])"
    said = [
        site.run(["django-manage", "guestbook", "shell", "-c", code]) for site in environments.sites
    ]
    assert [each.stdout.split()[-1] for each in said] == [
        "https://pay.example.org/",
        "https://pay-rehearsal.example.org/",
    ]


@pytest.mark.proves(
    "several servers",
    "a checkout of the formula for staging alone",
    "its servers get the files and modules of that one, those of production change nothing",
    on=["Debian 12"],
)
def test_environment_has_a_checkout_of_its_own(environments):
    block = documented(OPERATIONS, "staging: [/srv/formula-staging/salt")
    environments.run(f"cp -r {CHECKOUT} /srv/formula-staging")
    template = "/srv/formula-staging/salt/django/web/files/etc/nginx/nginx.conf.j2"
    environments.run(["sed", "-i", "s/^# Written by/# For staging, written by/", template])
    module = "/srv/formula-staging/_modules/django_newest.py"
    environments.host.write(module, 'def told():\n    return "for staging"\n')
    environments.host.write("/etc/salt/master.d/formulas.conf", block)
    environments.run("systemctl restart salt-master")
    for name, server in environments.servers.items():
        saltenv = "staging" if name == SECOND else "base"
        server.host.write("/etc/salt/minion.d/environment.conf", f"saltenv: {saltenv}\n")
        server.run("systemctl restart salt-minion")
    environments.wait_for_all()
    told = environments.apply()
    assert told == {**NOTHING, SECOND: (["Nginx is configured", "Nginx runs"], [])}
    heads = [
        site.run("grep -c 'For staging' /etc/nginx/nginx.conf", check=False).stdout
        for site in environments.sites
    ]
    assert heads == ["0\n", "1\n"]
    said = environments.salt("*", "django_newest.told", check=False)
    assert [name for name in ROLES if said[name] == "for staging"] == [SECOND]
