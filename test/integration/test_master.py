"""
Servers of a Salt master, bare until then: it has the formula and the pillar of all, and tells each
what its roles need.
"""

import json

import pytest

from test.hosts import boot

from .guestbook import INDEX, no_failed_request
from .machines import ensure
from .server import CHECKOUT, ROOT, Server, documented, put_checkout, wait_for

pytestmark = pytest.mark.proves(
    "several servers",
    "Salt master and minions",
    "bare servers serve after two runs; a third changes nothing; releases; secrets by roles",
    on=["Debian 12"],
)

SALT = "/opt/django-formula/salt/bin"
FORMULA, SOURCE = "/srv/django-formula", "/srv/src/guestbook"
MASTER, DATA, WEB = "int-master", "int-mdata", "int-mweb"
KEY = "/etc/salt/pki/master/master.pub"
SECRETS = {
    "database": "the-database-s-password",
    "cache": "the-cache-s-password",
    "application": "all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz",
}
NEEDED = {DATA: {"database", "cache"}, WEB: {"database", "cache", "secrets"}}
PILLAR = {
    "hosts.sls": "django: {hosts: {%s}}",
    "environment.sls": "{}",
    "shop.sls": "django: {projects: {guestbook: {source: {path: %s}, settings: config.settings, "
    "domains: [%s], health: {path: /healthz/}, env: {DJANGO_TEST_ENDPOINTS: '1'}}}}",
    "secrets/database.sls": "django: {projects: {guestbook: {database: {password: %s}}}}",
    "secrets/cache.sls": "django: {projects: {guestbook: {cache: {password: %s}}}}",
    "secrets/application.sls": "django: {projects: {guestbook: {secrets: {SECRET_KEY: %s}}}}",
}


class Master(Server):
    """The master, and what its minions answer."""

    def salt(self, target, *words, check=True, patience=300):
        """The answers (dict by server) to a function of a module, each within so many seconds."""
        argv = [
            f"{SALT}/salt",
            "--timeout",
            str(patience),
            "--out",
            "json",
            "--static",
            target,
            *words,
        ]
        done = self.run(argv, check=False, timeout=400)
        try:
            answers = json.loads(done.stdout)
        except ValueError:
            raise AssertionError(f"{words}: {done.stdout}{done.stderr}") from None
        assert not check or done.returncode == 0, answers
        return answers

    def apply(self, *words):
        """What ``state.apply`` changed and what failed (dict by server of two lists of IDs)."""
        found = {}
        for name, results in self.salt("*", "state.apply", *words, check=False).items():
            assert isinstance(results, dict), f"{name}: {results}"
            found[name] = tuple(
                [result["__id__"] for result in results.values() if fits(result)]
                for fits in (
                    lambda result: result["result"] is None or result["changes"],
                    lambda result: result["result"] is False,
                )
            )
        return found


def write_pillar(master, hosts):
    """The pillar of all, by the example's top file."""
    roles = {DATA: "[database, cache]", WEB: "[app, web, worker]"}
    lines = ", ".join(
        f"{name}: {{address: {host.address}, roles: {roles[name]}}}" for name, host in hosts.items()
    )
    values = {
        "hosts.sls": lines,
        "shop.sls": (SOURCE, hosts[WEB].address),
        **{f"secrets/{name}.sls": secret for name, secret in SECRETS.items()},
    }
    for name, text in PILLAR.items():
        master.write(f"/srv/pillar/{name}", text % values[name] if name in values else text)
    top = (ROOT / "examples/environments/common/top.sls").read_text()
    master.write("/srv/pillar/top.sls", top)


def join(master, host, name):
    """Make a server a minion; it and the master know each other's key before they meet."""
    text = documented("docs/operations.md", "master: 10.0.0.5").replace("web1", name)
    host.write("/etc/salt/minion.d/django-formula.conf", text.replace("10.0.0.5", master.address))
    folder = "/etc/salt/pki/minion"
    host.run(f"mkdir -p {folder}")
    host.run(f"{SALT}/salt-key --gen-keys minion --gen-keys-dir {folder}")
    master.write(f"/etc/salt/pki/master/minions/{name}", host.read(f"{folder}/minion.pub"))
    host.write(f"{folder}/minion_master.pub", master.read(KEY))
    host.run(f"setsid {SALT}/salt-minion -d")


@pytest.fixture(scope="module")
def fleet():
    """A master, and two servers that it may order about, with nothing on them yet."""
    image = ensure("bookworm-ready")
    with (
        boot(MASTER, image=image) as master,
        boot(DATA, image=image) as data,
        boot(WEB, image=image) as web,
    ):
        hosts = {DATA: data, WEB: web}
        put_checkout(master, FORMULA)
        text = documented("docs/operations.md", "file_roots:\n  base: [/srv/django-formula")
        master.write("/etc/salt/master.d/django-formula.conf", text)
        write_pillar(master, hosts)
        master.run(f"setsid {SALT}/salt-master -d")
        wait_for(lambda: master.exists(KEY), 60)
        web.put(ROOT / "examples/guestbook", SOURCE)
        for name, host in hosts.items():
            host.run(f"rm -rf {CHECKOUT} /etc/salt/minion.d/*")
            join(master, host, name)
        server = Master(master)
        server.web = Server(web)
        server.data = Server(data)
        everyone = dict.fromkeys(hosts, True)
        wait_for(lambda: server.salt("*", "test.ping", check=False, patience=5) == everyone, 60)
        yield server


def test_bare_servers_serve_after_two_runs_at_most(fleet):
    first = fleet.apply()
    changed, failed = first[DATA]
    assert "PostgreSQL runs" in changed and failed == []
    if first[WEB][1]:
        assert first[WEB][1][0] == "guestbook: release is checked", "the database was not there yet"
        assert fleet.apply()[WEB][1] == []
    answer = fleet.web.host.get("/")
    assert answer.status == 200 and "guestbook" in answer.text.lower()
    assert fleet.data.psql("SELECT count(*) > 9 FROM django_migrations", "guestbook") == ["t"]


def test_another_run_changes_nothing(fleet):
    nothing = {DATA: ([], []), WEB: ([], [])}
    assert fleet.apply("test=True") == nothing
    assert fleet.apply() == nothing


def test_server_knows_the_secrets_of_its_roles(fleet):
    """Salt may show stars in place of the values."""
    for name, pillar in fleet.salt("*", "pillar.items").items():
        project = pillar["django"]["projects"]["guestbook"]
        assert {key for key in ("database", "cache", "secrets") if key in project} == NEEDED[name]


def test_release_from_the_master_fails_no_request(fleet):
    path = f"{SOURCE}/{INDEX}"
    fleet.web.host.write(path, fleet.web.host.read(path).replace("<h1>", "<h1>Newest: "))
    with no_failed_request(fleet.web):
        changed, failed = fleet.apply()[WEB]
    assert "guestbook: release is live" in changed and failed == []
    assert "<h1>Newest: " in fleet.web.host.get("/").text


def test_orders_are_answered(fleet):
    assert fleet.salt(WEB, "django.status")[WEB]["guestbook"]["healthy"] is True
    wrong = fleet.salt(WEB, "django.status", "guestbok", check=False)[WEB]
    assert "guestbook" in wrong and "Traceback" not in wrong
    assert isinstance(fleet.salt(WEB, "django.rollback", "guestbook")[WEB], dict)
    assert "<h1>Newest: " not in fleet.web.host.get("/").text


def test_results_that_the_master_keeps_have_no_secret(fleet):
    kept = "/var/cache/salt/master/jobs"
    assert fleet.run(f"grep -rlF 'release is live' {kept}").stdout, "there are results"
    patterns = " ".join(f"-e {secret}" for secret in SECRETS.values())
    assert fleet.run(f"grep -rlF {patterns} {kept}", check=False).stdout == ""
