"""
README's command on a bare server: all that a user sees, on each kind of server.

The first kind is bare indeed, and its command is read from README; the others have Salt and .debs.
"""

import json
import re
import subprocess
import time

import pytest

from test.hosts import boot

from .machines import ensure
from .server import PILLAR, ROOT, Browser, Server, copy, picture, put_checkout

pytestmark = [
    pytest.mark.proves(
        "one server",
        "PostgreSQL, Redis, Gunicorn, Supervisord, Nginx",
        "one command from a bare server to a site that is used, then nothing left to do",
        on=["Debian 12", "Debian 13", "Debian 12 without systemd"],
    ),
    pytest.mark.proves(
        "processes",
        "systemd units",
        "the same first run with systemd in Supervisord's place",
        on=["Debian 12"],
    ),
]

MESSAGE = "Grüße aus dem Test & <more>"
KINDS = {
    "bookworm": {"image": "bookworm"},
    "trixie": {"image": "trixie-ready"},
    "without-systemd": {"image": "bookworm-ready", "systemd": False},
    "systemd-units": {"image": "bookworm-ready", "process_manager": "systemd"},
}
PNG = picture()


def readme_command():
    """The commands by which README turns a fresh server into a site."""
    blocks = re.findall(
        r"```(?:sh|console|bash)?\n(.*?)```", (ROOT / "README.md").read_text(), re.S
    )
    return next(block for block in blocks if "git clone" in block and "./bootstrap" in block)


def origin(host, tmp_path_factory):
    """A git repository on the host with what the working tree holds now; returns its path."""
    folder = tmp_path_factory.mktemp("origin")
    copy(folder)
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    host.put(folder, "/srv/origin/django-formula")
    return "/srv/origin/django-formula"


def follow_readme(server, tmp_path_factory):
    """Type README's commands; the server has no sudo and its user is root."""
    command = readme_command().replace("sudo ", "")
    url = re.search(r"git clone (\S+)", command).group(1)
    command = command.replace(url, origin(server.host, tmp_path_factory))
    return server.run(["sh", "-ec", f"cd /root\n{command}"], timeout=900)


@pytest.fixture(scope="module", params=KINDS)
def server(request, tmp_path_factory):
    """A server of each kind, after the first run of the command; `server.first` is its result."""
    kind = KINDS[request.param]
    systemd = kind.get("systemd", True)
    with boot(f"int-{request.param}", image=ensure(kind["image"]), systemd=systemd) as host:
        server = Server(host)
        server.kind = request.param
        server.manager = kind.get("process_manager", "supervisord")
        if kind["image"] == "bookworm":
            server.first = follow_readme(server, tmp_path_factory)
        else:
            put_checkout(host)
            pillar = None
            if server.manager == "systemd":
                pillar = (ROOT / "examples/pillars/example.sls").read_text()
                pillar = pillar.replace("django:\n", "django:\n  process_manager: systemd\n", 1)
            server.first = server.bootstrap(pillar=pillar)
        yield server


@pytest.fixture
def browser(server):
    return Browser(server.host)


def admin(server):
    """Name and password of the site's superuser."""
    return "admin", server.secret("guestbook", "superuser.password")


# What the command says


def test_summary_says_what_there_is_and_what_to_do_next(server):
    said = server.first.stdout
    assert f"http://{server.host.address}/" in said
    assert "answers 200" in said
    for path in ("/etc/django-formula/secrets/guestbook.json", "/srv/django/guestbook/releases"):
        assert path in said
    assert "/var/log/django/guestbook" in said
    assert "salt-call state.apply" in said
    assert "Traceback" not in said + server.first.stderr
    assert admin(server)[1] not in said


def test_progress_says_which_step_of_how_many(server):
    steps = re.findall(r"^ +(\d+)/(\d+) ", server.first.stdout, re.M)
    assert steps, server.first.stdout
    assert len({total for _, total in steps}) == 1
    log = server.host.read("/var/log/django-formula/bootstrap.log")
    assert re.search(r"INFO django_formula.progress: \w+\.\d{4}_\w+$", log, re.M), "a migration"


# The site from outside


def test_home_page_is_served(server, browser):
    page = browser.get("/")
    assert page.status_code == 200
    assert "Sign the guestbook" in page.text
    assert "PostgreSQL" in page.text
    assert "Redis" in page.text
    assert page.headers["Server"] == "nginx", "its version is nobody's business"
    assert server.live()[0] in page.text


def test_entry_is_in_the_database(server, browser):
    fields = {"name": "Ada", "message": MESSAGE}
    answer = browser.submit("/", fields, files={"picture": ("a.png", PNG, "image/png")})
    assert answer.status_code == 302, answer.text[:3000]
    rows = server.psql("SELECT name, message FROM guestbook_entry", "guestbook")
    assert f"Ada|{MESSAGE}" in rows
    page = browser.get("/")
    assert "Thank you, Ada" in page.text
    picture = re.search(r'<img class="avatar" src="([^"]+)"', page.text).group(1)
    served = browser.get(picture)
    assert (served.status_code, served.content) == (200, PNG)
    assert served.headers["Content-Type"] == "image/png"
    assert served.headers["X-Content-Type-Options"] == "nosniff"


def test_hits_are_counted_in_redis(server, browser):
    def counted():
        name = server.call("django.config")["redis"]["instances"][0]
        env = {"REDISCLI_AUTH": server.secret("guestbook", "cache.password")}
        redis = ["redis-cli", "-p", str(name["port"])]
        keys = server.run([*redis, "--raw", "keys", "*hits*"], env=env).stdout.split()
        assert len(keys) == 1, keys
        return int(server.run([*redis, "--raw", "get", keys[0]], env=env).stdout)

    before = counted()
    for _ in range(3):
        browser.get("/")
    assert counted() == before + 3


def test_redis_and_postgresql_answer_nobody_without_a_password(server):
    port = server.call("django.config")["redis"]["instances"][0]["port"]
    assert "NOAUTH" in server.run(["redis-cli", "-p", str(port), "ping"], check=False).stdout
    sockets = server.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"]).stdout
    listening = {line.split()[1] for line in sockets.splitlines() if " 0A " in line}
    anywhere = {
        int(each.split(":")[1], 16) for each in listening if set(each.split(":")[0]) == {"0"}
    }
    assert anywhere == {80}, "only the front door may be reached from outside"


def test_postgresql_runs_by_the_files_it_was_given(server):
    unread = "SELECT name FROM pg_file_settings WHERE sourcefile LIKE '%/conf.d/%' AND NOT applied"
    assert server.psql(unread) == []
    asked = "SELECT count(*) FROM pg_settings WHERE sourcefile LIKE '%/conf.d/%'"
    assert int(server.psql(asked)[0]) >= 10


def test_admin_lets_its_superuser_in(server, browser):
    assert browser.login("/admin/login/", "admin", "wrong").status_code == 200
    answer = browser.login("/admin/login/", *admin(server))
    assert answer.status_code == 302
    page = browser.get("/admin/")
    assert page.status_code == 200
    assert "Administration" in page.text


def test_form_without_its_token_is_refused(browser):
    browser.get("/")
    answer = browser._send("POST", "/", data={"name": "Eve", "message": "x"})
    assert answer.status_code == 403


def test_static_files_are_served_by_nginx(server, browser):
    style = re.search(r'href="(/static/[^"]+\.css)"', browser.get("/").text).group(1)
    plain = browser.get(style, headers={"Accept-Encoding": "identity"})
    assert plain.status_code == 200
    assert plain.headers["Content-Type"].startswith("text/css")
    assert "max-age=" in plain.headers["Cache-Control"]
    packed = browser.get(style, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == plain.content
    assert packed.headers["Vary"] == "Accept-Encoding"
    path = "/srv/django/guestbook" + style
    assert server.mode(path).startswith("644")
    assert server.host.exists(path + ".gz")
    assert browser.get("/static/admin/css/base.css").status_code in (200, 404)
    assert browser.get("/static/").status_code in (403, 404)


def test_every_asset_of_the_pages_is_there(server, browser):
    browser.login("/admin/login/", *admin(server))
    for page in ("/", "/admin/"):
        assets = re.findall(r'(?:src|href)="(/(?:static|media)/[^"]+)"', browser.get(page).text)
        assert assets
        for asset in assets:
            assert browser.get(asset).status_code == 200, asset


def test_hidden_files_and_paths_outside_are_refused(browser):
    for path in ("/.git/config", "/.env", "/static/.hidden", "/static../shared/", "/media../"):
        assert browser.get(path).status_code in (403, 404), path
    for path in ("/static/%2e%2e/live/environment", "/static/..%2flive/environment"):
        answer = browser.get(path)
        assert answer.status_code in (400, 403, 404), path
        assert "SECRET_KEY" not in answer.text


def test_large_body_is_refused_and_slow_pages_are_not_cached(browser):
    assert browser._send("POST", "/", data=b"x" * (64 << 20)).status_code == 413
    assert "no-cache" in browser.get("/").headers["Cache-Control"]


# On the server


def test_files_belong_to_whom_they_should(server):
    release, instance = server.live()
    root = "/srv/django/guestbook"
    expected = {
        root: "711 root:guestbook",
        f"{root}/releases/{release}/source": "750 root:guestbook",
        f"{root}/releases/{release}/source/manage.py": "750 root:guestbook",
        f"{root}/releases/{release}/source/config/settings.py": "640 root:guestbook",
        f"{root}/instances/{instance}/environment": "400 guestbook:guestbook",
        f"{root}/shared/media": "2750 guestbook:www-data",
        "/var/log/django/guestbook": "3770 root:guestbook",
        "/etc/django-formula/secrets": "700 root:root",
        "/etc/django-formula/secrets/guestbook.json": "600 root:root",
        PILLAR: "600 root:root",
    }
    assert {path: server.mode(path) for path in expected} == expected


def test_project_cannot_change_its_own_code(server):
    release, _ = server.live()
    for command in (
        f"echo >> /srv/django/guestbook/releases/{release}/source/manage.py",
        f"touch /srv/django/guestbook/releases/{release}/source/new",
        "rm -f /srv/django/guestbook/current",
        "cat /etc/django-formula/secrets/guestbook.json",
        f"cat {PILLAR}",
    ):
        assert server.host.run(command, user="guestbook", check=False).returncode != 0, command


def test_strangers_read_nothing_of_the_project(server):
    release, instance = server.live()
    root = "/srv/django/guestbook"
    for path in (
        f"{root}/releases/{release}/source/config/settings.py",
        f"{root}/instances/{instance}/environment",
        f"{root}/shared/media",
        "/var/log/django/guestbook/web.log",
    ):
        done = server.host.run(["ls", "-l", path], user="nobody", check=False)
        read = server.host.run(["cat", path], user="nobody", check=False)
        assert done.returncode != 0 or read.returncode != 0, path


def test_the_process_manager_runs_the_site_as_its_user(server):
    _, instance = server.live()
    name = f"guestbook.web.{instance}"
    pids = server.host.pids(f"gunicorn.*web-{instance}")
    assert len(pids) > 1
    owners = server.run(["ps", "-o", "user=", "-p", ",".join(map(str, pids))]).stdout.split()
    assert set(owners) <= {"guestbook", "guestbo+"}
    if server.manager == "systemd":
        assert server.run(["systemctl", "is-active", name]).stdout == "active\n"
        assert not server.host.exists("/opt/django-formula/supervisor")
        return
    parent = server.run(["ps", "-o", "ppid=", "-p", str(min(pids))]).stdout.strip()
    assert "supervisord" in server.run(["ps", "-o", "args=", "-p", parent]).stdout


def test_management_commands_have_the_site_s_environment(server):
    said = server.run(["django-manage", "guestbook", "shell", "-c", "print(1 + 1)"]).stdout
    assert said.splitlines()[-1] == "2"
    plan = server.run(["django-manage", "guestbook", "migrate", "--check"], check=False)
    assert plan.returncode == 0


def test_requests_and_errors_are_logged(server, browser):
    browser.get("/")
    seen = (
        "until grep -q 'GET / ' /var/log/nginx/*.log; do sleep 0.2; done"  # a buffer is in between
    )
    server.run(["timeout", "30", "sh", "-c", seen])
    assert server.host.exists("/var/log/django/guestbook/web.log")
    assert server.run("logrotate -d /etc/logrotate.conf").returncode == 0
    assert "/var/log/django/guestbook" in server.run("logrotate -d /etc/logrotate.conf 2>&1").stdout


# Again


def test_second_run_changes_nothing_and_is_quick(server):
    start = time.monotonic()
    again = server.bootstrap()
    assert "No changes" in again.stdout, again.stdout
    assert time.monotonic() - start < 30
    assert server.bootstrap("--test").stdout.count("Nothing would change") == 1


def test_plain_salt_call_works_from_anywhere(server):
    for directory in ("/tmp", "/"):
        outcome = server.apply(cwd=directory)
        assert outcome.changed == [], outcome.told()
        assert "Warning" not in outcome.output
    assert server.predict().changed == []


def test_status_says_what_is_live(server):
    status = json.dumps(server.call("django.status"))
    assert server.live()[0] in status


def test_site_comes_back_after_a_reboot(server, browser):
    if server.kind == "without-systemd":
        return
    server.host.reboot()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if browser.get("/").status_code == 200:
                break
        except OSError:
            pass
        time.sleep(0.3)
    assert browser.get("/").status_code == 200
    server.assert_settled()
