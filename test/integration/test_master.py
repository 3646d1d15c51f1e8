"""
Servers of a Salt master, all of them bare until then: the master has the formula and the pillar of
all, and tells each what its roles need. One gets to know it by fingerprints, of which the first are
wrong; the other one's key and the master's are exchanged by other ways.
"""

import re

import pytest

from test.hosts import boot

from .guestbook import INDEX, no_failed_request
from .machines import ensure
from .master import PKI, Master, told
from .server import CHECKOUT, ROOT, Browser, Server, documented, put_checkout, wait_for

pytestmark = [
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

SOURCE, PILLAR = "/srv/src/guestbook", "/srv/pillar"
MASTER, DATA, STATIC, WEB = "int-master", "int-mdata", "int-mstatic", "int-mweb"
DOMAIN, STYLE = "static.example.org", "guestbook/static/guestbook/guestbook.css"
WRONG = ":".join(["0f"] * 32)
SECRETS = {
    "database": "the-database-s-password",
    "cache": "the-cache-s-password",
    "application": "all-hosts-sign-with-this-one-0123456789-abcdefghijklmnopqrstuvwxyz",
}
NEEDED = {
    DATA: {"database", "cache"},
    STATIC: {"secrets"},
    WEB: {"database", "cache", "secrets"},
}
FILES = {
    "hosts.sls": "django: {hosts: {%s}}",
    "environment.sls": "{}",
    "shop.sls": "django: {projects: {guestbook: {source: {path: %s}, settings: config.settings, "
    "domains: [%s], static: {domains: [%s]}, health: {path: /healthz/}, "
    "env: {DJANGO_TEST_ENDPOINTS: '1'}}}}",
    "secrets/database.sls": "django: {projects: {guestbook: {database: {password: %s}}}}",
    "secrets/cache.sls": "django: {projects: {guestbook: {cache: {password: %s}}}}",
    "secrets/application.sls": "django: {projects: {guestbook: {secrets: {SECRET_KEY: %s}}}}",
    "secrets/superuser.sls": "{}",
}


def write_pillar(master, hosts):
    """The pillar of all, by the example's top file."""
    roles = {DATA: "[database, cache]", STATIC: "[static]", WEB: "[app, web, worker]"}
    lines = ", ".join(
        f"{name}: {{address: {host.address}, roles: {roles[name]}}}" for name, host in hosts.items()
    )
    values = {
        "hosts.sls": lines,
        "shop.sls": (SOURCE, hosts[WEB].address, DOMAIN),
        **{f"secrets/{name}.sls": secret for name, secret in SECRETS.items()},
    }
    for name, text in FILES.items():
        master.write(f"{PILLAR}/{name}", text % values[name] if name in values else text)
    top = (ROOT / "examples/environments/common/top.sls").read_text()
    master.write(f"{PILLAR}/top.sls", top)


def is_running(server):
    """Whether a server's minion runs."""
    asked = server.run("systemctl is-active salt-minion", check=False)
    return asked.stdout.strip() == "active"


def exchange_keys(master, web):
    """Give a server a key that the master has accepted, and the master's own."""
    block = documented("docs/operations.md", "--gen-keys web1").replace("web1", WEB)
    generate, accept = block.splitlines()[:2]
    master.run(f"{generate} && {accept}")
    for source, name in re.findall(r"^scp -p (\S+) \S+/([\w.]+)$", block, re.M):
        mode = int(master.run(["stat", "-c", "%a", source]).stdout, 8)
        web.write(f"{PKI}/minion/{name}", master.read(source), mode=mode)


@pytest.fixture(scope="module")
def servers():
    """Four bare servers by name, with the repository on each."""
    image = ensure("bookworm-ready")
    with (
        boot(MASTER, image=image) as master,
        boot(DATA, image=image) as data,
        boot(STATIC, image=image) as static,
        boot(WEB, image=image) as web,
    ):
        for host in (master, data, static, web):
            put_checkout(host)
        write_pillar(master, {DATA: data, STATIC: static, WEB: web})
        for host in (static, web):
            host.put(ROOT / "examples/guestbook", SOURCE)
        found = {DATA: Server(data), STATIC: Server(static), WEB: Server(web)}
        yield {MASTER: Master(master), **found}


@pytest.fixture(scope="module")
def master(servers):
    """The master; ``words`` are those that it told for another server."""
    made = servers[MASTER]
    predicted = made.bootstrap("--master", PILLAR, "--test").stdout
    assert "salt-master is started" in predicted and not made.host.exists("/etc/salt/master.d")
    said = made.become(PILLAR)
    assert f"NAME is the server's in django:hosts ({DATA}, {STATIC}, {WEB})." in said
    return made


@pytest.fixture(scope="module")
def fleet(master, servers):
    """The master and three servers that it orders about, with nothing on them yet."""
    data, static, web = servers[DATA], servers[STATIC], servers[WEB]
    fingerprint = told(data.bootstrap(*master.words, DATA).stdout)
    again = data.bootstrap(*master.words, DATA).stdout
    assert "No changes" in again and told(again) == fingerprint
    exchange_keys(master.host, web.host)
    web.bootstrap("--minion", master.host.address, "--id", WEB)
    master.join(STATIC, static)
    for server in (data, static, web):
        server.run(["rm", "-r", CHECKOUT])
    everyone = {DATA: True, STATIC: True, WEB: True}
    wait_for(lambda: master.salt("*", "test.ping", check=False, patience=5) == everyone, 120)
    nothing = f"{DATA} is accepted already: nothing to do"
    assert master.obeyed("django.accept", DATA, fingerprint).strip() == nothing
    master.data, master.static, master.web = data, static, web
    return master


def test_a_master_is_one_only_once(master):
    for words in ([PILLAR], [PILLAR, "--test"], []):
        said = master.bootstrap("--master", *words).stdout
        assert "No changes" in said or "Nothing would change" in said, said


def test_keys_of_other_fingerprints_are_refused_on_both_sides(master, servers):
    """What the server was told of the master cannot be known there, but that it does not come."""
    data, words = servers[DATA], [*master.words, DATA]
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
    if first[WEB][1]:
        assert first[WEB][1][0] == "guestbook: release is checked", "the database was not there yet"
        assert fleet.apply()[WEB][1] == []
    answer = fleet.web.host.get("/")
    assert answer.status == 200 and "guestbook" in answer.text.lower()
    assert fleet.data.psql("SELECT count(*) > 9 FROM django_migrations", "guestbook") == ["t"]


def test_another_run_changes_nothing(fleet):
    nothing = {DATA: ([], []), STATIC: ([], []), WEB: ([], [])}
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
    fleet.salt(WEB, "django.release_allow", "guestbook")
    old, before = style(fleet), fleet.web.live()[0]
    index = fleet.web.host.read(f"{SOURCE}/{INDEX}")
    for server in (fleet.static, fleet.web):
        server.host.write(f"{SOURCE}/{INDEX}", index)
        server.run(f"echo '/* more */' >>{SOURCE}/{STYLE}")
    assert fleet.static.live()[0] == before, "one source is one release"
    done = fleet.order("django.deploy", "guestbook")
    assert done.returncode == 0, done.stdout + done.stderr
    new, now = style(fleet), fleet.web.live()[0]
    assert new != old and fleet.static.live()[0] == now != before
    prepared, switched, followed = (
        done.stderr.index(words)
        for words in ("is ready on 2 servers", f"{WEB}: {now} serves", f"{STATIC}: {now} serves")
    )
    assert prepared < switched < followed
    assert {asked(fleet, path) for path in (old, new)} == {200}
    fleet.obeyed("django.rollback", "guestbook")
    assert fleet.static.live()[0] == fleet.web.live()[0] == before
    assert style(fleet) == old and {asked(fleet, path) for path in (old, new)} == {200}
