"""What cannot work is said before anything is changed, in words that help, with a true status."""

import re

import pytest

from test.hosts import boot

from .machines import ensure
from .server import CHECKOUT, PILLAR, Server, put_checkout

pytestmark = pytest.mark.proves(
    "faults", "mistakes in the pillar", "told all at once before anything changes", on=["Debian 12"]
)

VALID = """\
django:
  projects:
    shop:
      source: {path: /root/django-formula/examples/guestbook}
      settings: config.settings
"""
LISTENER = "import http.server as h; h.test(h.SimpleHTTPRequestHandler, port=80)"
# What a run would write: everything but logs, the Salt that it needs in any case, and what running
# services write by themselves.
LISTING = (
    "find /etc /srv /opt /usr/local /var/lib /home /root -xdev -not -path '/root/*'"
    " -not -path '/etc/salt*' -not -path /usr/local/bin/salt-call"
    " -not -name '*.pyc' -not -name __pycache__ -not -path '/var/lib/systemd/*'"
    " -not -path '/var/lib/postgresql/*' -not -path '/var/lib/redis/*'"
    " \\( -type d -printf '%p %m %U:%G\\n' -o -printf '%p %m %U:%G %s %T@\\n' \\) | sort;"
    " getent passwd; dpkg-query -W"
)


@pytest.fixture(scope="module")
def server():
    """A bare server with a Salt."""
    with boot("int-refusals", image=ensure("bookworm-ready")) as host:
        put_checkout(host)
        yield Server(host)


@pytest.fixture
def unchanged(server):
    """The server has the same files, users and packages after the test as before."""
    server.host.write("/root/my-pillar.sls", VALID)
    before = set(server.run(LISTING).stdout.splitlines())
    yield
    changed = before ^ set(server.run(LISTING).stdout.splitlines())
    assert not changed, "\n".join(sorted(changed))


def refuse(server, pillar=None, status=2, **options):
    """What is said when nothing is applied: its exit status, and no traceback."""
    done = server.bootstrap(pillar=pillar, check=False, timeout=120, **options)
    said = done.stdout + done.stderr
    assert done.returncode == status, said
    assert "Traceback" not in said
    return said


# The command line and the system


def test_user_who_is_not_root(server, unchanged):
    server.run(f"chmod 755 /root && cp -a {CHECKOUT} /tmp/checkout")
    done = server.host.run("/tmp/checkout/bootstrap", user="nobody", check=False)
    server.run("rm -r /tmp/checkout && chmod 700 /root")
    assert done.returncode == 2
    assert "must run as root: sudo " in done.stderr


def test_system_that_is_not_supported(server):
    server.run("cp /etc/os-release /etc/os-release.kept")
    server.run("rm /etc/os-release")
    server.host.write("/etc/os-release", 'ID=fedora\nVERSION_ID=42\nPRETTY_NAME="Fedora 42"\n')
    try:
        said = refuse(server)
    finally:
        server.run("mv /etc/os-release.kept /etc/os-release")
    assert "Fedora 42 is not supported" in said
    assert "Debian 12 and 13" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--frobnicate"], "unknown option --frobnicate"),
        (["a.sls", "b.sls"], "expected one pillar file"),
        (["/none.sls"], "there is no such file"),
        ([""], "empty argument"),
        (["/dev/null"], "not a file"),
        (["/etc"], "the folder has no top.sls"),
    ],
)
def test_command_line(server, unchanged, words, sentence):
    done = server.bootstrap(*words, check=False)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_help_and_version(server, unchanged):
    assert "Usage: sudo ./bootstrap" in server.bootstrap("--help").stdout
    assert server.bootstrap("--version").stdout.startswith("django-formula ")


# The surroundings


def test_port_that_is_taken(server, unchanged):
    server.run(f"cd /tmp && setsid python3 -c '{LISTENER}' >/dev/null 2>&1 & sleep 0.5")
    try:
        said = refuse(server, VALID)
    finally:
        server.host.kill("SimpleHTTPRequestHandler")
    assert "port 80 is taken by python3 (process " in said
    assert "Nginx" in said


def test_second_bootstrap_at_the_same_time(server, unchanged):
    server.run(["sh", "-c", "setsid flock /run/django-formula.lock sleep 4714 >/dev/null 2>&1 &"])
    server.run("until pgrep -f 'sleep 4714' >/dev/null; do sleep 0.05; done")
    try:
        said = refuse(server, status=75)
    finally:
        server.host.kill("sleep 4714")
    assert "another bootstrap is running" in said


def test_no_network():
    """On a bare server it is Salt that cannot be fetched; nothing is left half-done."""
    with boot("int-no-network") as host:
        put_checkout(host)
        server = Server(host)
        host.cut()
        host.run("ip route del default")
        done = server.bootstrap(check=False, timeout=300)
        said = done.stdout + done.stderr
        assert done.returncode == 2, said
        assert "failed" in done.stdout
        assert "see that this server reaches" in said
        assert "Traceback" not in said
        assert not host.exists("/etc/salt/minion.d/django-formula.conf")


# The pillar

BROKEN = """\
django:
  process_manger: supervisord
  projects:
    shop:
      source: {path: /srv/shop, git: 'https://git.example.org/shop.git'}
      settings: shop/settings.py
      app: {workers: many}
    blog:
      source: {path: /srv/blog}
      settings: blog.settings
      secrets: {API_TOKEN: {valeu: hunter2-canary}}
"""
ERRORS = (
    "process_manger",
    "did you mean process_manager?",
    "shop:source",
    "shop:settings",
    "shop:app:workers",
    "blog:secrets:API_TOKEN",
)


def test_every_mistake_of_a_pillar_is_told_at_once(server, unchanged):
    said = refuse(server, BROKEN)
    for error in ERRORS:
        assert error in said, said
    assert "hunter2-canary" not in said
    assert "Nothing was applied" in said


TWINS = """\
django:
  projects:
    press: {source: {path: /srv/press}, settings: press.settings, domains: [twice.example.org]}
    wiki: {source: {path: /srv/wiki}, settings: wiki.settings, domains: [twice.example.org]}
"""
ODD = """\
django:
  hosts:
    int-refusals: {address: 10.0.0.9, roles: [app, web, database, cache, worker%s]}
  projects:
    wiki:
      source: {path: /srv/wiki}
      settings: wiki.settings
      env: {URL: '@{database.ulr}'}
"""


def test_keys_that_are_at_odds_are_told(server, unchanged):
    assert "twice.example.org is that of press" in refuse(server, TWINS)
    assert "cheese" in refuse(server, ODD % ", cheese")
    assert "did you mean @{database.url}?" in refuse(server, ODD % "")


@pytest.mark.parametrize(
    ("pillar", "sentence"),
    [
        ("django: [\n", "my-pillar.sls"),
        ("django:\n  projects:\n\tshop: {}\n", "my-pillar.sls"),
        ("{% if %}\n", "my-pillar.sls"),
        ("django: 5\n", "django"),
        ("- a\n- b\n", "my-pillar.sls"),
        ("other: {}\n", "django"),
        ("django: {projects: {Shop: {}}}\n", "Shop"),
        ("django: {projects: {shop: {settings: x}}}\n", "django:projects:shop:source"),
    ],
    ids=["yaml", "tab", "jinja", "number", "list", "none", "name", "source"],
)
def test_pillar_that_cannot_be_read(server, unchanged, pillar, sentence):
    assert sentence in refuse(server, pillar)


RUNS = ("state.apply", "state.apply test=True", "django.validate")


def test_bad_pillar_of_a_registered_server_changes_nothing():
    """By plain salt-call too: exit status, every error, and the site goes on."""
    with boot("int-bad-pillar", image=ensure("bookworm-site")) as host:
        put_checkout(host)
        server = Server(host)
        server.apply()  # it has a name and an address of its own now
        good = host.read(PILLAR)
        server.pillar(BROKEN)
        before = server.run(LISTING).stdout
        outcome = server.apply(check=False)
        assert outcome.returncode != 0
        assert len(outcome.failed) == 1, outcome.told()
        comment = outcome.comment(outcome.failed[0])
        for error in ERRORS:
            assert error in comment
        assert "Traceback" not in outcome.output
        assert "hunter2-canary" not in outcome.output
        assert host.get("/").status == 200
        validation = host.run(["salt-call", "django.validate"], check=False)
        assert "did you mean process_manager?" in validation.stdout
        assert "hunter2-canary" not in validation.stdout
        assert server.run(LISTING).stdout == before
        for text in ("django:\n  projects: [\n", "django:\n{% if %}\n"):
            server.pillar(f"{text}SECRET: hunter2-canary\n")
            runs = [host.run(f"salt-call {words}", check=False) for words in RUNS]
            told = [done.stdout + done.stderr for done in runs]
            assert all(done.returncode for done in runs), told
            assert all("Rendering SLS 'site' failed" in text for text in told[:2]), told
            assert f"pillar: {PILLAR}: " in told[2] and re.search(r"\bline [23]\b", told[2]), told
            assert not re.search("Traceback|hunter2-canary", "".join(told)), told
        server.pillar(good)
        server.assert_settled()
        assert server.call("django.validate")["errors"] == []


# What goes wrong on the way is mended by the next run


def test_run_that_was_killed_is_continued(server):
    """Killed in the middle, the next run goes on; this is the last test, as it deploys."""
    process = server.host.start(f"cd {CHECKOUT} && ./bootstrap >/tmp/killed 2>&1")
    server.run("until grep -q 'database' /tmp/killed; do sleep 0.1; done", timeout=300)
    server.host.kill("bootstrap.d/run.py")
    process.wait(30)
    server.run("rm -f /root/my-pillar.sls")
    done = server.bootstrap()
    assert "answers 200" in done.stdout
    server.assert_settled()
