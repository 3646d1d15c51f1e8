"""Memcached as cache and Varnish in front: the example site is given both by its pillar."""

import json
import re
import time

import pytest

from test.hosts import boot

from .crowd import Crowd
from .guestbook import SOURCE, Visitors, change, develop
from .machines import SITE, ensure
from .server import Browser, Server, put_checkout

RELEASES = 5
REQUESTS = 2_000
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.proves(
        "cache and queue servers",
        "Memcached",
        "for one project, on a socket of its own; drift is mended, it ends when nobody asks for it",
        on=["Debian 12"],
    ),
    pytest.mark.proves(
        "front door",
        "Varnish between Nginx and Gunicorn",
        "no page of one user for another; releases under load forget all pages and drop no request;"
        " old pages while the application is away",
        on=["Debian 12"],
    ),
]
PILLAR = """\
django:
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
      cache: {engine: memcached}
      python: {requirements: [requirements-memcached.txt]}
      web: {cache: %s}
"""
WITH_VARNISH = PILLAR % (SOURCE, "{grace: 1h, memory: 128M}")
# Pages of every kind; each answer is another one, and tells who has asked.
PAGES = "guestbook/pages.py"
PAGES_TEXT = """\
import uuid

from django.http import HttpResponse
from django.urls import path

VERSION = "one"
HEADERS = {
    "kept": {"Cache-Control": "public, max-age=600"},
    "brief": {"Cache-Control": "max-age=1"},
    "silent": {},
    "private": {"Cache-Control": "private, max-age=600"},
    "unstored": {"Cache-Control": "no-store, max-age=600"},
    "cookie": {"Cache-Control": "public, max-age=600", "Set-Cookie": "seen=1"},
    "varies": {"Cache-Control": "public, max-age=600", "Vary": "Accept, Cookie"},
    "file": {"Cache-Control": "public, max-age=600", "X-Accel-Redirect": "/nowhere/"},
    "mine": {"Cache-Control": "public, max-age=600"},
}


def page(request, kind, rest=""):
    who = request.META.get("HTTP_COOKIE", "") + request.META.get("HTTP_AUTHORIZATION", "")
    if kind == "mine":
        who = request.user.get_username()
    text = f"{VERSION} {uuid.uuid4().hex} <{who}>"
    return HttpResponse(text, headers=HEADERS[kind])


urlpatterns = [path("pages/<kind>/", page), path("pages/<kind>/<path:rest>", page)]
"""
SOCKET = "/run/memcached-guestbook/memcached.sock"
OPTIONS = "/etc/default/memcached-guestbook"
RULES = "/etc/varnish/guestbook.vcl"
PURGED = "guestbook: old pages are forgotten"
MEMCACHED = "/usr/bin/memcached "
VARNISH = "/usr/sbin/varnishd "
ADMIN = ["varnishadm", "-n", "/var/lib/varnish/guestbook"]
# What is asked over a Unix socket: argv is the socket and the text.
ASK = """\
import socket, sys
with socket.socket(socket.AF_UNIX) as stream:
    stream.settimeout(10)
    stream.connect(sys.argv[1])
    stream.sendall(sys.argv[2].encode() + b"\\r\\n")
    said = b""
    while not said.endswith((b"END\\r\\n", b"ERROR\\r\\n")):
        said += stream.recv(65536)
print(said.decode())
"""


@pytest.fixture(scope="module")
def server():
    """The example site, taken from Redis to Memcached and behind Varnish by its pillar."""
    with boot("int-caches", image=ensure(SITE)) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        host.write(f"{SOURCE}/{PAGES}", PAGES_TEXT)
        urls = 'path("", include("guestbook.urls")),'
        change(server, "config/urls.py", urls, f'{urls}\n    path("", include("guestbook.pages")),')
        server.pillar(WITH_VARNISH)
        server.predicted = server.predict()
        server.made = server.apply()
        yield server


def look(server, path="kept/", **headers):
    """A page, and what Varnish says of it: ``(text, hit or so)``."""
    answer = server.host.get(f"/pages/{path}", **({"headers": headers} if headers else {}))
    assert answer.status == 200, answer.text
    return answer.text, answer.headers.get("X-Cache")


def ask(server, text, user="guestbook", check=True):
    """What Memcached answers to a user."""
    argv = ["runuser", "-u", user, "--", "python3", "-c", ASK, SOCKET, text]
    return server.run(argv, check=check)


def number(server, name):
    """A number of Memcached's statistics."""
    lines = ask(server, "stats").stdout.splitlines()
    return int(next(line.split()[2] for line in lines if line.startswith(f"STAT {name} ")))


def release(server, old, new):
    """Change the version that pages tell."""
    change(server, PAGES, f'VERSION = "{old}"', f'VERSION = "{new}"')


def test_prediction_before_their_packages_are_there_is_exact(server):
    made, predicted = server.made, server.predicted
    assert {"guestbook: Memcached runs", "guestbook: Varnish runs", PURGED} <= set(made.changed)
    assert made.changed == predicted.changed, f"{predicted.told()}\n\n{made.told()}"
    server.assert_settled()


# Memcached


def test_site_keeps_its_counter_in_memcached(server):
    before = number(server, "cmd_set")
    assert "Memcached" in Browser(server.host).get("/").text
    assert number(server, "cmd_set") > before
    code = "from django.core.cache import cache; cache.set('seen', 'by protocol')"
    server.run(["django-manage", "guestbook", "shell", "-c", code])
    assert "by protocol" in ask(server, "get guestbook:1:seen").stdout
    assert number(server, "limit_maxbytes") == 512 << 20


def test_only_the_project_reaches_memcached(server):
    for user in ("www-data", "nobody"):
        refused = ask(server, "stats", user, check=False)
        assert refused.returncode != 0 and "PermissionError" in refused.stderr
    listeners = server.run("ss -Hltnup").stdout
    assert "memcached" not in listeners and ":11211" not in listeners
    [pid] = server.host.pids(MEMCACHED)
    asked = ["ps", "-o", "user=,group=", "-p", str(pid)]
    assert server.run(asked).stdout.split() == ["memcache", "memcache"]


def test_option_that_memcached_does_not_take_is_not_put_in_place(server):
    before, pids = server.host.read(OPTIONS), server.host.pids(MEMCACHED)
    server.pillar(WITH_VARNISH + "  memcached: {settings: {no-such-option: 1}}\n")
    outcome = server.apply(check=False)
    assert "guestbook: Memcached is configured" in outcome.failed
    assert "no-such-option" in outcome.comment("guestbook: Memcached is configured")
    assert server.host.read(OPTIONS) == before and server.host.pids(MEMCACHED) == pids
    server.pillar(WITH_VARNISH)


def test_killed_memcached_comes_back(server):
    [pid] = server.host.pids(MEMCACHED)
    server.run(f"kill -9 {pid}")
    end = time.monotonic() + 60
    while server.host.pids(MEMCACHED) in ([], [pid]) or server.host.get("/healthz/").status != 200:
        assert time.monotonic() < end
        time.sleep(0.5)


# Varnish: what is kept, and for whom


def test_page_that_is_for_all_is_kept(server):
    text, _ = look(server)
    assert look(server) == (text, "hit")
    assert look(server, Cookie="_ga=GA1.2; _pk_id.1.1fff=x") == (text, "hit")
    assert server.host.get("/healthz/").headers["X-Cache"] in ("miss", "pass")
    seen = json.loads(server.host.get("/whoami/").text)
    assert seen["forwarded_for"] == seen["remote_addr"] != ""


@pytest.mark.parametrize("kind", ["silent", "private", "unstored", "cookie", "varies"])
def test_page_that_is_not_said_to_be_for_all_is_not_kept(server, kind):
    texts = {look(server, f"{kind}/")[0] for _ in range(3)}
    assert len(texts) == 3


def test_file_that_the_application_hands_over_is_not_kept(server):
    states = {server.host.get("/pages/file/").headers.get("X-Cache") for _ in range(3)}
    assert "hit" not in states


@pytest.mark.parametrize(
    "headers",
    [{"Cookie": "sessionid=secret"}, {"Cookie": "other=1"}, {"Authorization": "Bearer secret"}],
)
def test_whoever_is_somebody_is_not_given_what_is_kept(server, headers):
    anonymous, _ = look(server)
    text, state = look(server, **headers)
    assert state == "pass" and next(iter(headers.values())) in text
    assert look(server) == (anonymous, "hit")


def test_users_see_their_own_pages(server):
    names = ("ada", "bob")
    code = "from django.contrib.auth.models import User as U;" + "".join(
        f"U.objects.create_superuser('{name}', '', 'pw-of-{name}');" for name in names
    )
    server.run(["django-manage", "guestbook", "shell", "-c", code])
    users = {name: Browser(server.host) for name in names}
    for name, browser in users.items():
        answer = browser.login("/admin/login/", name, f"pw-of-{name}")
        assert answer.status_code == 302, "the form's CSRF protection works through Varnish"
    users[""] = Browser(server.host)
    for name in ("", "ada", "bob", "", "ada", "bob", ""):
        assert users[name].get("/pages/mine/").text.endswith(f"<{name}>")
        page = users[name].get("/admin/", allow_redirects=False)
        assert page.status_code == (200 if name else 302)
        others = {f">{other}<" for other in names} - {f">{name}<"}
        assert not any(other in page.text for other in others)


def test_static_files_come_from_nginx(server):
    address = re.search(r'href="(/static/[^"]+\.css)"', Browser(server.host).get("/").text)
    answer = server.host.get(address.group(1))
    assert answer.status == 200 and "X-Cache" not in answer.headers


def test_nobody_else_reaches_varnish(server):
    asked = ["python3", "-c", ASK, "/run/varnish-guestbook/http.sock", "GET / HTTP/1.0"]
    for argv in (["cat", "/run/varnish-guestbook/secret"], [*ADMIN, "ping"], asked):
        for user in ("guestbook", "nobody"):
            assert server.run(["runuser", "-u", user, "--", *argv], check=False).returncode != 0
    assert server.run([*ADMIN, "ping"]).stdout.startswith("PONG")
    assert server.run("stat -c '%a %U' /run/varnish-guestbook/secret").stdout == "600 root\n"
    listeners = [line for line in server.run("ss -Hltnp").stdout.splitlines() if "varnish" in line]
    assert listeners and all("127.0.0.1:" in line.split()[3] for line in listeners)


# Varnish: releases


def test_operators_forget_pages(server):
    paths = ("kept/a/", "kept/a/?q=1", "kept/ab/")

    def texts():
        return [look(server, path)[0] for path in paths]

    before = texts()
    server.call("django.purge", "guestbook", "/pages/kept/a/")
    after = texts()
    assert [old == new for old, new in zip(before, after, strict=True)] == [False, False, True]
    server.call("django.purge", "guestbook", "/pages/kept/*")
    assert not set(texts()) & {*before, *after}


def test_ban_that_fails_does_not_lose_the_release_and_is_tried_again(server):
    before = server.live()
    old, _ = look(server)
    server.run("mv /usr/bin/varnishadm /usr/bin/varnishadm.away")
    server.host.write("/usr/bin/varnishadm", "#!/bin/sh\necho out of order\nexit 1\n")
    server.run("chmod 0755 /usr/bin/varnishadm")
    release(server, "one", "two")
    try:
        outcome = server.apply(check=False)
    finally:
        server.run("mv /usr/bin/varnishadm.away /usr/bin/varnishadm")
    assert outcome.failed == [PURGED], outcome.told()
    assert "out of order" in outcome.comment(PURGED)
    assert server.live() != before and look(server) == (old, "hit")
    server.assert_mended(PURGED)
    assert look(server)[0].startswith("two")


def test_rollback_forgets_pages(server):
    look(server)
    server.call("django.rollback", "guestbook")
    assert look(server)[0].startswith("one")
    server.call("django.release_allow", "guestbook")


def test_releases_under_load_drop_no_request_and_show_no_old_page(server, tmp_path):
    with Crowd(server, tmp_path, REQUESTS, leisure=5) as crowd:
        deployed, last = [server.live()[0]], "two"
        for number in range(RELEASES):
            look(server)
            assert look(server)[1] == "hit"
            release(server, last, f"release-{number}")
            last = f"release-{number}"
            if number == 2:  # other rules, too, are taken without a restart
                consent = "{grace: 1h, memory: 128M, ignore_cookies: [consent]}"
                server.pillar(PILLAR % (SOURCE, consent))
            pids = server.host.pids(VARNISH)
            server.apply()
            assert look(server)[0].startswith(f"{last} ")
            assert server.host.pids(VARNISH) == pids
            deployed.append(server.live()[0])
    text, _ = look(server)
    assert look(server, Cookie="consent=1") == (text, "hit")
    crowd.assert_all_served()
    assert len(set(deployed)) == RELEASES + 1


def test_old_pages_are_shown_while_the_application_is_away(server):
    text, _ = look(server, "brief/")
    [program] = server.run("supervisorctl status | grep -o '^guestbook.web[^ ]*'").stdout.split()
    server.run(["supervisorctl", "stop", program], timeout=120)
    end = time.monotonic() + 15  # an application that answers lets them be ten seconds old
    while time.monotonic() < end:
        assert look(server, "brief/")[0] == text
        time.sleep(0.5)
    assert look(server, "brief/") == (text, "stale")
    for page in ("/pages/kept/never-seen/", "/"):
        answer = server.host.get(page)
        assert answer.status == 503 and "not available at the moment" in answer.text
        assert answer.headers["Retry-After"] == "10"
    server.assert_mended("guestbook: release is live", exactly=False)
    assert look(server, "brief/")[0] != text


def test_site_is_there_while_varnish_is_not(server):
    server.run("systemctl stop varnish@guestbook")
    text, state = look(server)
    assert state is None
    assert Browser(server.host).submit("/", {"name": "x", "message": "y"}).status_code == 302
    with Visitors(server.host) as visitors:
        server.apply()
    assert visitors.failed == []
    assert look(server)[0] != text and look(server)[1] == "hit"


def test_drift_is_mended(server):
    server.run(f"sed -i 's/--memory-limit=[0-9]*/--memory-limit=1024/' {OPTIONS}")
    server.run("systemctl disable memcached@guestbook && systemctl start memcached varnish")
    server.run(f"sed -i 's/set beresp.ttl = 0s;/set beresp.ttl = 1h;/' {RULES}")
    server.assert_mended(
        "guestbook: Memcached is configured",
        "guestbook: Memcached runs",
        "the packaged Memcached server does not run",
        "guestbook: Varnish has its rules",
        "guestbook: Varnish uses its rules",
        "the packaged service varnish does not run",
        exactly=False,
    )
    assert number(server, "limit_maxbytes") == 512 << 20


def test_rules_that_a_killed_run_left_unread_are_taken(server):
    server.run(f"touch {RULES}")
    server.assert_mended("guestbook: Varnish uses its rules")


def test_rules_with_a_mistake_are_told(server):
    server.run(f"sed 's/return (hash)/return (hush)/' {RULES} >/root/wrong.vcl")
    check = "/usr/local/lib/django-formula/check-varnish"
    assert server.run([check, RULES]).stdout == ""
    wrong = server.run([check, "/root/wrong.vcl"], check=False)
    assert wrong.returncode != 0 and "hush" in wrong.stdout


def test_without_them_they_end(server):
    pillar = PILLAR.replace("      cache: {engine: memcached}\n", "")
    pillar = pillar.replace("      web: {cache: %s}\n", "").replace("-memcached.txt", ".txt")
    server.pillar(pillar % SOURCE)
    server.assert_mended("guestbook: Nginx serves it", "projects that left the pillar do not run")
    assert server.host.pids(VARNISH) == server.host.pids(MEMCACHED) == []
    assert look(server)[1] is None
