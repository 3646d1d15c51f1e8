"""Several projects on one server, apart from each other."""

import json
import time

import pytest

from .server import CHECKOUT, Browser

pytestmark = pytest.mark.proves(
    "projects",
    "several projects on one host",
    "apart from each other in files, database, Redis and processes",
    on=["Debian 12"],
)

PROJECTS = ("guestbook", "second", "third")
PILLAR = f"""\
django:
  projects:
    guestbook:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      domains: [guestbook.example.org]
      health: {{path: /healthz/}}
      superuser: {{username: admin}}
    second:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      domains: [second.example.org, www.second.example.org]
      health: {{path: /healthz/}}
      superuser: {{username: boss}}
      processes: {{heartbeat: {{manage: heartbeat --interval 1}}}}
      timers:
        purge: {{manage: purge_entries --days 1, schedule: '* * * * *'}}
        broken: {{manage: purge_entries --nonsense, schedule: '* * * * *'}}
    third:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      process_manager: systemd
      domains: [third.example.org]
      database: {{engine: sqlite}}
      cache: {{engine: locmem}}
      health: {{path: /healthz/}}
"""


@pytest.fixture(scope="module")
def server(site):
    site.pillar(PILLAR)
    site.apply()
    return site


def domain(project):
    return f"{project}.example.org"


@pytest.mark.parametrize("project", PROJECTS)
def test_each_answers_at_its_own_domain(server, project):
    page = Browser(server.host, domain(project)).get("/")
    assert page.status_code == 200
    assert server.live(project)[0] in page.text
    assert ("SQLite" in page.text) == (project == "third")


def test_every_domain_of_a_project_answers(server):
    assert server.host.get("/", host="www.second.example.org").status == 200


def test_unknown_domain_is_refused_and_never_an_error(server):
    for name in ("other.example.org", server.host.address, "second.example.org.evil.org"):
        try:
            assert server.host.get("/", host=name).status in (400, 404, 421)
        except ConnectionError:
            continue  # closed without an answer, as Nginx's 444 does


def test_entries_stay_in_their_book(server):
    for project in PROJECTS:
        fields = {"name": project, "message": f"only in {project}"}
        browser = Browser(server.host, domain(project))
        assert browser.submit("/", fields).status_code == 302
    for project in PROJECTS:
        page = Browser(server.host, domain(project)).get("/").text
        for other in PROJECTS:
            assert (f"only in {other}" in page) == (other == project)
    for project in PROJECTS[:2]:
        rows = server.psql("SELECT message FROM guestbook_entry", project)
        assert rows == [f"only in {project}"]


def environment(server, project):
    return server.host.read(f"/srv/django/{project}/live/environment")


def test_each_has_secrets_of_its_own(server):
    keys = {server.secret(project, "SECRET_KEY") for project in PROJECTS}
    assert len(keys) == len(PROJECTS)
    assert len({server.call("django.config")["projects"][name]["user"] for name in PROJECTS}) == 3


@pytest.mark.parametrize("stranger", PROJECTS)
@pytest.mark.parametrize("owner", PROJECTS)
def test_no_user_reads_another_s_files(server, owner, stranger):
    if owner == stranger:
        return
    root = f"/srv/django/{owner}"
    release, instance = server.live(owner)
    for path in (
        f"{root}/instances/{instance}/environment",
        f"{root}/releases/{release}/source/manage.py",
        f"/var/log/django/{owner}/web.log",
        f"/etc/django-formula/secrets/{owner}.json",
    ):
        assert server.host.exists(path), path
        assert server.host.run(["cat", path], user=stranger, check=False).returncode != 0, path
    for path in (f"{root}/shared", f"{root}/releases", f"{root}/shared/media"):
        assert server.host.run(["ls", path], user=stranger, check=False).returncode != 0, path
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect('{root}/web.sock')"
    argv = ["python3", "-c", connect]
    assert server.host.run(argv, user=stranger, check=False).returncode != 0
    assert server.host.run(argv).returncode == 0


def test_no_role_enters_another_s_database(server):
    url = "postgresql://second:{}@127.0.0.1/{}"
    password = server.secret("second", "database.default.password")

    def ask(database):
        argv = ["psql", url.format(password, database), "-Atc", "SELECT 1"]
        return server.host.run(argv, user="nobody", check=False)

    assert ask("second").stdout == "1\n"
    for database in ("guestbook", "postgres", "template1"):
        assert ask(database).returncode != 0, database
    as_other = ["psql", "-d", "guestbook", "-U", "guestbook", "-c", "SELECT 1"]
    assert server.host.run(as_other, user="second", check=False).returncode != 0


def test_redis_of_one_refuses_the_other(server):
    instances = {
        each["project"]: each for each in server.call("django.config")["redis"]["instances"]
    }
    assert set(instances) == {"guestbook", "second"}
    port = str(instances["guestbook"]["port"])
    for project, answer in (("guestbook", "PONG"), ("second", "NOAUTH")):
        env = {"REDISCLI_AUTH": server.secret(project, "cache.password")}
        said = server.run(["redis-cli", "-p", port, "ping"], env=env, check=False)
        assert answer in said.stdout + said.stderr


def test_other_processes_run_and_leave_signs_of_life(server):
    first = server.psql("SELECT beats FROM guestbook_heartbeat", "second")
    server.run("sleep 3")
    then = server.psql("SELECT beats FROM guestbook_heartbeat", "second")
    assert int(then[0]) > int(first[0])
    assert server.host.pids("manage.py heartbeat")


def test_timer_runs_with_the_project_s_environment(server):
    server.psql(
        "UPDATE guestbook_entry SET is_spam = true, created_at = now() - interval '9 days'",
        "second",
    )
    log, entries = "/var/log/django/second/timer-purge.log", "SELECT count(*) FROM guestbook_entry"
    deadline = time.monotonic() + 150  # the clock strikes every minute, and Django has to start
    while time.monotonic() < deadline:
        ended = server.host.exists(log) and "purge: done" in server.host.read(log)
        if ended and server.psql(entries, "second") == ["0"]:
            break
        time.sleep(1)
    assert server.psql(entries, "second") == ["0"]
    assert "purge: done" in server.host.read(log)


def test_timer_that_fails_is_seen(server):
    """It is asked for after the test before, in whose minute it ran too."""
    deadline = time.monotonic() + 150
    while True:
        timers = server.call("django.status", "second")["second"]["timers"]
        if timers["broken"]["failed"] or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert timers["broken"]["result"] == "failed with exit status 2"
    assert timers["broken"]["exit_status"] == 2
    assert timers["broken"]["started"] <= timers["broken"]["ended"]
    assert (timers["purge"]["result"], timers["purge"]["failed"]) in (
        ("done", False),
        ("runs", False),
    )
    assert "--nonsense" in server.host.read("/var/log/django/second/timer-broken.log")
    told = server.run("journalctl -t django-second -p err -o cat").stdout
    assert "timer broken failed with exit status 2" in told
    verified = server.apply().comment("second: what runs is verified")
    assert "Timer broken failed with exit status 2 at " in verified
    assert "purge" not in verified


def test_systemd_and_supervisord_side_by_side(server):
    units = server.run("systemctl list-units --plain --no-legend 'third.*'").stdout
    assert f"third.web.{server.live('third')[1]}.service" in units
    programs = server.run("supervisorctl status", check=False).stdout
    assert "third." not in programs
    assert "guestbook.web." in programs and "second.heartbeat." in programs


def test_nothing_is_left_to_do(server):
    server.assert_settled()
    status = json.dumps(server.call("django.status"))
    for project in PROJECTS:
        assert server.live(project)[0] in status


def test_change_of_one_leaves_the_others_alone(server):
    before = {name: server.live(name) for name in PROJECTS}
    pids = {name: server.host.pids(f"web-{before[name][1]}") for name in PROJECTS}
    server.pillar(
        PILLAR.replace("{username: boss}", "{username: boss}\n      env: {TIME_ZONE: CET}")
    )
    outcome = server.apply()
    assert outcome.changed and all(each.startswith("second: ") for each in outcome.changed)
    for name in ("guestbook", "third"):
        assert server.live(name) == before[name]
        assert server.host.pids(f"web-{before[name][1]}") == pids[name]
    assert server.live("second")[0] == before["second"][0]


def test_projects_that_leave_the_pillar_stop_and_come_back_as_they_were(server):
    left = {name: server.live(name) for name in PROJECTS[1:]}
    entries = server.psql("SELECT message FROM guestbook_entry", "second")
    pillar = PILLAR[: PILLAR.index("    second:")]
    server.pillar(pillar)
    predicted = server.predict()
    outcome = server.apply()
    assert outcome.changed == predicted.changed
    assert "projects that left the pillar do not run" in outcome.changed
    for name in left:
        assert not server.host.pids(f"/{name}/instances/"), name
        assert name in outcome.comment("projects that left the pillar do not run")
        assert server.live(name) == left[name], "its releases are kept"
    assert not server.host.exists("/etc/cron.d/django-second")
    assert "second." not in server.run("supervisorctl status", check=False).stdout
    assert "third." not in server.run("systemctl list-units --all --plain 'third.*'").stdout
    assert server.host.get("/", host=domain("guestbook")).status == 200
    assert server.psql("SELECT message FROM guestbook_entry", "second") == entries
    server.assert_settled()

    server.pillar(PILLAR)
    server.apply()
    for name in left:
        assert Browser(server.host, domain(name)).get("/").status_code == 200
    assert server.live("third") == left["third"]
    server.assert_settled()
