"""Migrations of a site that serves: looked at before, once, with limits, and in two halves."""

import json
import threading
import time

import pytest

from .guestbook import ROOT, SOURCE, Visitors, change, develop, no_failed_request, restore

pytestmark = pytest.mark.proves(
    "releases",
    "migrations",
    "risks told and refused, late ones after the switch, limits for locks, once for five at a time",
    on=["Debian 12"],
)

MIGRATIONS = f"{SOURCE}/guestbook/migrations"
PILLAR = """\
django:
  projects:
    guestbook:
      source: {path: %s}
      settings: config.settings
      health: {path: /healthz/}
      env: {DJANGO_TEST_ENDPOINTS: '1'}
      migrate: {lock_timeout: 4s, risky: %s, allowed: [%s]}
"""
HEAD = """\
import time

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("guestbook", "%s")]
"""
COLUMN = """\
    operations = [
        migrations.RunSQL(
            "ALTER TABLE guestbook_entry ADD COLUMN %s integer",
            "ALTER TABLE guestbook_entry DROP COLUMN %s",
        )
    ]
"""
RISKY = """\
    operations = [
        migrations.AddField("entry", "mood", models.CharField(max_length=9, default="fine")),
        migrations.AddField("entry", "note", models.CharField(max_length=9, null=True)),
        migrations.AddIndex("entry", models.Index(fields=["name"], name="by_name")),
        migrations.RenameField("entry", "mood", "temper"),
        migrations.RunPython(lambda apps, editor: None),
        migrations.CreateModel("Guest", [("id", models.BigAutoField(primary_key=True))]),
        migrations.AddField("guest", "name", models.CharField(max_length=9, unique=True)),
        migrations.DeleteModel("Heartbeat"),
    ]
"""
SLOW = """\
    atomic = False
    operations = [
        migrations.RunPython(
            lambda apps, editor: time.sleep(3), migrations.RunPython.noop, atomic=False
        ),
        migrations.RunSQL("CREATE TABLE made_once (id int)", "DROP TABLE made_once"),
        migrations.RunSQL("CREATE INDEX%s only_once ON made_once (id)"),
    ]
"""


@pytest.fixture(scope="module")
def server(site):
    develop(site)
    configure(site)
    site.apply()
    return site


def configure(server, risky="allow", allowed=""):
    server.pillar(PILLAR % (SOURCE, risky, allowed))


def migration(server, name, body, after="0003_heartbeat"):
    server.host.write(f"{MIGRATIONS}/{name}.py", HEAD % after + body)


def columns(server):
    query = "SELECT column_name FROM information_schema.columns WHERE table_name='guestbook_entry'"
    return server.psql(query, "guestbook")


def test_plan_tells_sql_and_risks(server):
    live = server.live()
    migration(server, "0004_risky", RISKY)
    (step,) = server.call("django.plan", "guestbook")["default"]
    assert (step["app"], step["name"], step["when"]) == ("guestbook", "0004_risky", "before")
    assert step["reversible"] is False, "a RunPython without a way back"
    risks = [[risk["code"] for risk in each["risks"]] for each in step["operations"]]
    assert risks == [
        ["required-column"],
        [],
        ["index"],
        ["renames"],
        ["long-transaction"],
        [],
        [],
        ["drops-table"],
    ]
    sql = [" ".join(each["sql"]) for each in step["operations"]]
    assert 'ADD COLUMN "mood" varchar(9) DEFAULT' in sql[0]
    assert 'CREATE INDEX "by_name" ON "guestbook_entry" ("name")' in sql[2]
    assert sql[4] == ""
    assert 'DROP TABLE "guestbook_heartbeat"' in sql[7]
    assert server.live() == live
    assert "mood" not in columns(server)


def test_risky_migrations_are_refused_where_the_pillar_asks_for_it(server):
    configure(server, "refuse")
    with no_failed_request(server):
        outcome = server.apply(check=False)
    comment = outcome.comment("guestbook: database is migrated")
    assert "guestbook.0004_risky: Add field mood to entry: adds a required column" in comment
    assert "Delete model Heartbeat: drops a table" in comment
    assert "django:projects:guestbook:migrate:allowed" in comment
    assert "mood" not in columns(server)
    restore(server)
    migration(server, "0004_column", COLUMN % ("first", "first"))
    refused = server.apply(check=False).comment("guestbook: database is migrated")
    assert "0004_column" in refused and "cannot be judged" in refused
    configure(server, "refuse", "guestbook.0004_c*")
    server.apply()
    assert "first" in columns(server)
    server.assert_settled()


def test_late_migration_runs_after_the_switch(server):
    late = "    after_switch = True\n" + COLUMN % ("late", "late")
    migration(server, "0005_late", late, "0004_column")
    migration(server, "0006_depends_on_it", COLUMN % ("later", "later"), "0005_late")
    configure(server)
    plan = server.call("django.plan", "guestbook")["default"]
    assert [step["when"] for step in plan] == ["after", "after"]
    predicted = server.predict()
    with no_failed_request(server):
        outcome = server.apply()
    assert outcome.changed == predicted.changed
    order = outcome.changed
    assert order.index("guestbook: release is live") < order.index(
        "guestbook: late migrations are applied"
    )
    assert outcome.comment("guestbook: database is migrated") == "None was pending."
    assert outcome.comment("guestbook: late migrations are applied") == "2 migrations applied."
    assert {"late", "later"} <= set(columns(server))
    server.assert_settled()


def test_late_migrations_are_judged_before_the_switch(server):
    live = server.live()
    body = (
        "    after_switch = True\n"
        "    operations = [migrations.AddIndex('entry', models.Index('name', name='by_name'))]\n"
    )
    migration(server, "0007_index", body, "0006_depends_on_it")
    configure(server, "refuse")
    comment = server.apply(check=False).comment("guestbook: database is migrated")
    assert "0007_index: Create index by_name" in comment
    assert server.live() == live
    server.run(["rm", f"{MIGRATIONS}/0007_index.py"])
    configure(server)


def test_column_goes_after_the_switch_and_comes_back_before_it(server):
    field = '    note = models.TextField("note", null=True)\n'
    spam = '    is_spam = models.BooleanField("spam", default=False)\n'
    models = "guestbook/models.py"
    change(server, models, spam, spam + field)
    body = "    operations = [migrations.AddField('entry', 'note', models.TextField(null=True))]\n"
    migration(server, "0007_note", body, "0006_depends_on_it")
    server.apply()
    change(server, models, field, "")
    body = "    after_switch = True\n"
    body += "    operations = [migrations.RemoveField('entry', 'note')]\n"
    migration(server, "0008_no_note", body, "0007_note")
    with Visitors(server.host, "/") as visitors:
        server.apply()
        assert "note" not in columns(server)
        told = server.call("django.rollback", "guestbook", "migrations=True")
        assert "note" in columns(server)
    assert told["changes"]["reversed"] == {"default": ["guestbook.0008_no_note"]}
    assert visitors.failed == []
    assert len(visitors.answers) > 50
    server.run(["rm", f"{MIGRATIONS}/0007_note.py", f"{MIGRATIONS}/0008_no_note.py"])


def test_late_migration_that_fails_leaves_the_new_release_serving(server):
    body = '    after_switch = True\n    operations = [migrations.RunSQL("SELECT nonsense")]\n'
    migration(server, "0007_fails", body, "0006_depends_on_it")
    before = server.live()
    with no_failed_request(server):
        outcome = server.apply(check=False)
    assert outcome.failed[0] == "guestbook: late migrations are applied"
    assert "the new release serves" in outcome.comment("guestbook: late migrations are applied")
    assert server.live() != before
    server.run(["rm", f"{MIGRATIONS}/0007_fails.py"])
    server.apply()
    server.assert_settled()


def test_rollback_reverses_migrations_when_asked_to(server):
    told = server.call("django.rollback", "guestbook", "test=True")
    migration(server, "0007_reversible", COLUMN % ("extra", "extra"), "0006_depends_on_it")
    server.apply()
    assert "extra" in columns(server)
    told = server.call("django.rollback", "guestbook", "test=True")
    assert told["database_is_ahead_by"] == {"default": ["guestbook.0007_reversible"]}
    with no_failed_request(server):
        told = server.call("django.rollback", "guestbook", "migrations=True")
    assert told["changes"]["reversed"] == {"default": ["guestbook.0007_reversible"]}
    assert "extra" not in columns(server)
    server.assert_settled()
    server.run(["rm", f"{MIGRATIONS}/0007_reversible.py"])
    server.apply()


def test_rollback_over_squashed_migrations_takes_nothing_away(server):
    """To the older release the tables of what was squashed are its own."""
    squashed = f'    replaces = [("guestbook", "0004_column")]\n{COLUMN % ("first", "first")}'
    migration(server, "0004_squashed", squashed)
    server.apply()
    recorded = "SELECT count(*) FROM django_migrations WHERE name = '0004_squashed'"
    assert server.psql(recorded, "guestbook") == ["1"]
    told = server.call("django.rollback", "guestbook", "migrations=True")
    assert told["database_is_ahead_by"] == {}
    assert "first" in columns(server)
    assert server.host.get("/").status == 200
    migration(server, "0007_new", COLUMN % ("recent", "recent"), "0006_depends_on_it")
    mixed = '    replaces = [("guestbook", "0006_depends_on_it"), ("guestbook", "0007_new")]\n'
    migration(server, "0006_squashed", mixed + COLUMN % ("later", "later"), "0005_late")
    server.apply()
    done = server.run("salt-call django.rollback guestbook migrations=True", check=False)
    assert done.returncode != 0
    assert "0006_squashed (it replaces some that the older release has, too)" in (
        done.stdout + done.stderr
    )
    assert {"later", "recent"} <= set(columns(server))
    server.run(f"rm {MIGRATIONS}/*_squashed.py {MIGRATIONS}/0007_new.py")
    server.apply()


def test_half_of_a_migration_is_told(server):
    """Not only what failed: which one, and that it is not to be begun again as it is."""
    body = '    operations = [migrations.RunSQL("CREATE TABLE half (id int)"), %s]\n'
    nonsense = 'migrations.RunSQL("SELECT nonsense")'
    migration(server, "0007_half", "    atomic = False\n" + body % nonsense, "0006_depends_on_it")
    comment = server.apply(check=False).comment("guestbook: database is migrated")
    assert "guestbook.0007_half (not atomic: what it had changed until then stays)" in comment
    server.psql("DROP TABLE half", "guestbook")
    server.run(["rm", f"{MIGRATIONS}/0007_half.py"])


def test_rollback_tells_what_cannot_be_reversed_before_it_does_anything(server):
    body = '    operations = [migrations.RunSQL("SELECT 1")]\n'
    migration(server, "0007_one_way", body, "0006_depends_on_it")
    server.apply()
    live = server.live()
    done = server.run("salt-call django.rollback guestbook migrations=True", check=False)
    assert done.returncode != 0
    assert "cannot be reversed: guestbook.0007_one_way" in done.stdout + done.stderr
    assert server.live() == live
    assert server.apply().changed == []


def test_blocked_table(server):
    """The release fails in time, the site stays quick, and later the same run succeeds."""
    migration(server, "0008_blocked", COLUMN % ("blocked", "blocked"), "0007_one_way")
    hold = "BEGIN; LOCK TABLE guestbook_entry IN ACCESS SHARE MODE; SELECT pg_sleep(90);"
    blocker = threading.Thread(
        target=server.run,
        args=(["psql", "-qd", "guestbook", "-c", hold],),
        kwargs={"user": "postgres", "check": False},
    )
    blocker.start()
    time.sleep(1)
    waits = []

    def visit():
        while blocker.is_alive() and len(waits) < 5000:
            started = time.monotonic()
            assert server.host.get("/").status == 200
            waits.append(time.monotonic() - started)
            time.sleep(0.02)

    visitor = threading.Thread(target=visit)
    visitor.start()
    outcome = server.apply(check=False)
    server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN;%'")
    blocker.join()
    visitor.join()
    assert outcome.failed[0] == "guestbook: database is migrated"
    comment = outcome.comment("guestbook: database is migrated")
    assert "lock timeout" in comment and "release_allow" not in comment
    duration = next(
        result["duration"]
        for result in outcome.results
        if result["__id__"] == "guestbook: database is migrated"
    )
    assert duration < (4 + 5) * 1000
    assert len(waits) > 50
    assert max(waits) < 2, f"{max(waits)} s"
    assert "blocked" not in columns(server)
    server.apply()
    assert "blocked" in columns(server)
    server.assert_settled()


RUN_AT_ONCE = """\
import json, subprocess, sys
sys.path.insert(0, "/root/django-formula/_utils")
import django_tasks
task = {"do": "migrate", "databases": ["default"], "deferred": {}, "wait": 60, "lock_timeout": 5,
        "statement_timeout": 0}
texts = [open(f"/root/django-formula/salt/django/app/files/tasks/{name}.py").read()
         for name in ("project", "database", "users", "migrations", "main")]
words = json.loads(sys.argv[1])
started = [subprocess.Popen([*words, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
           for _ in range(5)]
for process in started:
    process.stdin.write(django_tasks.program([task], texts))
    process.stdin.close()
print(json.dumps([json.loads(process.stdout.read()) for process in started]))
"""


def five_at_once(server, words):
    """Answers of five processes that migrate at the same moment, as five hosts would."""
    server.host.write("/root/at_once.py", RUN_AT_ONCE)
    said = server.run(["python3", "/root/at_once.py", json.dumps(words)]).stdout
    answers = json.loads(said)
    assert not any("error" in answer for answer in answers), answers
    return sorted(len(answer["migrate"]["default"]) for answer in answers)


def test_five_at_once_migrate_once(server):
    migration(server, "0009_slow", SLOW % " CONCURRENTLY", "0008_blocked")
    venv = server.run(["readlink", "-f", f"{ROOT}/current/venv"]).stdout.strip()
    run = ["/usr/local/lib/django-formula/with-environment", f"{ROOT}/live/environment"]
    words = ["runuser", "-u", "guestbook", "--", *run, "env", "-C", SOURCE, f"{venv}/bin/python"]
    server.run(["chmod", "-R", "a+rX", "/srv/src"])
    assert five_at_once(server, words) == [0, 0, 0, 0, 1]
    valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'only_once'::regclass"
    assert server.psql(valid, "guestbook") == ["t"], "who waits does not keep it from being built"


MYSQL_SETTINGS = """\
import pymysql

pymysql.version_info = (2, 2, 7, "final", 0)
pymysql.install_as_MySQLdb()
SECRET_KEY = "x" * 50
INSTALLED_APPS = ["django.contrib.contenttypes", "slow"]
DATABASES = {"default": {"ENGINE": "django.db.backends.mysql", "NAME": "shop", "USER": "shop",
                         "PASSWORD": "shop", "HOST": "127.0.0.1"}}
"""


def test_five_at_once_migrate_once_on_mariadb(server):
    server.run("apt-get install -qy --no-install-recommends mariadb-server", timeout=300)
    server.run("systemctl start mariadb")
    grant = "CREATE DATABASE shop; GRANT ALL ON shop.* TO shop@'%' IDENTIFIED BY 'shop'"
    server.run(["mariadb", "-e", grant])
    uv = "/opt/django-formula/uv/bin/uv"
    server.run(
        f"{uv} venv -q /root/mysql && . /root/mysql/bin/activate && "
        f"{uv} pip install -q 'Django<6' PyMySQL"
    )
    server.host.write("/root/shop/settings.py", MYSQL_SETTINGS)
    server.host.write("/root/shop/slow/__init__.py", "")
    server.host.write("/root/shop/slow/migrations/__init__.py", "")
    body = (HEAD % "x").replace('[("guestbook", "x")]', "[]") + SLOW % ""
    server.host.write("/root/shop/slow/migrations/0001_slow.py", body)
    words = ["env", "-C", "/root/shop", "DJANGO_SETTINGS_MODULE=settings", "/root/mysql/bin/python"]
    assert five_at_once(server, words) == [0, 0, 0, 0, 3], "two of contenttypes and ours"
