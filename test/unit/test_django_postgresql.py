"""What differs in a database, and the SQL that mends it."""

import base64
import hashlib
import hmac

import django_postgresql
import pytest

DATABASE = {"name": "shop", "owner": "shop", "extensions": ["pg_trgm"], "encoding": "UTF8"}
PASSWORD = "s3cret"
AS_WANTED = {
    "role": {
        "login": True,
        **dict.fromkeys(("superuser", "createrole", "replication", "bypassrls"), False),
        "mighty": None,
        "verifier": django_postgresql.scram_verifier(PASSWORD, b"salt"),
    },
    "database": {
        "owner": "shop",
        "encoding": "UTF8",
        "connectable": True,
        "public": False,
        "granted": ["CONNECT", "CREATE", "TEMPORARY"],
    },
}
INSIDE_AS_WANTED = {
    "extensions": ["plpgsql", "pg_trgm"],
    "schema_owner": "shop",
    "schema_granted": None,
}


def texts(found, inside=INSIDE_AS_WANTED, password=PASSWORD, database=DATABASE):
    steps = django_postgresql.differences(database, password, found, inside)
    return [what for what, _, _ in steps]


def test_verifier_is_that_of_the_example_in_rfc_7677():
    """The exchange that the RFC shows succeeds against our verifier, in both directions."""
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    message = (
        f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,"
        f"c=biws,r={nonce}"
    ).encode()
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    verifier = django_postgresql.scram_verifier("pencil", salt)
    assert verifier.startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    stored, server = (base64.b64decode(key) for key in verifier.split("$")[2].split(":"))
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.new(stored, message, hashlib.sha256).digest()
    client = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client).digest() == stored
    answer = base64.b64encode(hmac.new(server, message, hashlib.sha256).digest()).decode()
    assert answer == "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize(
    "verifier",
    [None, "", "md5abc", "SCRAM-SHA-256$x", "SCRAM-SHA-256$9:a$b:c", "SCRAM-SHA-256$a:b$c:d"],
)
def test_other_verifiers_do_not_fit(verifier):
    assert not django_postgresql.verifies(verifier, PASSWORD)


def test_verifier_fits_its_own_password_only():
    verifier = django_postgresql.scram_verifier(PASSWORD, b"salt")
    assert django_postgresql.verifies(verifier, PASSWORD)
    assert not django_postgresql.verifies(verifier, PASSWORD + "x")


def test_names_and_texts_are_quoted():
    assert django_postgresql.quote_name('a"b') == '"a""b"'
    assert django_postgresql.quote_text("it's") == "'it''s'"
    assert django_postgresql.quote_text("a\\'b") == "E'a\\\\''b'"


def test_nothing_differs():
    assert texts(AS_WANTED) == []


def test_all_is_made_on_a_fresh_server():
    steps = django_postgresql.differences(DATABASE, PASSWORD, {}, {})
    assert [(what, where) for what, _, where in steps] == [
        ("role shop created", "server"),
        ("password of role shop set", "server"),
        ("database shop created", "server"),
        ("database shop closed to other roles", "server"),
        ("extension pg_trgm added to shop", "database"),
        ("schema public of shop granted to shop", "database"),
    ]
    statements = [statement for _, statement, _ in steps]
    assert statements[0] == 'CREATE ROLE "shop" LOGIN'
    assert statements[2] == (
        """CREATE DATABASE "shop" OWNER "shop" ENCODING 'UTF8' TEMPLATE "template0\""""
    )


def test_the_password_is_in_no_statement():
    for _, statement, _ in django_postgresql.differences(DATABASE, PASSWORD, {}, {}):
        assert PASSWORD not in statement


@pytest.mark.parametrize(
    ("part", "change", "what"),
    [
        ("role", {"login": False}, "role shop may log in"),
        ("role", {"superuser": True}, "role shop is no superuser"),
        ("role", {"createrole": True}, "role shop may not create roles"),
        ("role", {"replication": True}, "role shop may not read the server's log"),
        ("role", {"bypassrls": True}, "role shop is bound by policies of rows"),
        ("role", {"mighty": ["ops"]}, "role shop is no member of ops"),
        ("role", {"verifier": None}, "password of role shop set"),
        ("database", {"owner": "postgres"}, "database shop owned by shop"),
        ("database", {"public": True}, "database shop closed to other roles"),
        ("database", {"granted": ["CREATE"]}, "privileges on database shop granted to shop"),
        ("database", {"granted": None}, "privileges on database shop granted to shop"),
    ],
)
def test_what_drifted_is_mended(part, change, what):
    assert texts({**AS_WANTED, part: {**AS_WANTED[part], **change}}) == [what]


def test_settings_of_the_pillar_that_alter_system_outranks_are_told():
    settings = {"work_mem": "8MB", "port": 5432}
    found = {"overridden": {"work_mem": "64MB", "log_statement": "all"}}
    (told,) = django_postgresql.overridden(settings, found)
    assert "work_mem is 64MB by ALTER SYSTEM" in told
    assert "8MB" in told and "ALTER SYSTEM RESET work_mem" in told
    assert django_postgresql.overridden(settings, {"overridden": None}) == []
    assert django_postgresql.overridden(settings, {}) == []


def test_another_password_is_set():
    assert texts(AS_WANTED, password="other") == ["password of role shop set"]


def test_schema_is_granted_where_it_belongs_to_another():
    inside = {**INSIDE_AS_WANTED, "schema_owner": "pg_database_owner"}
    assert texts(AS_WANTED, inside) == ["schema public of shop granted to shop"]
    assert texts(AS_WANTED, {**inside, "schema_granted": ["CREATE", "USAGE"]}) == []


def test_locale_and_template_are_said():
    database = {**DATABASE, "locale": "de_DE.UTF-8", "template": "template1", "extensions": []}
    steps = django_postgresql.differences(database, PASSWORD, {}, {})
    create = next(statement for _, statement, _ in steps if "CREATE DATABASE" in statement)
    assert "LOCALE 'de_DE.UTF-8'" in create
    assert 'TEMPLATE "template1"' in create


def test_answers_are_parsed():
    assert django_postgresql.parse('{"role" : null}\n') == {"role": None}
    assert django_postgresql.parse("\n") == {}
