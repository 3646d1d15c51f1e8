"""Accounts, databases and grants of MariaDB as SQL."""

import copy
import json

import django_mariadb
import pytest

PASSWORD = "pa'ss\\wörd-long"
DATABASE = {"name": "shop_1", "user": "shop", "hosts": ["127.0.0.1"]}
WELL = {
    "database": {"charset": "utf8mb4", "collation": "utf8mb4_unicode_ci"},
    "accounts": {
        "127.0.0.1": {
            "plugin": "mysql_native_password",
            "hash": django_mariadb.password_hash(PASSWORD),
            "access": "0",
            "locked": None,
        }
    },
    "anonymous": [],
    "grants": {"127.0.0.1": set(django_mariadb.PRIVILEGES)},
}


def differences(found, database=DATABASE):
    return django_mariadb.differences(database, PASSWORD, found)


def test_hash_is_that_of_the_server():
    # The example of the manual's function PASSWORD('mariadb').
    known = "*54958E764CE10E50764C2EECBB71D01F08549980"
    assert django_mariadb.password_hash("mariadb") == known


def test_what_is_as_wanted_is_left_alone():
    assert differences(WELL) == []


def test_everything_is_made_where_there_is_nothing():
    steps = differences(django_mariadb.parse(""))
    assert [words for words, _ in steps] == [
        "database shop_1 created",
        "account shop@127.0.0.1 created",
        "privileges on database shop_1 granted to shop@127.0.0.1",
    ]
    script = "\n".join(statement for _, statement in steps)
    assert "CREATE DATABASE `shop_1` CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci" in script
    assert "ON `shop\\_1`.* TO 'shop'@'127.0.0.1'" in script
    assert "wörd" not in script and django_mariadb.password_hash(PASSWORD) in script


@pytest.mark.parametrize(
    "change, words",
    [
        ({"hash": "*0"}, ["password of account shop@127.0.0.1 set"]),
        ({"hash": None}, ["password of account shop@127.0.0.1 set"]),
        ({"plugin": "unix_socket"}, ["password of account shop@127.0.0.1 set"]),
        ({"locked": "1"}, ["account shop@127.0.0.1 may log in"]),
        (
            {"access": "1"},
            [
                "account shop@127.0.0.1 has privileges on its own database only",
                "privileges on database shop_1 granted to shop@127.0.0.1",
            ],
        ),
    ],
)
def test_account_that_is_not_as_wanted(change, words):
    found = copy.deepcopy(WELL)
    found["accounts"]["127.0.0.1"].update(change)
    assert [step[0] for step in differences(found)] == words


def test_grants_database_and_strangers_that_are_not_as_wanted():
    found = copy.deepcopy(WELL)
    found["grants"]["127.0.0.1"].remove("INSERT")
    found["database"]["charset"] = "latin1"
    found["accounts"]["%"] = {}
    found["anonymous"] = ["localhost"]
    assert [words for words, _ in differences(found)] == [
        "anonymous account @localhost removed",
        "database shop_1 in utf8mb4 and utf8mb4_unicode_ci",
        "privileges on database shop_1 granted to shop@127.0.0.1",
        "account shop@% removed",
    ]


def test_answer_is_read():
    lines = [
        {"kind": "database", "charset": "utf8mb4", "collation": "utf8mb4_unicode_ci"},
        {"kind": "account", "user": "shop", "host": "10.0.0.1", "plugin": "x"},
        {"kind": "account", "user": "", "host": "localhost"},
        {"kind": "grant", "host": "10.0.0.1", "privilege": "SELECT"},
    ]
    found = django_mariadb.parse("\n".join(map(json.dumps, lines)))
    assert found["database"]["charset"] == "utf8mb4"
    assert found["accounts"]["10.0.0.1"]["plugin"] == "x"
    assert found["anonymous"] == ["localhost"]
    assert found["grants"] == {"10.0.0.1": {"SELECT"}}


def test_names_and_texts_are_quoted():
    assert django_mariadb.quote_name("a`b") == "`a``b`"
    assert django_mariadb.quote_text("it's \\") == "'it''s \\\\'"
    assert "'shop\\\\_1'" in django_mariadb.look(DATABASE)
