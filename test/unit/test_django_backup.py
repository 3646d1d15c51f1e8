"""Backups: what the pillar and the map of hosts come to, and how the last ones are told."""

import json
import os

import django_backup
import django_backup_note
import django_config
import pytest
from pillars import SOURCE

HOSTS = {
    "web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker"]},
    "db1": {"address": "10.0.0.21", "roles": ["database", "cache"]},
    "nas1": {"address": "10.0.0.31", "roles": ["media", "backup"]},
}
BACKUP = {"repository": "sftp:shop@backup.example.net:/srv/backup", "password": "p" * 20}
PROJECT = {
    "source": SOURCE,
    "uid": 900,
    "secrets": {"SECRET_KEY": "k" * 50},
    "database": {"password": "database-pass"},
    "cache": {"password": "cache-password"},
}


def fleet(project=None, hosts=None, backup=BACKUP, **keys):
    """A pillar below ``django``: a fleet with a project that differs by ``project``."""
    django = {"hosts": hosts or HOSTS, "projects": {"shop": {**PROJECT, **(project or {})}}, **keys}
    return {**django, "backup": backup} if backup else django


def test_a_server_that_is_alone_saves_all_that_it_has(resolve):
    project = {
        "source": SOURCE,
        "databases": {"old": {"engine": "mysql"}, "log": {"engine": "sqlite"}},
        "media": {"private": {}},
        "writable": ["documents", "documents/deep", "data"],
        "processes": {"beat": {"celery_beat": "shop"}},
        "backup": {"exclude": ["thumbs/*"]},
    }
    config = resolve({"backup": "/mnt/backup", "projects": {"shop": project}})
    assert config["errors"] == []
    saved = config["backup"]["projects"]["shop"]
    assert {alias: each["engine"] for alias, each in saved["databases"].items()} == {
        "default": "postgresql",
        "log": "sqlite",
        "old": "mysql",
    }
    shared = "/srv/django/shop/shared"
    assert saved["folders"] == {
        name: f"{shared}/{name}" for name in ("media", "private", "data", "documents")
    }
    assert f"{shared}/media/thumbs/*" in saved["excludes"]
    assert f"{shared}/data/log.sqlite3-wal" in saved["excludes"]
    assert {"restic", "cron", "postgresql-client-15", "mariadb-client"} <= set(config["packages"])
    assert config["tiers"].index("django.backup.restic") > config["tiers"].index(
        "django.app.project"
    )


def test_nothing_is_saved_unless_the_pillar_says_so(resolve):
    config = resolve({"projects": {"shop": {"source": SOURCE}}})
    assert config["backup"] == {} and "restic" not in config["packages"]


def test_the_host_with_the_role_comes_to_the_databases_and_to_nothing_else(resolve):
    found = {name: resolve(fleet(firewall={}), id=name) for name in HOSTS}
    assert [config["errors"] for config in found.values()] == [[], [], []]
    assert found["web1"]["backup"] == found["db1"]["backup"] == {}
    nas = found["nas1"]
    database = nas["backup"]["projects"]["shop"]["databases"]["default"]
    assert (database["host"], database["port"], database["user"]) == ("10.0.0.21", 5432, "shop")
    assert nas["backup"]["projects"]["shop"]["folders"] == {"media": "/srv/media/shop/media"}
    assert set(nas["projects"]["shop"]["secret_specs"]) == {"database.default.password"}
    assert {"restic", "openssh-client", "postgresql-client-15"} <= set(nas["packages"])
    hba = {line["address"] for line in found["db1"]["postgresql"]["hba"]}
    assert {"10.0.0.11/32", "10.0.0.31/32"} <= hba
    rules = {rule["for"]: rule["from"] for rule in found["db1"]["firewall"]["rules"]}
    assert rules["PostgreSQL"] == ["10.0.0.11", "10.0.0.31"]


def test_mariadb_knows_the_host_with_the_role(resolve):
    mysql = {"database": {"engine": "mysql", "password": "database-pass"}}
    server = resolve(fleet(mysql), id="db1")["mariadb"]
    assert server["databases"][0]["hosts"] == ["10.0.0.11", "10.0.0.31"]
    mysql["backup"] = {"database": False}
    server = resolve(fleet(mysql), id="db1")["mariadb"]
    assert server["databases"][0]["hosts"] == ["10.0.0.11"]


def test_databases_that_are_not_saved_let_nobody_in_for_it(resolve):
    django = fleet({"backup": {"database": False}}, firewall={})
    server, nas = resolve(django, id="db1"), resolve(django, id="nas1")
    assert "10.0.0.31/32" not in {line["address"] for line in server["postgresql"]["hba"]}
    rules = {rule["for"]: rule["from"] for rule in server["firewall"]["rules"]}
    assert rules["PostgreSQL"] == ["10.0.0.11"]
    assert nas["projects"]["shop"]["secret_specs"] == {}
    assert nas["backup"]["projects"]["shop"]["databases"] == {}


def test_other_hosts_need_not_know_the_repository(resolve):
    assert resolve(fleet(backup=None), id="web1")["errors"] == []
    (error,) = resolve(fleet(backup=None), id="nas1")["errors"]
    assert error.startswith("django:backup: expected a map with the key repository, since nas1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hosts": {**HOSTS, "nas1": {"address": "10.0.0.31", "roles": ["media"]}}},
            "django:hosts: expected a host with the role backup, got none",
        ),
        (
            {
                "hosts": {
                    **{name: HOSTS[name] for name in ("web1", "db1")},
                    "nas1": {"address": "10.0.0.31", "roles": ["media"]},
                    "bk1": {"address": "10.0.0.41", "roles": ["backup"]},
                }
            },
            "django:projects:shop:backup:media: expected media, where the uploads are, beside",
        ),
        (
            {"hosts": {"web1": HOSTS["web1"], "db1": {**HOSTS["db1"], "roles": ["backup"]}}}
            | {"project": {"database": {"engine": "sqlite"}, "cache": {"engine": "none"}}},
            "django:projects:shop:backup:database: expected app, where the SQLite file is, beside",
        ),
        (
            {"backup": {**BACKUP, "s3": {"access_key": "AKIA", "secret_key": "s" * 20}}},
            "django:backup:s3: expected only beside a repository such as s3:",
        ),
        (
            {"backup": {"repository": "/mnt/backup", "ssh": {}}},
            "django:backup:ssh: expected only beside a repository such as sftp:",
        ),
        (
            {
                "backup": {
                    **BACKUP,
                    "keep": dict.fromkeys(("last", "daily", "weekly", "monthly"), 0),
                }
            },
            "django:backup:keep: expected a number above 0 for one of its keys",
        ),
        ({"backup": {"repository": "backup/here"}}, "django:backup:repository: expected a folder"),
        ({"backup": {"repository": "sftp:a b:/x"}}, "django:backup:repository: expected a folder"),
    ],
)
def test_what_does_not_fit_is_told(resolve, change, message):
    errors = resolve(fleet(**change), id="web1")["errors"]
    assert any(error.startswith(message) for error in errors), errors


def test_a_project_may_leave_out_what_is_elsewhere(resolve):
    hosts = {**HOSTS, "nas1": {**HOSTS["nas1"], "roles": ["media"]}}
    hosts["bk1"] = {"address": "10.0.0.41", "roles": ["backup"]}
    config = resolve(fleet({"backup": {"media": False}}, hosts), id="bk1")
    assert config["errors"] == [] and config["backup"]["projects"]["shop"]["folders"] == {}


def test_folders_that_are_elsewhere_are_told(resolve):
    config = resolve(fleet({"writable": ["documents"]}), id="nas1")
    assert any("shop:writable: not in the backup" in text for text in config["warnings"])


def told(config, **secrets):
    """What ``django-backup`` reads."""
    store = "/etc/django-formula/secrets/{}.json".format
    password = config["password"] or "generated"
    return json.loads(django_backup.settings(config, password, {"shop": secrets}, store))


def test_the_command_is_told_all_it_needs(resolve):
    ssh = {"private_key": "CANARY", "known_hosts": ["backup.example.net ssh-ed25519 AAAA"]}
    config = resolve(fleet(backup={**BACKUP, "ssh": ssh}), id="nas1")
    found = told(config["backup"], **{"database.default.password": "database-pass"})
    assert found["projects"]["shop"]["databases"]["default"]["password"] == "database-pass"
    assert found["projects"]["shop"]["secrets"] == "/etc/django-formula/secrets/shop.json"
    assert found["keep"] == {"last": 3, "daily": 7, "weekly": 4, "monthly": 12, "yearly": 0}
    command = found["options"][1]
    assert command.startswith("sftp.command=ssh -oBatchMode=yes ")
    assert "-oStrictHostKeyChecking=yes" in command and f"-i {django_backup.KEY}" in command
    assert command.endswith(" shop@backup.example.net -s sftp")
    shown = json.dumps(django_config.public(config))
    assert "CANARY" not in shown and "p" * 20 not in shown and "database-pass" not in shown


def test_another_port_of_ssh_and_keys_of_a_bucket(resolve):
    backup = {**BACKUP, "repository": "sftp://shop@backup.example.net:2222//srv/backup"}
    command = told(resolve(fleet(backup=backup), id="nas1")["backup"])["options"][1]
    assert command.endswith(
        "-oStrictHostKeyChecking=accept-new -p 2222 shop@backup.example.net -s sftp"
    )
    keys = {"access_key": "AKIA", "secret_key": "s" * 20, "region": "eu-central-1"}
    backup = {**BACKUP, "repository": "s3:https://s3.example.net/shop", "s3": keys}
    config = resolve(fleet(backup=backup), id="nas1")
    found = told(config["backup"])
    assert (found["options"], found["environment"]["AWS_SECRET_ACCESS_KEY"]) == ([], "s" * 20)
    assert "s" * 20 not in json.dumps(django_config.public(config))


@pytest.mark.parametrize(
    ("at", "patience"),
    [
        ("hourly", 3 * 3600),
        ("daily", 30 * 3600),
        ("30 3 * * *", 30 * 3600),
        ("*/10 * * * *", 30 * 3600),
        ("30 3 * * 0", 8 * 86400),
        ("30 3 * * 1-5", 4 * 86400),
        ("30 3 1 * 7", 8 * 86400),
        ("30 3 */2 * *", 3 * 86400),
        ("30 3 1 jan,jul *", 185 * 86400),
        ("30 3 29 2 *", 1462 * 86400),
    ],
)
def test_when_a_backup_is_overdue(resolve, at, patience):
    pillar = {"backup": {"repository": "/mnt/b", "at": at}, "projects": {"s": {"source": SOURCE}}}
    assert resolve(pillar)["backup"]["patience"] == patience
    pillar["backup"]["overdue_after"] = "2d"
    assert resolve(pillar)["backup"]["patience"] == 2 * 86400


# How the last ones went


@pytest.fixture
def noted(tmp_path):
    """Function from a note (dict, None for none) and the age of the settings to what is told."""

    def call(note, hours=1):
        settings = tmp_path / "settings.json"
        settings.write_text("{}")
        now = 1_800_000_000
        os.utime(settings, (now - hours * 3600,) * 2)
        if note:
            (tmp_path / "shop.last").write_text(json.dumps(note))
        places = {"now": now, "folder": tmp_path, "settings": settings}
        return (
            django_backup_note.last("shop", 30 * 3600, **places),
            django_backup_note.complaints(["shop"], 30 * 3600, **places),
        )

    return call


GOOD, OLD = "2027-01-15T05:00:00+00:00", "2027-01-10T05:00:00+00:00"


def test_a_good_one_is_no_complaint(noted):
    last, complaints = noted(
        {"started": GOOD, "ended": GOOD, "good": GOOD, "id": "4f2a", "size": 9}
    )
    assert (last["result"], last["failed"], last["overdue"]) == ("done", False, False)
    assert (last["age"], last["size"], complaints) == ("3 hours", 9, [])


def test_none_yet_is_overdue_in_time(noted):
    assert noted(None)[1] == []
    last, complaints = noted(None, hours=31)
    assert last == {"result": "has not run yet", "failed": False, "overdue": True}
    assert complaints[0].startswith("A backup of shop is overdue: there is none yet")


def test_one_that_failed_is_told_with_the_age_of_the_last_good_one(noted):
    note = {"started": GOOD, "ended": GOOD, "good": OLD, "problem": "no room"}
    last, (complaint,) = noted(note)
    assert last["failed"] and last["overdue"]
    assert complaint.startswith("The last backup of shop failed (the last good one is 5 days old)")
    assert "no room" in complaint and "django-backup run shop" in complaint


def test_one_that_was_killed_is_told(noted):
    last, complaints = noted({"started": GOOD, "pid": 0, "good": GOOD})
    assert (last["result"], last["failed"]) == ("was broken off", True)
    assert complaints


def test_a_note_that_makes_no_sense_is_none(noted, tmp_path):
    (tmp_path / "shop.last").write_text("[]")
    assert noted(None)[0]["result"] == "has not run yet"


def test_a_restore_that_was_killed_is_told_until_one_ends_well(noted, tmp_path):
    note = {"started": GOOD, "pid": 0, "id": "4f2a9c1e", "before": "77aa00bb"}
    (tmp_path / "shop.replacing").write_text(json.dumps(note))
    _, (complaint,) = noted({"started": GOOD, "ended": GOOD, "good": GOOD, "size": 9})
    assert "(4f2a9c1e, 2027-01-15T05:00:00+00:00) did not come to its end" in complaint
    assert complaint.endswith("django.restore shop 77aa00bb replace=True")
    (tmp_path / "shop.replacing").unlink()
    assert noted({"started": GOOD, "ended": GOOD, "good": GOOD, "size": 9})[1] == []
