"""Backups: what is lost comes back by the documented commands, and one that fails is told."""

import json

import pytest

from .server import CHECKOUT, Browser, picture

pytestmark = pytest.mark.proves(
    "backups and monitoring",
    "backups by restic",
    "rows and uploads that were lost come back; what fails changes nothing and is told",
    on=["Debian 12"],
)

REPOSITORY = "/mnt/backup/guestbook"
PROJECTS = f"""\
django:
  projects:
    guestbook:
      source: {{path: {CHECKOUT}/examples/guestbook}}
      settings: config.settings
      health: {{path: /healthz/}}
      superuser: {{username: admin}}
"""
PILLAR = f"""\
{PROJECTS}\
  backup:
    repository: {REPOSITORY}
    on_failure: [tee, /root/told]
    %(password)s
"""
MEDIA = "/srv/django/guestbook/shared/media"
NOTES = "/var/lib/django-backup"
LOG = "/var/log/django-formula/backup.log"
GUARD = """
CREATE SCHEMA guard;
CREATE FUNCTION guard.stop() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no table is altered here'; END $$;
CREATE EVENT TRIGGER stop ON ddl_command_end WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION guard.stop();
"""
# Each of these needs the one before: whoever removes one removes those after it.
CHAINS = """
SET ROLE guestbook;
CREATE TEXT SEARCH CONFIGURATION plain (COPY = simple);
CREATE TYPE prices AS RANGE (subtype = numeric);
CREATE TABLE parted (id integer) PARTITION BY RANGE (id);
CREATE DOMAIN step0 AS integer;
DO $$ BEGIN
    FOR i IN 1..20 LOOP EXECUTE format('CREATE DOMAIN step%s AS step%s', i, i - 1); END LOOP;
END $$;
"""
LONG_AGO = "2020-01-01T00:00:00+00:00"
WATCHED = """\
salt-call --log-level error django.backup guestbook >/root/saved 2>&1 &
while kill -0 $! 2>/dev/null; do
    cat /proc/[0-9]*/cmdline 2>/dev/null
    sleep 0.02
done | tr '\\0' ' '
cat /root/saved
"""


@pytest.fixture(scope="module")
def server(site):
    """The example site with backups, as the pillar generates their password."""
    site.pillar(PILLAR % {"password": ""})
    predicted = site.predict()
    done = site.apply()
    # Cron is started as predicted, by its own package.
    expected = [each for each in predicted.changed if each != "backups are made"]
    assert done.changed == expected, f"{predicted.told()}\n\n{done.told()}"
    assert "The password of the backups is on this server alone" in done.output
    site.pillar(PILLAR % {"password": f"password: {kept_password(site)}"})
    assert "on this server alone" not in site.apply().output
    return site


def kept_password(site):
    return site.secret("backup.repository", "password")


def sign(server, name):
    """Somebody leaves an entry with a picture; the path of the picture."""
    guest = Browser(server.host)
    fields = {"name": name, "message": f"{name} was here."}
    answer = guest.submit("/", fields, files={"picture": (f"{name}.png", picture(), "image/png")})
    assert answer.status_code == 302, answer.text[:2000]
    sql = f"SELECT picture FROM guestbook_entry WHERE name = '{name}'"
    return server.psql(sql, "guestbook")[0]


def lose(server, *pictures):
    """All entries and these pictures are gone."""
    server.psql("DELETE FROM guestbook_entry", "guestbook")
    server.run(["rm", *(f"{MEDIA}/{path}" for path in pictures)])


def fails(server, *words):
    """What a call says that fails."""
    done = server.run(["salt-call", "--log-level", "error", *words], check=False)
    assert done.returncode, done.stdout
    return done.stdout + done.stderr


def test_what_was_lost_comes_back(server):
    server.psql(CHAINS, "guestbook")
    first = sign(server, "Ada")
    said = server.run(WATCHED).stdout
    assert "restic" in said and "pg_dump" in said and "Saved: guestbook" in said
    for secret in (kept_password(server), server.secret("guestbook", "database.default.password")):
        assert secret not in said
    (kept,) = server.call("django.backups", "guestbook")
    assert kept["kind"] == "backup" and "second" in kept["age"] and kept["size"] > 1000

    lose(server, first)
    second = sign(server, "Grace")
    refused = fails(server, "django.restore", "guestbook", "latest")
    assert "replace=True" in refused and "into=" in refused
    beside = server.call("django.restore", "guestbook", kept["id"], "into=/root/beside")
    listed = server.run(["pg_restore", "--list", beside["changes"]["default.pgdump"]]).stdout
    assert "guestbook_entry" in listed
    assert server.mode("/root/beside") == "700 root:root"
    assert server.run(["test", "-e", f"/root/beside/media/{first}"]).returncode == 0
    assert "Ada" not in Browser(server.host).get("/").text  # all else is as it was

    server.call("django.restore", "guestbook", "latest", "replace=True")
    page = Browser(server.host).get("/").text
    assert "Ada was here." in page and "Grace" not in page
    assert Browser(server.host).get(f"/media/{first}").content == picture()
    assert Browser(server.host).get(f"/media/{second}").status_code == 404
    assert server.mode(f"{MEDIA}/{first}").endswith("guestbook:www-data")
    server.assert_settled()
    sign(server, "Edsger")

    before, same = server.call("django.backups", "guestbook")
    assert (before["kind"], same["id"]) == ("before-restore", kept["id"])
    server.call("django.restore", "guestbook", before["id"], "replace=True", "only=database")
    page = Browser(server.host).get("/").text
    assert "Grace was here." in page and "Edsger" not in page


def test_nobody_but_root_reads_them(server):
    found = server.run(["find", REPOSITORY, NOTES, "/etc/django-formula/backup", "-perm", "/044"])
    assert found.stdout == ""
    assert server.run(["ls", "-A", NOTES]).stdout.split() == [
        "guestbook.last",
        "guestbook.sizes",
        "repository.json",
    ]


def test_what_cannot_be_brought_back_changes_nothing(server):
    sign(server, "Barbara")
    server.psql(GUARD, "guestbook")
    told = fails(server, "django.restore", "guestbook", "latest", "replace=True", "save=False")
    assert "no table is altered here" in told and "This database is as it was." in told
    assert "Barbara was here." in Browser(server.host).get("/").text
    server.psql("DROP SCHEMA guard CASCADE", "guestbook")
    # What cannot be saved first is not replaced, either.
    server.psql("CREATE TABLE by_hand (id int)", "guestbook")  # of the superuser
    told = fails(server, "django.restore", "guestbook", "latest", "replace=True")
    assert "permission denied" in told and "nothing was changed" in told
    assert "Barbara was here." in Browser(server.host).get("/").text
    server.psql("DROP TABLE by_hand", "guestbook")


def test_one_that_failed_or_is_overdue_is_told(server):
    server.run(["mv", REPOSITORY, f"{REPOSITORY}.away"])
    assert REPOSITORY in fails(server, "django.backup", "guestbook")
    assert REPOSITORY in server.run(["cat", "/root/told"]).stdout
    last = server.call("django.status", "guestbook")["guestbook"]["backup"]
    assert (last["result"], last["failed"], last["overdue"]) == ("failed", True, False)
    done = server.apply()
    assert done.changed == []
    assert "The last backup of guestbook failed" in done.output
    server.run(["mv", f"{REPOSITORY}.away", REPOSITORY])

    server.run(server.run(["grep", "-o", "nice .*", "/etc/cron.d/django-backup"]).stdout)
    assert "guestbook: saved as" in server.run(["cat", LOG]).stdout
    note = json.loads(server.host.read(f"{NOTES}/guestbook.last"))
    assert "problem" not in note and note["id"]
    server.host.write(f"{NOTES}/guestbook.last", json.dumps({**note, "good": LONG_AGO}))
    last = server.call("django.status", "guestbook")["guestbook"]["backup"]
    assert (last["failed"], last["overdue"]) == (False, True)


def test_another_password_is_refused(server):
    password = kept_password(server)
    server.pillar(PILLAR % {"password": "password: not-the-one-it-has"})
    assert "backups have their repository" in server.predict().changed
    done = server.apply(check=False)
    assert done.failed == ["backups have their repository"]
    assert "it was made with another password" in done.comment("backups have their repository")
    assert "A backup of guestbook is overdue" in done.output
    assert password not in done.output
    assert "another password" in fails(server, "django.backup", "guestbook")


def test_without_backups_in_the_pillar_there_is_no_timer(server):
    server.pillar(PROJECTS)
    assert server.apply().changed == ["projects that left the pillar do not run"]
    for path in ("/etc/cron.d/django-backup", "/etc/django-formula/backup/settings.json"):
        assert server.run(["test", "-e", path], check=False).returncode
