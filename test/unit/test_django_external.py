"""Databases of others: whether they answer, and what their refusals mean."""

import socket
import types

import django_external
import django_step_database
import pytest
from django_deployment import StepError

SHOP = {
    "databases": {
        "default": {
            "engine": "postgresql",
            "managed": False,
            "host": "db.example.net",
            "port": 5432,
        },
        "own": {"engine": "postgresql", "managed": True, "host": "127.0.0.1", "port": 5432},
        "file": {"engine": "sqlite", "managed": False, "name": "/srv/file.sqlite3"},
        "old": {"engine": "mysql", "managed": False, "host": "old.example.net", "port": 3306},
    }
}


def test_databases_of_others_are_those_with_a_host():
    keys = [key for key, _ in django_external.external(SHOP)]
    assert keys == ["database", "databases:old"]


@pytest.fixture
def server():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


def test_server_that_answers(server):
    assert django_external.unreachable(*server.getsockname()) is None


def test_server_that_does_not_run(server):
    host, port = server.getsockname()
    server.close()
    told = django_external.unreachable(host, port)
    assert told == f"port: nobody listens at port {port} of {host}: does the server run?"


def test_name_that_nobody_knows():
    told = django_external.unreachable("nowhere.invalid", 5432)
    assert told.startswith("host: nowhere.invalid is no name that this host can look up (")


def test_server_that_says_nothing(server, monkeypatch):
    def connect(address, timeout):
        assert timeout <= 10
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", connect)
    assert "does not answer at port 5432" in django_external.unreachable("db.example.net", 5432)


def test_all_that_do_not_answer_are_told_at_once(monkeypatch):
    monkeypatch.setattr(django_external, "unreachable", lambda host, port: f"host: {host}")
    deployment = types.SimpleNamespace(name="shop", project=SHOP, hold=None, test=True)
    with pytest.raises(StepError) as caught:
        django_step_database.reach(deployment)
    assert str(caught.value).splitlines() == [
        "django:projects:shop:database:host: db.example.net",
        "django:projects:shop:databases:old:host: old.example.net",
    ]
    assert not caught.value.blames_release


@pytest.mark.parametrize(
    "said, key",
    [
        (
            'connection to server at "10.0.0.21", port 3306 failed: '
            "received invalid response to SSL negotiation: d",
            "port",
        ),
        ("(2013, 'Lost connection to MySQL server during query')", "port"),
        ('no pg_hba.conf entry for host "10.0.0.11", user "shop", no encryption', "options"),
        (
            'no pg_hba.conf entry for host "10.0.0.11", user "shop", SSL encryption\n'
            'no pg_hba.conf entry for host "10.0.0.11", user "shop", no encryption',
            "user",
        ),
        (
            'password authentication failed for user "shop"\n'
            'no pg_hba.conf entry for host "10.0.0.11", user "shop", no encryption',
            "password",
        ),
        ('FATAL:  password authentication failed for user "shop"', "password"),
        ("(1045, \"Access denied for user 'shop'@'10.0.0.11' (using password: YES)\")", "password"),
        ('FATAL:  database "shopp" does not exist', "name"),
        ("(1044, \"Access denied for user 'shop'@'%' to database 'shopp'\")", "name"),
        ("(1049, \"Unknown database 'shopp'\")", "name"),
        ("(1130, \"Host '10.0.0.11' is not allowed to connect to this MariaDB server\")", "user"),
        ("SSL error: certificate verify failed", "options"),
        ('server certificate for "a" does not match host name "b"', "host"),
        ("server does not support SSL, but SSL was required", "options"),
        ("permission denied for schema public", "user"),
        ("(1142, \"CREATE command denied to user 'shop'@'%'\")", "user"),
        ("FATAL:  sorry, too many clients already", "host"),
    ],
)
def test_refusals_are_told_with_the_key_to_look_at(said, key):
    engine = "mysql" if said.startswith("(") else "postgresql"
    one = {"databases": {"default": {**SHOP["databases"]["default"], "engine": engine}}}
    assert django_external.advice("shop", one, said).startswith(
        f"django:projects:shop:database:{key}: "
    )


def test_other_failures_get_no_advice():
    assert django_external.advice("shop", SHOP, "ImportError: no module named shop") == ""
    own = {"databases": {"default": SHOP["databases"]["own"]}}
    assert django_external.advice("shop", own, "permission denied for schema public") == ""


def test_only_the_database_that_is_meant_is_blamed():
    """By its engine, and by the names that the driver tells."""
    refused = "password authentication failed for user "
    own = {"engine": "postgresql", "managed": True, "host": "127.0.0.1", "name": "s", "user": "s"}
    books = {**own, "managed": False, "host": "db.example.net", "name": "b", "user": "books"}
    logs = {**books, "host": "logs.example.net", "name": "l", "user": "logs"}
    old = {**books, "engine": "mysql"}
    shop = {"databases": {"default": own, "books": books, "logs": logs, "old": old}}

    def blamed(text):
        told = django_external.advice("shop", shop, text).partition(": ")[0]
        return told.replace("django:projects:shop:databases:", "")

    assert blamed(f'server at "db.example.net": {refused}"books"') == "books:password"
    assert blamed(f'server at "logs.example.net": {refused}"logs"') == "logs:password"
    assert blamed(f'server at "127.0.0.1": {refused}"s"') == "", "it is the formula's own"
    assert blamed("permission denied for schema public") == "books:user or logs:user"
    assert (
        blamed("(1045, \"Access denied for user 'x'@'y' (using password: YES)\")") == "old:password"
    )
