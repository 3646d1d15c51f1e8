"""
Servers without a Salt of their own, looked after by an operator over SSH: bare but for what every
image of a server has, of two versions of Debian. The operator does not know their host keys at
first, and then takes one for the other's. Visitors come by a balancer, beside the database.
"""

import json
import re

import pytest

from test.hosts import boot

from . import fleet as several
from .guestbook import INDEX, SOURCE, change, no_failed_request
from .machines import ensure
from .master import Master
from .server import CHANGED, CHECKOUT, ROOT, Server, put_checkout, told_of, wait_for

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.proves(
        "several servers",
        "salt-ssh, and no Salt on the servers",
        "a host key that is not known, or another one, is refused; bare servers serve after two "
        "runs; a third changes nothing; a release, orders, nothing for others to read; bootstrap "
        "takes a server over without a change",
        on=["Debian 12", "Debian 13"],
    ),
    pytest.mark.proves(
        "several servers",
        "releases over SSH, without a master (salt-run django.deploy)",
        "server by server out of the balancer without a failed request; the database is migrated "
        "once; a bad release stops at the first; killed, what it had sent to a server is waited "
        "for and the next goes on; rollback, locks, history",
        on=["Debian 12", "Debian 13"],
    ),
]

OPERATOR, DATA = "int-ssh-op", "int-ssh-db"
WEB, OTHER = WEBS = "int-ssh-web1", "int-ssh-web2"
ROLES = {DATA: "[database, cache, balancer]", **dict.fromkeys(WEBS, "[app, web, worker]")}
ALL = set(ROLES)
KNOWN, PILLAR = "/root/.ssh/known_hosts", "/root/fleet.sls"
ASIDE = "/root/django-formula.aside"
LEFT = "/var/cache/django-formula/ssh/salt_state.tgz"
SECRETS = ("the-database-s-password", "the-cache-s-password", "all-hosts-sign-with-this-one")


WORKED_ON = "flock -n /run/lock/django-formula-guestbook.lock true"  # it fails then
VIEWS, GOOD = "guestbook/views.py", "status=200 if ok else 503"
MIGRATION = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "0003_heartbeat")]
    operations = [migrations.RunSQL("CREATE TABLE made_once ()", "SELECT 1")]
"""


class Operator(Master):
    """
    Whose machine has the formula and the pillar of all; ``webs`` are the web servers, and
    ``front`` is where visitors come in.
    """

    def ask(self, *words, check=True):
        """What salt-ssh says (dict by server)."""
        done = self.run(["salt-ssh", "--static", "--out", "json", *words], check=False)
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        assert not check or done.returncode == 0, done.stdout + done.stderr
        self.status = done.returncode
        return json.loads(done.stdout)

    def apply(self, *words, check=True):
        """What ``state.apply`` changed and what failed (dict by server of two lists of IDs)."""
        found = told_of(self.ask("*", "state.apply", *words, check=False))
        well = not any(failed for _, failed in found.values())
        assert (self.status == 0) == well and (well or not check), found
        return found

    def serving(self):
        """The releases of the web servers (list)."""
        return [web.live()[0] for web in self.webs]

    def shows(self, words):
        """Let the next release show words above its page; not yet on any server."""
        for web in self.webs:
            web.run(["sed", "-i", f"s/<h1>.*</<h1>{words}</", f"{SOURCE}/{INDEX}"])

    def deploy_aside(self, output):
        """Begin a deploy in the background; what it says goes to a file."""
        order = f"salt-run django.deploy guestbook reason='by night' >{output} 2>&1"
        self.run(["sh", "-c", f': >{output}; setsid sh -c "{order}; echo ended: $? >>{output}" &'])

    def deploy_says(self, output, words, seconds=200):
        """Wait until a deploy in the background says something."""
        wait_for(lambda: words in self.host.read(output), seconds)


def bare(host):
    """A server as a provider gives it out; the Salt of its image is put aside."""
    host.run(f"rm -rf {CHECKOUT} && mv /opt/django-formula {ASIDE}")
    host.run("apt-get install -qy --no-install-recommends openssh-server", timeout=300)


def known(servers):
    """Lines of known_hosts: what each server says of itself when somebody looks there."""
    public = "/etc/ssh/ssh_host_ed25519_key.pub"
    return {name: f"{server.host.address} {server.host.read(public)}" for name, server in servers}


@pytest.fixture(scope="module")
def operator():
    """The operator, before the first order; ``servers`` by name."""
    image = ensure("bookworm-ready")
    with (
        boot(OPERATOR, image=image) as host,
        boot(DATA, image=ensure("trixie-ready")) as data,
        boot(WEB, image=image) as web,
        boot(OTHER, image=image) as other,
    ):
        several.at_once(bare, [data, web, other])
        for each in (web, other):
            each.put(ROOT / "examples/guestbook", SOURCE)
        put_checkout(host)
        made = Operator(host)
        made.servers = {DATA: Server(data), WEB: Server(web), OTHER: Server(other)}
        made.front, made.webs = made.servers[DATA], [made.servers[name] for name in WEBS]
        pillar = several.pillar(made.servers, ROLES, "env: {DJANGO_TEST_ENDPOINTS: '1'}")
        made.host.write(PILLAR, pillar.replace(several.DOMAIN, data.address))
        yield made


@pytest.fixture(scope="module")
def fleet(operator):
    """The operator, and servers that let nobody else in, with nothing on them yet."""
    predicted = operator.bootstrap("--ssh", PILLAR, "--test").stdout
    assert "openssh-client would be" not in predicted and not operator.host.exists("/etc/salt")
    said = operator.bootstrap("--ssh", PILLAR).stdout
    assert f"servers        {DATA}, {WEB}, {OTHER}" in said
    for line in re.findall(r"^  \S+ is (?:written|made|installed)$", predicted, re.M):
        assert line in said or "openssh-client" in line
    key = operator.host.read(re.search(r"its key +(\S+)", said)[1])
    for server in operator.servers.values():
        server.host.write("/root/.ssh/authorized_keys", key, mode=0o600)
    assert "No changes" in operator.bootstrap("--ssh").stdout
    return operator


def test_server_whose_key_is_not_known_is_not_spoken_to(fleet):
    keys = known(fleet.servers.items())
    address = {name: server.host.address for name, server in fleet.servers.items()}
    next_one = {DATA: WEB, WEB: OTHER, OTHER: DATA}
    changed = [
        line.replace(address[name], address[next_one[name]], 1) for name, line in keys.items()
    ]
    for lines, told, said in (
        ([], "No ED25519 host key is known", "its host key is not in known_hosts"),
        (changed, "IDENTIFICATION HAS CHANGED", "its host key is not the one in known_hosts"),
    ):
        fleet.host.write(KNOWN, "".join(lines))
        refused = fleet.refused("django.deploy", "guestbook")
        assert all(f"{name}: cannot be reached over SSH: {said}" in refused for name in ALL)
        answers = fleet.ask("*", "test.ping", check=False)
        assert fleet.status and set(answers) == ALL
        for name, answer in answers.items():
            assert told in answer["stderr"], answer
            assert not fleet.servers[name].host.exists(LEFT.rpartition("/")[0])
    fleet.host.write(KNOWN, "".join(keys.values()))
    assert fleet.ask("*", "test.ping") == dict.fromkeys(ALL, True)


def test_bare_servers_serve_after_two_runs(fleet):
    """In any order: the web server may have been ready before its database answered."""
    first = fleet.apply(check=False)
    assert all(first[name][0] for name in ALL) and first[DATA][1] == []
    assert fleet.apply()[DATA] == ([], [])
    answer = fleet.front.host.get("/")
    assert answer.status == 200 and "guestbook" in answer.text.lower()
    assert fleet.servers[DATA].psql("SELECT count(*) > 9 FROM django_migrations", "guestbook") == [
        "t"
    ]
    for server in fleet.servers.values():
        assert server.host.pids("salt-") == []
        assert server.run("command -v salt-call", check=False).stdout == ""


def test_another_run_changes_nothing(fleet):
    nothing = dict.fromkeys(ALL, ([], []))
    assert fleet.apply("test=True") == nothing
    assert fleet.apply() == nothing


def test_release_fails_no_request(fleet):
    fleet.shows("Newest")
    with no_failed_request(fleet.front):
        found = fleet.apply()
    assert "guestbook: release is live" in found[WEB][0] and found[DATA] == ([], [])
    assert "<h1>Newest<" in fleet.front.host.get("/").text


def test_orders_are_answered(fleet):
    """A role is a group of servers."""
    found = fleet.ask("--nodegroup", "web", "django.status", "guestbook")
    assert set(found) == set(WEBS) and found[WEB]["guestbook"]["healthy"] is True
    wrong = fleet.ask(WEB, "django.status", "guestbok", check=False)[WEB]
    assert fleet.status and wrong.startswith("This host has no project 'guestbok'")
    back = fleet.ask(WEB, "django.rollback", "guestbook")[WEB]
    assert back["changes"]["release"]["new"] != found[WEB]["guestbook"]["release"]
    assert fleet.serving() == [
        back["changes"]["release"]["new"],
        found[OTHER]["guestbook"]["release"],
    ]


def test_deploy_fails_no_request_and_migrates_once(fleet):
    """One web server after the other; the first was held to its release, and that is told."""
    told = fleet.refused("django.deploy", "guestbook")
    fleet.run(re.search(rf"salt-ssh -L {WEB} django.release_allow guestbook", told)[0])
    before = fleet.serving()
    fleet.shows("Third")
    for web in fleet.webs:
        web.host.write(f"{SOURCE}/guestbook/migrations/0004_once.py", MIGRATION)
    with no_failed_request(fleet.front):
        done = fleet.order("django.deploy", "guestbook")
    assert done.returncode == 0, done.stdout + done.stderr
    release, _ = serving = fleet.serving()
    assert len(set(serving)) == 1 and "<h1>Third<" in fleet.front.host.get("/").text
    for name, old in zip(WEBS, before):
        assert re.search(rf"{name} +{old} +{release} +\d+ +done", done.stdout)
    told = [line.split(maxsplit=3)[-1] for line in done.stderr.splitlines() if "batch" in line]
    assert [line.split("(")[0].strip() for line in told if ": " in line] == [
        f"{name}: {what}"
        for name in WEBS
        for what in ("drained", f"{release} serves and is healthy", "back in the balancer")
    ]
    assert fleet.front.psql("SELECT count(*) FROM made_once", "guestbook") == ["0"]
    assert fleet.obeyed("django.history", "guestbook").count(release) == 2
    status = fleet.obeyed("django.status")
    assert status.count(release) == 2 and "2 of 2 get requests" in status


def test_bad_release_stops_at_the_first_server(fleet):
    before = fleet.serving()
    for web in fleet.webs:
        change(web, VIEWS, GOOD, "status=404")
    with no_failed_request(fleet.front):
        said = fleet.refused("django.deploy", "guestbook", "ssh=True")
    assert "halted at: batch 1/2" in said and "answered 404" in said
    assert re.search(rf"{OTHER} .* not reached", said) and fleet.serving() == before
    assert "salt-run django.deploy guestbook ssh=True" in said
    assert fleet.ask(DATA, "django.drained") == {DATA: []}


def test_deploy_that_is_killed_is_waited_for_where_it_works_and_the_next_goes_on(fleet):
    fleet.shows("Fifth")
    for web in fleet.webs:
        change(web, VIEWS, "status=404", GOOD)
    before, web = fleet.serving(), fleet.servers[WEB]
    with no_failed_request(fleet.front):
        fleet.deploy_aside("/tmp/killed")
        fleet.deploy_says("/tmp/killed", f"{WEB}: drained")
        wait_for(lambda: web.run(WORKED_ON, check=False).returncode, 60)
        web.run("pkill -STOP -f '[s]tate.pkg'")
        assert "by night" in fleet.obeyed("django.lock_status")
        assert "is being worked on by root" in fleet.refused("django.deploy", "guestbook")
        fleet.run("pkill -KILL -f '[s]alt-run django.deploy'")
        wait_for(lambda: fleet.host.pids("ssh") == [])
        assert fleet.obeyed("django.lock_status") == "Nothing is locked.\n"
        assert fleet.ask(DATA, "django.drained") == {DATA: [WEB]} and fleet.serving() == before
        fleet.deploy_aside("/tmp/next")
        fleet.deploy_says("/tmp/next", f"{WEB}: another run is at work there")
        web.run("pkill -CONT -f '[s]tate.pkg'")
        fleet.deploy_says("/tmp/next", "ended: ", 300)
    assert "ended: 0" in fleet.host.read("/tmp/next"), fleet.host.read("/tmp/next")
    release, other = fleet.serving()
    assert release == other not in before and "<h1>Fifth<" in fleet.front.host.get("/").text
    assert fleet.ask(DATA, "django.drained") == {DATA: []}


def test_all_go_back_and_operators_keep_deploys_out(fleet):
    with no_failed_request(fleet.front):
        fleet.obeyed("django.rollback", "guestbook")
    assert len(set(fleet.serving())) == 1 and "<h1>Third<" in fleet.front.host.get("/").text
    fleet.obeyed("django.lock", "guestbook", "reason=sale until Monday")
    assert "sale until Monday" in fleet.refused("django.deploy", "guestbook")
    fleet.obeyed("django.unlock", "guestbook")
    assert "gets no new requests" in fleet.obeyed("django.drain", OTHER)
    assert "gets requests again" in fleet.obeyed("django.undrain", OTHER)


def test_nobody_else_reads_what_is_left(fleet):
    """On the servers the last run's pillar, packed, and here what Salt keeps."""
    sent = "find / -xdev ( -name 'salt_state*' -o -name pillar.json -o -name lowstate.json )"
    sent = sent.replace("(", r"\(").replace(")", r"\)")
    for server in fleet.servers.values():
        server.run(f"tar -xzOf {LEFT} pillar.json | grep -qF {SECRETS[0]}")
        assert server.run(sent).stdout.split() == [LEFT]
        assert server.run(f"{sent} 2>/dev/null", user="nobody", check=False).stdout == ""
    patterns = " ".join(f"-e {secret}" for secret in SECRETS)
    kept = f"grep -rlsF {patterns} /var/cache /var/log /var/tmp /tmp /etc /run"
    assert "/etc/django-formula" in fleet.run(kept, check=False).stdout, "it is found there"
    assert fleet.run(kept, user="nobody", check=False).stdout == ""
    results = "/var/cache/salt/master/jobs"
    assert fleet.run(f"grep -rlF 'release is live' {results}").stdout
    assert fleet.run(f"grep -rlF {patterns} {results}", check=False).stdout == ""


def test_server_is_taken_over_without_a_change(fleet):
    """By its own bootstrap, and back."""
    web = fleet.servers[WEB]
    web.run(f"cp -a {ASIDE}/. /opt/django-formula/")
    put_checkout(web.host)
    done = web.bootstrap(pillar=fleet.host.read(PILLAR))
    assert CHANGED.findall(done.stdout) == [], done.stdout
    assert fleet.apply() == dict.fromkeys(ALL, ([], []))
