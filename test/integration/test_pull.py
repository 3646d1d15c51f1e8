"""
Servers that fetch their own pillar from git: a balancer with the data, and five that serve. Nobody
tells one of another; all deploy a new release at the same moment, while visitors ask.
"""

import json

import pytest

from test.hosts import boot

from .crowd import Crowd
from .fleet import DOMAIN, at_once, pillar
from .guestbook import INDEX, SOURCE
from .machines import SITE, ensure
from .origin import Origin
from .server import Server, put_checkout, wait_for
from .test_several_hosts import SLOW_MIGRATION

pytestmark = [
    pytest.mark.timeout(1200),
    pytest.mark.proves(
        "several servers",
        "servers that fetch their own pillar",
        "five that deploy one release at once migrate once and drop no request; what is not "
        "signed, went back or has a mistake leaves what is in force",
        on=["Debian 12"],
    ),
]

DATA, WEB = "int-pdata", tuple(f"int-pweb{number}" for number in range(1, 6))
ROLES = {DATA: "[balancer, database, cache]", **dict.fromkeys(WEB, "[app, web, worker]")}
REQUESTS, LEISURE = 1_000, 12  # five deploy on two cores; visitors are not to take both
NOTE = "/var/lib/django-formula/pull/last.json"
HOOK = "/root/failed"
PULL = """\
  pull:
    interval: {{{{ '1m' if grains.id == '{data}' else '1h' }}}}
    splay: 1s
    pillar: {{git: '{url}', rev: main, signed_by: ['{key}']}}
    on_failure: [sh, -c, 'cat >{hook}']
{more}"""


class Fleet:
    """The servers by name, and the repositories that they fetch from."""

    def __init__(self, origin, servers):
        self.origin, self.servers = origin, servers
        self.rev, self.more, self.lines = "v1", "", []
        self.last = servers[WEB[-1]]

    def text(self):
        """The pillar of all."""
        text = pillar(self.servers, ROLES, "env: {DJANGO_TEST_ENDPOINTS: '1'}", *self.lines)
        source = f"{{git: '{self.origin.url('guestbook')}', rev: {self.rev}}}"
        text = text.replace(f"{{path: {SOURCE}}}", source)
        key, url = self.origin.public("ada"), self.origin.url("pillar")
        pull = PULL.format(data=DATA, url=url, key=key, hook=HOOK, more=self.more)
        return text.replace("  firewall:", f"{pull}  firewall:")

    def push(self, by="ada", **files):
        """Commit the pillar; the commit's first digits."""
        files = {"top.sls": "base: {'*': [fleet]}\n", "fleet.sls": self.text(), **files}
        return self.origin.commit("pillar", files, by)[:12]


def pull(server, check=True):
    """Let a server pull, whatever its timer is at; what ``django.status`` says then."""

    def is_done():
        done = server.run("django-pull", check=False)
        return "another pull is under way" not in done.stderr

    wait_for(is_done, 120)
    last = noted(server)
    assert not check or not last["failed"], last
    return last


def noted(server):
    return server.call("django.status")["last pull"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    ready, site = ensure("bookworm-ready"), ensure(SITE)
    servers = {}
    with Origin(tmp_path_factory.mktemp("origin")) as origin:
        try:
            for name in ROLES:
                servers[name] = Server(boot(name, image=ready if name == DATA else site))
                put_checkout(servers[name].host)
                servers[name].run("rm -f /etc/salt/minion_id")  # that of the image
            found = Fleet(origin, servers)
            origin.put_guestbook()
            found.push()
            text = found.text()
            servers[DATA].bootstrap(pillar=text)
            at_once(lambda name: servers[name].bootstrap(pillar=text), WEB)
            yield found
        finally:
            for server in servers.values():
                server.host.destroy()


def is_everywhere(fleet, commit):
    """Whether all servers that serve have applied a commit, and how that ended."""
    look = f"cat {NOTE} || echo {{}}"
    notes = [json.loads(fleet.servers[name].run(look).stdout) for name in WEB]
    return all(note.get("pillar", "").startswith(commit) and "ended" in note for note in notes)


def test_what_is_pulled_is_what_bootstrap_was_given(fleet):
    """Its folder is the pillar from then on, and the file that was it says so by its name."""
    commit = fleet.push()
    for last in at_once(pull, [fleet.servers[name] for name in WEB]):
        assert last["pillar"].startswith(f"{commit} of main, signed by SHA256:")
        assert last["result"].startswith("No changes in "), last
    folder = fleet.last.run("ls /etc/django-formula/pillar").stdout.split()
    assert folder == ["site.before", "top.sls"]
    assert fleet.last.call("pillar.get", "django:hosts").keys() == ROLES.keys()


def test_five_deploy_one_release_at_once(fleet, tmp_path):
    """One migration, and no request is dropped."""
    data, servers = fleet.servers[DATA], [fleet.servers[name] for name in WEB]
    before = servers[0].live()[0]
    page = fleet.origin.folder / "guestbook" / INDEX
    files = {
        "guestbook/migrations/0004_slow.py": SLOW_MIGRATION,
        INDEX: page.read_text().replace("It works.", "It works on."),
    }
    fleet.origin.commit("guestbook", files, tag="v2")
    crowd = Crowd(data, tmp_path, REQUESTS, LEISURE, data.host, DOMAIN)
    with crowd:
        fleet.rev = "v2"
        commit = fleet.push()
        at_once(lambda server: server.run("systemctl start --no-block django-pull"), servers)
        wait_for(lambda: is_everywhere(fleet, commit), 300)
    assert [noted(server)["failed"] for server in servers] == [False] * len(WEB)
    now = {server.live()[0] for server in servers}
    assert len(now) == 1 and before not in now
    crowd.assert_all_served()
    assert set(crowd.report["releases"]) == {before, *now}
    assert data.psql("SELECT count(*) FROM carried_out", "guestbook") == ["1"]


def test_what_no_given_key_has_signed_is_not_applied(fleet):
    server, live = fleet.last, fleet.last.live()
    force = noted(server)["pillar"]
    fleet.lines = ["timers: {tidy: {command: 'true', schedule: daily}}"]
    fleet.push(by="eve")
    last = pull(server, check=False)
    assert last["failed"] and last["pillar"] == force
    assert "signed by SHA256:" in last["problems"][0] and "signed_by" in last["problems"][0]
    assert server.live() == live and not server.host.exists("/etc/cron.d/django-guestbook")
    assert server.host.read(HOOK).startswith("pillar: main is ")
    assert "apart from that: no changes" in last["result"].lower()


def test_a_mistake_is_refused_and_the_next_commit_mends_it(fleet):
    server = fleet.last
    fleet.lines = ["timerss: {}"]
    bad = fleet.push()
    (problem,) = pull(server, check=False)["problems"]
    assert f"pillar {bad} was refused:" in problem
    assert "django:projects:guestbook:timerss: unknown key (did you mean timers?)" in problem
    assert server.call("django.validate")["valid"], "what is in force is the one before"
    fleet.lines = []
    good = fleet.push()
    assert pull(server)["pillar"].startswith(good)


def test_a_server_of_git_that_is_away_is_told(fleet):
    server = fleet.last
    force = noted(server)["pillar"]
    with fleet.origin.away():
        last = pull(server, check=False)
    assert last["failed"] and last["pillar"] == force
    assert "pillar: cannot be fetched" in last["problems"][0]
    server.run("systemctl start django-pull")
    assert "No changes in " in server.run("journalctl -q -t django-pull -n 3").stdout


def test_a_branch_that_went_back_is_refused_unless_an_operator_says_so(fleet):
    server = fleet.last
    force = noted(server)["pillar"]
    newest = fleet.origin.git("pillar", "rev-parse", "HEAD")
    fleet.origin.git("pillar", "reset", "-q", "--hard", "HEAD~3")
    last = pull(server, check=False)
    assert last["pillar"] == force and "main went back" in last["problems"][0]
    server.run("django-pull --rewind")
    assert noted(server)["pillar"] != force
    fleet.origin.git("pillar", "reset", "-q", "--hard", newest)


def test_a_formula_is_pulled_by_its_tag(fleet):
    """A tag whose bootstrap applies nothing leaves the one before in force."""
    server, origin = fleet.last, fleet.origin
    first = origin.put_formula()
    fleet.more = f"    formula: {{git: '{origin.url('formula')}', rev: v1}}\n"
    fleet.push()
    assert pull(server)["formula"] == f"{first[:12]} of v1"
    place = server.call("config.get", "django_formula")
    assert place == f"/var/lib/django-formula/pull/formula/{first}"
    origin.commit("formula", {"bootstrap": "#!/bin/sh\necho no >&2\nexit 2\n"}, tag="v2")
    fleet.more = fleet.more.replace("v1", "v2")
    fleet.push()
    (problem,) = pull(server, check=False)["problems"]
    assert "formula" in problem and "was refused:\nno" in problem
    assert server.call("config.get", "django_formula") == place


def test_a_timer_pulls(fleet):
    """Nobody has told this server to."""
    server = fleet.servers[DATA]
    fleet.more = ""
    commit = fleet.push()
    wait_for(lambda: noted(server).get("pillar", "").startswith(commit), 180)
    assert not noted(server)["failed"]


def test_a_pillar_without_pulls_ends_them(fleet):
    server = fleet.servers[WEB[0]]
    text = fleet.text()
    begin, end = text.index("  pull:"), text.index("  firewall:")
    fleet.push(**{"fleet.sls": text[:begin] + text[end:]})
    assert "No changes" not in server.run("django-pull").stdout
    left = server.run("systemctl list-timers --all --no-pager; ls /usr/local/bin").stdout
    assert "django-pull" not in left
    assert "last pull" not in server.call("django.status")
    server.assert_settled()
