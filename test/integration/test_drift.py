"""
What drifted from the pillar is predicted by ``test=True``, mended by a run, and then nothing is
left to do. Each test spoils one thing of the example site.
"""

import pytest

from .server import PILLAR, Browser, wait_for

pytestmark = pytest.mark.proves(
    "faults", "drift", "predicted exactly, mended by one run", on=["Debian 12"]
)

ROOT = "/srv/django/guestbook"


@pytest.fixture(autouse=True)
def still_serves(site):
    """Whatever was spoilt: the site answers after it was mended, and the next test finds it so."""
    yield
    try:
        wait_for(lambda: site.host.get("/").status == 200)
    except (AssertionError, OSError):
        site.apply()
        raise


def test_nothing_drifts_by_itself(site):
    """After a boot of a frozen site, too."""
    site.assert_settled()


@pytest.mark.parametrize(
    "path",
    [
        "/etc/nginx/django.d/guestbook.conf",
        "/etc/supervisor/supervisord.conf",
        "/etc/django/guestbook/manage",
        "/etc/logrotate.d/django-guestbook",
        "/usr/local/lib/django-formula/with-environment",
    ],
)
def test_edited_file(site, path):
    assert site.host.exists(path)
    before = site.host.read(path)
    site.run(["sh", "-c", 'printf "\\n# by hand\\n" >>"$0"', path])
    site.assert_mended()
    assert site.host.read(path) == before


def test_mode_of_a_private_file(site):
    path = f"{ROOT}/live/environment"
    site.run(["chmod", "644", path])
    site.assert_mended("guestbook: release is configured")
    assert site.mode(path) == "400 guestbook:guestbook"


def test_edited_environment(site):
    path = f"{ROOT}/live/environment"
    before = site.host.read(path)
    site.run(["sh", "-c", 'echo DEBUG=1 >>"$0"', path])
    site.assert_mended("guestbook: release is configured")
    assert site.host.read(path) == before


@pytest.mark.parametrize("service", ["nginx", "postgresql@15-main", "supervisor"])
def test_stopped_service(site, service):
    site.run(["systemctl", "stop", service])
    site.assert_mended()
    assert site.run(["systemctl", "is-active", service]).stdout == "active\n"


def test_service_that_has_not_read_its_file(site):
    """As a run leaves it that is killed between a file and the service: the file is right."""
    site.run("touch /etc/postgresql/15/main/conf.d/10-django-restart.conf /etc/nginx/nginx.conf")
    started = site.psql("SELECT pg_postmaster_start_time()")
    workers = site.host.pids("nginx: worker")
    site.assert_mended("PostgreSQL runs", "Nginx runs")
    assert site.psql("SELECT pg_postmaster_start_time()") > started
    assert not set(workers) & set(site.host.pids("nginx: worker process$"))


def test_disabled_service(site):
    site.run(["systemctl", "disable", "nginx"])
    site.assert_mended()
    assert site.run(["systemctl", "is-enabled", "nginx"]).stdout == "enabled\n"


def test_killed_gunicorn_comes_back_by_itself(site):
    """That is the process manager's work: a run right after it has nothing to do."""
    before = site.host.pids("bin/gunicorn")
    site.host.kill(min(before))
    wait_for(lambda: set(before).isdisjoint(site.host.pids("bin/gunicorn")), 60)
    wait_for(lambda: site.host.get("/").status == 200)
    site.assert_settled()


def test_stopped_program(site):
    program = f"guestbook.web.{site.live()[1]}"
    site.run(["supervisorctl", "stop", program])
    assert site.host.get("/").status == 502
    site.assert_mended("guestbook: release is live")


def test_removed_program(site):
    program = f"guestbook.web.{site.live()[1]}"
    site.run(["sh", "-c", f"rm /etc/supervisor/conf.d/*{program}*; supervisorctl update"])
    site.assert_mended("guestbook: release is live")


def test_socket_that_is_gone(site):
    site.run(["rm", f"{ROOT}/web.sock"])
    site.assert_mended("guestbook: release is live")


# The database


def test_password_that_was_changed(site):
    site.psql("ALTER ROLE guestbook PASSWORD 'other'")
    site.assert_mended("guestbook: database default is there")


def test_grant_that_was_dropped(site):
    site.psql("REVOKE ALL ON DATABASE guestbook FROM guestbook")
    site.assert_mended("guestbook: database default is there")


def test_database_that_was_opened_to_all(site):
    site.psql("GRANT CONNECT ON DATABASE guestbook TO PUBLIC")
    site.assert_mended("guestbook: database default is there")


def test_schema_that_was_closed(site):
    """The tables are not to be seen then, and still nobody predicts migrations."""
    site.psql("REVOKE ALL ON SCHEMA public FROM PUBLIC, pg_database_owner, guestbook", "guestbook")
    site.assert_mended("guestbook: database default is there")


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER ROLE guestbook SUPERUSER",
        "ALTER ROLE guestbook CREATEROLE REPLICATION BYPASSRLS",
        "GRANT pg_read_server_files TO guestbook",
        "CREATE ROLE ops; GRANT postgres TO ops; GRANT ops TO guestbook",
    ],
)
def test_role_that_became_mighty(site, statement):
    site.psql(statement)
    site.assert_mended("guestbook: database default is there")


def test_setting_by_alter_system_is_told_and_left(site):
    """It may be what somebody did at night for a reason."""
    site.psql("ALTER SYSTEM SET work_mem = '3MB'")
    outcome = site.apply()
    assert outcome.changed == [], outcome.told()
    assert "work_mem is 3MB by ALTER SYSTEM" in outcome.output
    site.psql("ALTER SYSTEM RESET work_mem")


def test_table_of_migrations_that_lacks_one(site):
    """A migration that is not applied is applied, whatever a marker says."""
    site.run(["django-manage", "guestbook", "migrate", "guestbook", "0002"])
    site.assert_mended("guestbook: database is migrated")
    assert site.psql("SELECT count(*) FROM guestbook_heartbeat", "guestbook") == ["0"]


def test_superuser_that_was_deleted(site):
    code = "from django.contrib.auth.models import User; User.objects.all().delete()"
    site.run(["django-manage", "guestbook", "shell", "-c", code])
    site.assert_mended("guestbook: superuser is there")
    password = site.secret("guestbook", "superuser.password")
    assert Browser(site.host).login("/admin/login/", "admin", password).status_code == 302


def test_password_that_the_operator_changed_stays(site):
    """The superuser's password is the operator's from the first login on."""
    code = (
        "from django.contrib.auth.models import User; u = User.objects.get(username='admin');"
        " u.set_password('chosen-by-hand'); u.save()"
    )
    site.run(["django-manage", "guestbook", "shell", "-c", code])
    site.assert_settled()
    assert Browser(site.host).login("/admin/login/", "admin", "chosen-by-hand").status_code == 302


# Packages, Python's and Debian's


def test_removed_distribution(site):
    site.run(f"rm -r {ROOT}/venvs/*/lib/python3*/site-packages/dj_database_url-*.dist-info")
    site.assert_mended("guestbook: packages are installed")


def test_deleted_environment(site):
    site.run(f"rm -r {ROOT}/venvs/*/lib")
    site.assert_mended("guestbook: packages are installed")


def test_changed_tool(site):
    site.run("rm -r /opt/django-formula/supervisor/lib/python3*/site-packages/supervisor-*")
    site.assert_mended()


def test_removed_package(site):
    site.run("DEBIAN_FRONTEND=noninteractive apt-get remove -qy logrotate")
    site.assert_mended()
    assert site.host.exists("/usr/sbin/logrotate")


# Files of the project


def test_deleted_static_file(site):
    path = site.run(f"find {ROOT}/static -name '*.css' | head -1").stdout.strip()
    before = site.host.read(path)
    site.run(["rm", path])
    site.assert_mended("guestbook: static files are published")
    assert site.host.read(path) == before


def test_deleted_release_source(site):
    site.run(f"rm -r {ROOT}/current/source")
    site.assert_mended("guestbook: source is fetched")


def test_edited_release(site):
    """A release that was changed by hand is replaced by one of the same content."""
    before = site.live()[0]
    page = f"{ROOT}/current/source/guestbook/templates/guestbook/index.html"
    text = site.host.read(page)
    site.run(f"sed -i 's/It works/It was hacked/' {page}")
    site.assert_mended("guestbook: source is fetched", "guestbook: release is live")
    assert site.live()[0] != before
    assert site.host.read(page) == text
    assert "It works" in site.host.get("/").text


def test_lost_record_of_the_release(site):
    before = site.live()[0]
    site.run(f"rm {ROOT}/current/release.json")
    site.assert_mended("guestbook: source is fetched", "guestbook: release is live")
    assert site.live()[0] != before
    assert site.host.exists(f"{ROOT}/current/source/manage.py")


def test_folders_that_the_project_could_change(site):
    """Release, environment and instance: what is in them is as it was, and could be exchanged."""
    release, instance = site.live()
    venv = site.run(["readlink", "-f", f"{ROOT}/current/venv"]).stdout.strip()
    folders = [f"{ROOT}/releases/{release}", venv, f"{ROOT}/instances/{instance}"]
    site.run(["chown", "guestbook", folders[0], folders[1]])
    site.run(["chmod", "770", folders[1], folders[2]])
    site.run(["chown", "guestbook", "/etc/django-formula/secrets"])
    site.assert_mended(
        "guestbook: secrets are there",
        "guestbook: source is fetched",
        "guestbook: packages are installed",
        "guestbook: release is configured",
    )
    assert [site.mode(folder) for folder in folders] == ["750 root:guestbook"] * 3
    assert site.live() == (release, instance)


def test_primary_group_that_was_changed(site):
    """
    The project cannot read its files then, which a test sees through. (usermod brings the home
    directory along, both ways: that is the state more that is predicted.)
    """
    site.run(["usermod", "--gid", "nogroup", "guestbook"])
    predicted = site.predict().changed
    assert predicted == ["guestbook: system user is there", "guestbook: directories are there"]
    site.assert_mended("guestbook: system user is there", exactly=False)
    assert site.run(["id", "-gn", "guestbook"]).stdout == "guestbook\n"


def test_number_of_a_user_who_is_there_is_not_changed(site):
    """Files would stay with the old one: that is told before anything changes."""
    before, pillar = site.run(["id", "guestbook"]).stdout, site.host.read(PILLAR)
    site.pillar(f"{pillar.rstrip()}\n      uid: 900\n")
    for words in (["test=True"], []):
        outcome = site.apply(*words, check=False)
        told = outcome.comment("guestbook: number of its user is settled")
        assert "has the number" in told and "and not 900" in told, outcome.told()
        assert outcome.changed == [], outcome.told()
    assert site.run(["id", "guestbook"]).stdout == before
    site.pillar(pillar)
    site.assert_settled()


def test_service_that_may_not_start(site):
    """Somebody has masked it: that is told, by a test as by a run, and not undone."""
    site.run("systemctl mask --now nginx")
    for words in (["test=True"], []):
        outcome = site.apply(*words, check=False)
        assert "systemctl unmask nginx" in outcome.comment("Nginx runs"), outcome.told()
    site.run("systemctl unmask nginx")
    site.assert_mended("Nginx runs")


def test_current_that_points_elsewhere(site):
    live = site.live()
    site.run(f"ln -sfn releases/none {ROOT}/current")
    site.assert_mended()
    assert site.live() == live


def test_processes_that_run_another_release(site):
    """All on the disk is as it was, and so is what supervisord has: only the processes tell."""
    release, instance = site.live()
    folder = f"{ROOT}/releases/{release}"
    site.run(f"mv {folder} {ROOT}/releases/other && cp -a {ROOT}/releases/other {folder}")
    outcome = site.apply(check=False)
    assert outcome.failed[0] == "guestbook: what runs is verified", outcome.told()
    comment = outcome.comment("guestbook: what runs is verified")
    assert f"uses {ROOT}/releases/other" in comment
    assert "django.restart guestbook" in comment, "what to do about it"
    site.call("django.restart", "guestbook")
    assert site.live()[0] == release and site.live()[1] != instance
    site.assert_settled()
    assert not site.host.exists(f"{ROOT}/releases/other")


def test_secret_file_that_others_could_read(site):
    path = "/etc/django-formula/secrets/guestbook.json"
    site.run(["chmod", "644", path])
    site.assert_mended()
    assert site.mode(path) == "600 root:root"


def test_lost_media_folder(site):
    site.run(f"rm -r {ROOT}/shared/media")
    site.assert_mended()
    assert site.mode(f"{ROOT}/shared/media") == "2750 guestbook:www-data"
