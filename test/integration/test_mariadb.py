"""Engine mysql: the example site on MariaDB by pillar alone, what drifts, and its migrations."""

import pytest

from test.hosts import boot

from .guestbook import SOURCE, develop
from .machines import ensure
from .server import Browser, Server, put_checkout

pytestmark = pytest.mark.proves(
    "database server",
    "MariaDB",
    "a site reads and writes; drift is mended, locks have limits, two runs migrate once; the plan "
    "knows what it does online",
    on=["Debian 12"],
)

PILLAR = f"""\
django:
  projects:
    guestbook:
      source: {{path: {SOURCE}}}
      settings: config.settings
      health: {{path: /healthz/}}
      database: {{engine: mysql}}
      python: {{requirements: [requirements-mysql.txt]}}
      migrate: {{lock_timeout: 5s}}
"""
MIGRATION = f"{SOURCE}/guestbook/migrations/0099_more.py"
ADDS_A_COLUMN = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "{before}")]
    operations = [
        migrations.RunSQL("ALTER TABLE guestbook_entry ADD COLUMN mood varchar(9) NULL")
    ]
"""
PLANNED = """\
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("guestbook", "{before}")]
    operations = [
        migrations.AddField("entry", "mood", models.CharField(max_length=9, default="fine")),
        migrations.AddField("entry", "note", models.CharField(max_length=50, null=True)),
        migrations.AddIndex("entry", models.Index(fields=["name"], name="by_name")),
        migrations.AddConstraint(
            "entry", models.UniqueConstraint(fields=["name", "created_at"], name="once")
        ),
        migrations.AddConstraint(
            "entry", models.CheckConstraint(condition=~models.Q(name=""), name="named")
        ),
        migrations.AlterField("entry", "note", models.CharField(max_length=60, null=True)),
        migrations.AlterField("entry", "note", models.CharField(max_length=90, null=True)),
        migrations.AlterField("entry", "note", models.TextField(null=True)),
    ]
"""
HALF = """\
from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("guestbook", "{before}")]
    operations = [
        migrations.RunSQL("ALTER TABLE guestbook_entry ADD COLUMN half int NULL"),
        migrations.RunSQL("ALTER TABLE guestbook_entry ADD COLUMN half int NULL"),
    ]
"""
DATABASE = "guestbook: database default is there"
CONFIG = "/etc/mysql/mariadb.conf.d/90-django.cnf"
ACCOUNT = "guestbook@'127.0.0.1'"


@pytest.fixture(scope="module")
def server():
    """A bare server on which the example site was put, with MariaDB for its database."""
    with boot("int-mariadb", image=ensure("bookworm-ready")) as host:
        put_checkout(host)
        server = Server(host)
        develop(server)
        server.bootstrap(pillar=PILLAR)
        yield server


def ask(server, sql, database="guestbook"):
    """Rows (list of str) that MariaDB gives its root."""
    argv = ["mariadb", "--default-character-set=utf8mb4", "-BN", "--raw", database, "-e", sql]
    return server.run(argv).stdout.splitlines()


def write_migration(server, text):
    """One that comes after all others."""
    names = server.run(f"ls {SOURCE}/guestbook/migrations").stdout.split()
    newest = max(name for name in names if name[0].isdigit())
    server.host.write(MIGRATION, text.format(before=newest.removesuffix(".py")))


def as_project(server, sql, check=True):
    """Ask MariaDB as the project's own user."""
    password = server.secret("guestbook", "database.default.password")
    argv = ["mariadb", "--no-defaults", "-h127.0.0.1", "-uguestbook", "-BN", "-e", sql]
    return server.host.run(argv, env={"MYSQL_PWD": password}, check=check)


def test_site_writes_into_mariadb(server):
    Browser(server.host).submit("/", {"name": "Zoë 🐬", "message": "Kept in MariaDB."})
    assert ask(server, "SELECT name FROM guestbook_entry") == ["Zoë 🐬"]
    assert not server.host.exists("/etc/postgresql")
    collation = "SELECT DISTINCT table_collation FROM information_schema.tables"
    where = "WHERE table_schema = 'guestbook'"
    assert ask(server, f"{collation} {where}") == ["utf8mb4_unicode_ci"]
    server.assert_settled()


def test_it_is_strict_and_closed(server):
    assert "STRICT_TRANS_TABLES" in ask(server, "SELECT @@sql_mode")[0]
    listening = server.run("ss -Hltn sport = :3306").stdout.split()
    assert "127.0.0.1:3306" in listening and "0.0.0.0:3306" not in listening
    assert ask(server, "SELECT count(*) FROM mysql.global_priv WHERE User = ''") == ["0"]


def test_user_cannot_read_another_database(server):
    ask(server, "CREATE DATABASE other; CREATE TABLE other.secrets (id int)", "mysql")
    assert as_project(server, "SELECT count(*) FROM guestbook.guestbook_entry").stdout.strip()
    denied = as_project(server, "SELECT * FROM other.secrets", check=False)
    assert denied.returncode != 0 and "denied" in denied.stderr
    assert "other" not in as_project(server, "SHOW DATABASES").stdout.split()


@pytest.mark.parametrize(
    "drift",
    [
        f"REVOKE INSERT ON `guestbook`.* FROM {ACCOUNT}",
        f"ALTER USER {ACCOUNT} IDENTIFIED BY 'another one'",
        f"GRANT SELECT ON *.* TO {ACCOUNT}",
    ],
)
def test_account_that_drifted_is_mended(server, drift):
    ask(server, drift)
    server.assert_mended(DATABASE)
    assert as_project(server, "SELECT 1").stdout.strip() == "1"


def test_edited_settings_are_mended(server):
    server.run(f"sed -i 's/^max_connections = .*/max_connections = 33/' {CONFIG}")
    server.run("systemctl restart mariadb")
    server.assert_mended("MariaDB has its settings", "MariaDB runs")
    assert ask(server, "SELECT @@max_connections") == ["100"]


def test_stopped_server_is_started(server):
    server.run("systemctl stop mariadb")
    server.assert_mended("MariaDB runs", exactly=False)


def test_setting_that_it_does_not_know_is_not_put_in_place(server):
    before = server.host.read(CONFIG)
    server.pillar(PILLAR + "  mariadb: {settings: {no_such_setting: 1}}\n")
    outcome = server.apply(check=False)
    assert "MariaDB has its settings" in outcome.failed
    assert server.host.read(CONFIG) == before
    assert ask(server, "SELECT 1") == ["1"]
    server.pillar(PILLAR)
    server.assert_settled()


def test_plan_knows_what_mariadb_does_while_others_write(server):
    write_migration(server, PLANNED)
    (step,) = server.call("django.plan", "guestbook")["default"]
    risks = [[risk["code"] for risk in each["risks"]] for each in step["operations"]]
    assert risks == [
        ["required-column"],
        [],
        [],
        [],
        ["constraint"],
        [],
        ["rewrites-table"],
        ["rewrites-table"],
    ]
    assert step["atomic"] is False
    server.run(["rm", MIGRATION])


def test_failed_migration_says_that_its_half_stays(server):
    write_migration(server, HALF)
    before = server.live()
    outcome = server.apply(check=False)
    said = outcome.comment("guestbook: database is migrated")
    assert "what it had changed until then stays" in said, said
    assert server.live() == before
    assert ask(server, "SHOW COLUMNS FROM guestbook_entry LIKE 'half'") != []
    server.run(["rm", MIGRATION])
    ask(server, "ALTER TABLE guestbook_entry DROP COLUMN half")
    server.apply()
    server.assert_settled()


def test_blocked_table_fails_in_time_and_the_old_release_serves(server):
    before = server.live()
    write_migration(server, ADDS_A_COLUMN)
    hold = "START TRANSACTION; SELECT * FROM guestbook_entry; SELECT SLEEP(90)"
    ask_in_background = f"mariadb guestbook -e '{hold}' >/dev/null 2>&1 & echo $!"
    process = server.run(ask_in_background).stdout.strip()
    try:
        outcome = server.apply(check=False)
    finally:
        server.run(f"kill {process}")
    assert "guestbook: database is migrated" in outcome.failed, outcome.told()
    assert server.live() == before
    assert Browser(server.host).get("/").status_code == 200
    found = ask(server, "SHOW COLUMNS FROM guestbook_entry LIKE 'mood'")
    assert found == []


def test_two_runs_at_once_migrate_once(server):
    call = "salt-call django.release_allow guestbook"
    server.run(call)
    server.apply()
    statement = "SELECT count(*) FROM django_migrations WHERE name = '0099_more'"
    assert ask(server, statement) == ["1"]
    ask(server, "ALTER TABLE guestbook_entry DROP COLUMN mood")
    ask(server, "DELETE FROM django_migrations WHERE name = '0099_more'")
    one = "salt-call django.migrate guestbook --out json >/tmp/one 2>&1"
    two = "salt-call django.migrate guestbook --out json >/tmp/two 2>&1"
    server.run(f"{one} & first=$!; {two} && wait $first", timeout=300)
    assert ask(server, statement) == ["1"]


def test_a_backup_comes_back_or_all_stays_as_it_was(server):
    server.pillar(f"{PILLAR}  backup: /mnt/backup\n")
    server.apply()
    before = ask(server, "SELECT name FROM guestbook_entry")
    on = "BEFORE INSERT ON guestbook.guestbook_entry FOR EACH ROW SET NEW.name = UPPER(NEW.name)"
    as_project(server, f"CREATE TRIGGER guestbook.shout {on}")
    kept = server.call("django.backup", "guestbook")["changes"]["guestbook"]["id"]
    as_project(server, "DROP TRIGGER guestbook.shout; DELETE FROM guestbook.guestbook_entry")
    as_project(server, "CREATE PROCEDURE guestbook.later() SELECT 1")
    Browser(server.host).submit("/", {"name": "Later", "message": "After the backup."})

    # What it lacks at the end of the dump is told, and what was there is loaded again.
    ask(server, f"REVOKE TRIGGER ON `guestbook`.* FROM {ACCOUNT}", "mysql")
    words = ["salt-call", "django.restore", "guestbook", kept, "replace=True"]
    failed = server.run(words, check=False)
    assert failed.returncode and "TRIGGER command denied" in failed.stderr + failed.stdout
    assert "brought back to what it was" in failed.stderr + failed.stdout
    assert ask(server, "SELECT name FROM guestbook_entry") == ["Later"]

    assert server.apply().changed == [DATABASE]
    server.call("django.restore", "guestbook", kept, "replace=True")
    assert ask(server, "SELECT name FROM guestbook_entry") == before
    assert ask(server, "SHOW TRIGGERS")[0].startswith("shout\t")
    routines = "SELECT ROUTINE_NAME FROM information_schema.ROUTINES"
    assert ask(server, f"{routines} WHERE ROUTINE_SCHEMA = 'guestbook'") == []
    assert "Kept in MariaDB." in Browser(server.host).get("/").text
