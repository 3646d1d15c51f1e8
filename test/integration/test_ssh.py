"""
Servers without a Salt of their own, looked after by an operator over SSH: bare but for what every
image of a server has, of two versions of Debian. The operator does not know their host keys at
first, and then takes one for the other's.
"""

import json
import re

import pytest

from test.hosts import boot

from . import fleet as several
from .guestbook import INDEX, SOURCE, no_failed_request
from .machines import ensure
from .server import CHANGED, CHECKOUT, ROOT, Server, put_checkout, told_of

pytestmark = [
    pytest.mark.proves(
        "several servers",
        "salt-ssh, and no Salt on the servers",
        "a host key that is not known, or another one, is refused; bare servers serve after two "
        "runs; a third changes nothing; a release, orders, nothing for others to read; bootstrap "
        "takes a server over without a change",
        on=["Debian 12", "Debian 13"],
    ),
]

OPERATOR, DATA, WEB = "int-ssh-op", "int-ssh-db", "int-ssh-web"
ROLES = {DATA: "[database, cache]", WEB: "[app, web, worker]"}
KNOWN, PILLAR = "/root/.ssh/known_hosts", "/root/fleet.sls"
ASIDE = "/root/django-formula.aside"
LEFT = "/var/cache/django-formula/ssh/salt_state.tgz"
SECRETS = ("the-database-s-password", "the-cache-s-password", "all-hosts-sign-with-this-one")


class Operator(Server):
    """Whose machine has the formula and the pillar of all."""

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
    ):
        several.at_once(bare, [data, web])
        web.put(ROOT / "examples/guestbook", SOURCE)
        put_checkout(host)
        made = Operator(host)
        made.servers = {DATA: Server(data), WEB: Server(web)}
        pillar = several.pillar(made.servers, ROLES, "env: {DJANGO_TEST_ENDPOINTS: '1'}")
        made.host.write(PILLAR, pillar.replace(several.DOMAIN, web.address))
        yield made


@pytest.fixture(scope="module")
def fleet(operator):
    """The operator, and servers that let nobody else in, with nothing on them yet."""
    predicted = operator.bootstrap("--ssh", PILLAR, "--test").stdout
    assert "openssh-client would be" not in predicted and not operator.host.exists("/etc/salt")
    said = operator.bootstrap("--ssh", PILLAR).stdout
    assert f"servers        {DATA}, {WEB}" in said
    for line in re.findall(r"^  \S+ is (?:written|made|installed)$", predicted, re.M):
        assert line in said or "openssh-client" in line
    key = operator.host.read(re.search(r"its key +(\S+)", said)[1])
    for server in operator.servers.values():
        server.host.write("/root/.ssh/authorized_keys", key, mode=0o600)
    assert "No changes" in operator.bootstrap("--ssh").stdout
    return operator


def test_server_whose_key_is_not_known_is_not_spoken_to(fleet):
    keys = known(fleet.servers.items())
    for lines, told in (
        ("", "No ED25519 host key is known"),
        (
            keys[WEB].replace(fleet.servers[WEB].host.address, fleet.servers[DATA].host.address)
            + keys[DATA].replace(fleet.servers[DATA].host.address, fleet.servers[WEB].host.address),
            "REMOTE HOST IDENTIFICATION HAS CHANGED",
        ),
    ):
        fleet.host.write(KNOWN, lines)
        answers = fleet.ask("*", "test.ping", check=False)
        assert fleet.status and set(answers) == {DATA, WEB}
        for name, answer in answers.items():
            assert told in answer["stderr"], answer
            assert not fleet.servers[name].host.exists(LEFT.rpartition("/")[0])
    fleet.host.write(KNOWN, "".join(keys.values()))
    assert fleet.ask("*", "test.ping") == {DATA: True, WEB: True}


def test_bare_servers_serve_after_two_runs(fleet):
    """In any order: the web server may have been ready before its database answered."""
    first = fleet.apply(check=False)
    assert first[DATA][0] and first[WEB][0] and first[DATA][1] == []
    assert fleet.apply()[DATA] == ([], [])
    answer = fleet.servers[WEB].host.get("/")
    assert answer.status == 200 and "guestbook" in answer.text.lower()
    assert fleet.servers[DATA].psql("SELECT count(*) > 9 FROM django_migrations", "guestbook") == [
        "t"
    ]
    for server in fleet.servers.values():
        assert server.host.pids("salt-") == []
        assert server.run("command -v salt-call", check=False).stdout == ""


def test_another_run_changes_nothing(fleet):
    nothing = {DATA: ([], []), WEB: ([], [])}
    assert fleet.apply("test=True") == nothing
    assert fleet.apply() == nothing


def test_release_fails_no_request(fleet):
    web = fleet.servers[WEB]
    path = f"{SOURCE}/{INDEX}"
    web.host.write(path, web.host.read(path).replace("<h1>", "<h1>Newest: "))
    with no_failed_request(web):
        found = fleet.apply()
    assert "guestbook: release is live" in found[WEB][0] and found[DATA] == ([], [])
    assert "<h1>Newest: " in web.host.get("/").text


def test_orders_are_answered(fleet):
    """A role is a group of servers."""
    found = fleet.ask("--nodegroup", "web", "django.status", "guestbook")
    assert set(found) == {WEB} and found[WEB]["guestbook"]["healthy"] is True
    wrong = fleet.ask(WEB, "django.status", "guestbok", check=False)[WEB]
    assert fleet.status and wrong.startswith("This host has no project 'guestbok'")
    back = fleet.ask(WEB, "django.rollback", "guestbook")[WEB]
    assert back["changes"]["release"]["new"] != found[WEB]["guestbook"]["release"]
    web = fleet.servers[WEB]
    assert "<h1>Newest: " not in web.host.get("/").text


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
    assert fleet.apply() == {DATA: ([], []), WEB: ([], [])}
