"""Dumps of databases and their way back, as the command django-backup makes them."""

import os

import pytest
from backup_modules import ME, module


@pytest.fixture(scope="module")
def databases():
    return module("databases")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, []),
        ({"charset": "utf8mb4"}, []),
        ({"ssl_mode": "REQUIRED"}, ["--ssl"]),
        (
            {"ssl": {"ca": "/etc/ca.pem"}, "ssl_mode": "VERIFY_IDENTITY"},
            ["--ssl", "--ssl-ca=/etc/ca.pem", "--ssl-verify-server-cert"],
        ),
    ],
)
def test_mariadb_is_asked_over_tls_as_the_site_asks_it(databases, options, words):
    database = {"engine": "mysql", "name": "s", "host": "h", "port": 1, "user": "u"}
    argv = databases._mariadb_dump({**database, "options": options})
    assert [word for word in argv if word.startswith("--ssl")] == words


def test_a_dump_that_breaks_off_leaves_no_file(databases, tmp_path, monkeypatch):
    database = {"engine": "postgresql", "name": "shop", "host": "h", "port": 1, "user": "u"}
    database["password"] = "canary"
    script = ["sh", "-c", "echo half; echo 'connection lost' >&2; exit 1"]
    monkeypatch.setattr(databases, "_pg_dump", lambda: script)
    with pytest.raises(databases.DatabaseError, match="connection lost") as told:
        databases.dump(database, tmp_path / "dump", ME)
    assert not (tmp_path / "dump").exists() and "canary" not in str(told.value)


def test_a_dump_leaves_room_on_the_disk(databases, tmp_path, monkeypatch):
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(databases.os, "statvfs", lambda path: full)
    monkeypatch.setattr(databases, "_pg_dump", lambda: ["sh", "-c", "echo all"])
    database = {"engine": "postgresql", "name": "shop", "host": "h", "port": 1, "user": "u"}
    with pytest.raises(databases.DatabaseError, match="no room"):
        databases.dump({**database, "password": ""}, tmp_path / "dump", ME)


def test_what_the_role_cannot_make_is_left_out(databases):
    ours = "215; 1259 16389 TABLE public auth_group shop"
    theirs = [
        "2; 3079 16384 EXTENSION - pg_trgm ",
        "3400; 0 0 COMMENT - EXTENSION pg_trgm ",
        "5; 2615 2200 SCHEMA - public pg_database_owner",
    ]
    assert [bool(databases.NOT_OURS.match(line)) for line in (ours, *theirs)] == [
        False,
        True,
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        (b"/*!50013 DEFINER=`a`@`10.0.0.1` SQL SECURITY DEFINER */", b"/*!50013  SQL SECURITY"),
        (
            b"/*!50003 CREATE*/ /*!50017 DEFINER=`a`@`%`*/ /*!50003 TRIGGER",
            b"/*!50003 CREATE*/ /*!5",
        ),
        (
            b"INSERT INTO `a` VALUES ('CREATE DEFINER=`a`@`b`');",
            b"INSERT INTO `a` VALUES ('CREATE D",
        ),
    ],
)
def test_who_defined_a_view_elsewhere_does_not_matter_here(databases, line, kept):
    found = databases.DEFINER.sub(rb"\1", line)
    assert found.startswith(kept)
    assert (b"DEFINER=`" in found) == line.startswith(b"INSERT")


def test_mariadb_gets_nothing_besides_and_waits_for_nobody_long(databases, tmp_path, monkeypatch):
    program = tmp_path / "mariadb"
    program.write_text(f"""\
#!/bin/sh
case "$*" in
    *--execute*) echo "$@" >{tmp_path}/asked; printf 'TABLE\\ta\\nFUNCTION\\tf\\nEVENT\\te\\n' ;;
    *) cat >{tmp_path}/given ;;
esac
""")
    program.chmod(0o755)
    (tmp_path / "dump").write_text("CREATE TABLE a (b int);\n")
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    monkeypatch.setenv("PATH", environment["PATH"])
    monkeypatch.setattr(databases, "_environment", lambda database: environment)
    database = {"engine": "mysql", "name": "shop", "host": "h", "port": 1, "user": "u"}
    databases.load(database, tmp_path / "dump", ME)
    asked, given = (tmp_path / "asked").read_text(), (tmp_path / "given").read_text()
    assert "information_schema.ROUTINES" in asked and "information_schema.EVENTS" in asked
    assert given.splitlines() == [
        "SET lock_wait_timeout = 60, FOREIGN_KEY_CHECKS = 0;",
        "DROP EVENT IF EXISTS `e`;",
        "DROP FUNCTION IF EXISTS `f`;",
        "DROP TABLE IF EXISTS `a`;",
        "CREATE TABLE a (b int);",
    ]
