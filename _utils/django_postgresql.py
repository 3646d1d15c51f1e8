"""
PostgreSQL roles, databases, grants and extensions of a project: the SQL, and what differs.

One query tells the state of a database; one script mends it. Passwords go to the server as SCRAM
verifiers (RFC 5802, RFC 7677), so that no password is in a command line, a log or a statement.
"""

import base64
import hashlib
import hmac
import json
import secrets

SCRAM_ITERATIONS = 4096
# Attributes by which a role reaches what is not its own, and roles that come to the same.
MIGHT = {
    "superuser": "is no superuser",
    "createrole": "may not create roles",
    "replication": "may not read the server's log",
    "bypassrls": "is bound by policies of rows",
}
SLOTS = "django_"  # what the names of our replicas' slots begin with
MIGHTY_ROLES = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")


def quote_name(name):
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text):
    """A text as an SQL literal."""
    escaped = text.replace("'", "''")
    return f"E'{escaped.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{escaped}'"


def scram_verifier(password, salt):
    """
    What PostgreSQL stores for a password (str); ``salt`` is bytes.

    Source: PostgreSQL manual, pg_authid.rolpassword.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    client_key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.new(salted, b"Server Key", hashlib.sha256).digest()
    parts = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"


def verifies(verifier, password):
    """Whether a stored verifier belongs to ``password``."""
    try:
        scheme, rest, _ = verifier.split("$")
        iterations, salt = rest.split(":")
        salt = base64.b64decode(salt)
    except (AttributeError, ValueError):
        return False
    if scheme != "SCRAM-SHA-256" or int(iterations) != SCRAM_ITERATIONS:
        return False
    return hmac.compare_digest(scram_verifier(password, salt), verifier)


def look(database):
    """
    SQL that answers with one JSON object: what is there of a database, which settings of the server
    somebody has set by ALTER SYSTEM, and for which replicas of this formula it keeps its log.

    database
        Dict with ``name``, ``owner`` and ``extensions``.
    """
    name, owner = quote_text(database["name"]), quote_text(database["owner"])
    mighty = ", ".join(map(quote_text, MIGHTY_ROLES))
    return f"""
SELECT json_build_object(
  'overridden', (SELECT json_object_agg(name, setting) FROM pg_file_settings
                 WHERE sourcefile LIKE '%/postgresql.auto.conf'),
  'slots', (SELECT array_agg(slot_name::text ORDER BY slot_name) FROM pg_replication_slots
            WHERE slot_type = 'physical' AND starts_with(slot_name, {quote_text(SLOTS)})),
  'role', (SELECT json_build_object('login', rolcanlogin, 'superuser', rolsuper,
             'createrole', rolcreaterole, 'replication', rolreplication,
             'bypassrls', rolbypassrls, 'verifier', rolpassword,
             'mighty', (SELECT array_agg(granted.rolname::text ORDER BY 1)
                        FROM pg_auth_members JOIN pg_roles granted ON granted.oid = roleid
                        WHERE member = pg_authid.oid
                          AND EXISTS (SELECT 1 FROM pg_roles mighty
                                      WHERE (rolsuper OR rolname IN ({mighty}))
                                        AND pg_has_role(granted.oid, mighty.oid, 'MEMBER'))))
           FROM pg_authid WHERE rolname = {owner}),
  'database', (SELECT json_build_object('owner', pg_get_userbyid(datdba),
             'encoding', pg_encoding_to_char(encoding), 'connectable', datallowconn,
             'public', EXISTS (SELECT 1 FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))
                               WHERE grantee = 0 AND privilege_type = 'CONNECT'),
             'granted', (SELECT array_agg(privilege_type::text ORDER BY privilege_type)
                         FROM aclexplode(coalesce(datacl, acldefault('d', datdba)))
                         WHERE grantee = (SELECT oid FROM pg_roles WHERE rolname = {owner})))
             FROM pg_database WHERE datname = {name}))
"""  # noqa: S608 (both are quoted)


INSIDE = """
SELECT json_build_object(
  'extensions', (SELECT array_agg(extname::text) FROM pg_extension),
  'schema_owner', (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'),
  'schema_granted', (SELECT array_agg(DISTINCT privilege_type::text)
                     FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
                     WHERE nspname = 'public'
                       AND grantee IN (SELECT oid FROM pg_roles WHERE rolname = '{owner}')))
"""
DATABASE_PRIVILEGES = ("CONNECT", "CREATE", "TEMPORARY")


def inside(database):
    """SQL that answers with one JSON object: extensions and the public schema of a database."""
    return INSIDE.replace("'{owner}'", quote_text(database["owner"]))


def differences(database, password, found, found_inside):
    """
    What is not as wanted: a list of ``(what, statement, where)``.

    what
        Words for the operator, without secrets.
    statement
        SQL that mends it.
    where
        ``server`` (the maintenance database) or ``database`` (the project's own).
    found, found_inside
        Answers to :func:`look` and :func:`inside` (dict; empty when the database is not there).
    """
    owner, name = quote_name(database["owner"]), quote_name(database["name"])
    steps = []
    role = found.get("role")
    subject = f"role {database['owner']}"
    if role is None:
        steps.append((f"{subject} created", f"CREATE ROLE {owner} LOGIN", "server"))
    elif not role["login"]:
        steps.append((f"{subject} may log in", f"ALTER ROLE {owner} LOGIN", "server"))
    steps += [
        (f"{subject} {words}", f"ALTER ROLE {owner} NO{attribute.upper()}", "server")
        for attribute, words in MIGHT.items()
        if role and role[attribute]
    ]
    steps += [
        (f"{subject} is no member of {group}", f"REVOKE {quote_name(group)} FROM {owner}", "server")
        for group in (role and role["mighty"]) or []
    ]
    if role is None or not verifies(role["verifier"], password):
        salt = secrets.token_bytes(16)
        statement = f"ALTER ROLE {owner} PASSWORD {quote_text(scram_verifier(password, salt))}"
        steps.append((f"password of {subject} set", statement, "server"))
    steps += _database_steps(database, found.get("database"), owner, name)
    present = found_inside.get("extensions") or []
    for extension in database.get("extensions", []):
        if extension not in present:
            statement = f"CREATE EXTENSION IF NOT EXISTS {quote_name(extension)} CASCADE"
            text = f"extension {extension} added to {database['name']}"
            steps.append((text, statement, "database"))
    granted = set(found_inside.get("schema_granted") or [])
    if found_inside.get("schema_owner") != database["owner"] and not {"CREATE", "USAGE"} <= granted:
        text = f"schema public of {database['name']} granted to {database['owner']}"
        steps.append((text, f"GRANT ALL ON SCHEMA public TO {owner}", "database"))
    return steps


def _database_steps(database, there, owner, name):
    if there is None:
        options = [f"OWNER {owner}", f"ENCODING {quote_text(database.get('encoding', 'UTF8'))}"]
        if database.get("locale"):
            options.append(f"LOCALE {quote_text(database['locale'])}")
        options.append(f"TEMPLATE {quote_name(database.get('template') or 'template0')}")
        create = f"CREATE DATABASE {name} {' '.join(options)}"
        return [
            (f"database {database['name']} created", create, "server"),
            (
                f"database {database['name']} closed to other roles",
                f"REVOKE ALL ON DATABASE {name} FROM PUBLIC",
                "server",
            ),
        ]
    steps = []
    if there["owner"] != database["owner"]:
        text = f"database {database['name']} owned by {database['owner']}"
        steps.append((text, f"ALTER DATABASE {name} OWNER TO {owner}", "server"))
    if there["public"]:
        text = f"database {database['name']} closed to other roles"
        steps.append((text, f"REVOKE ALL ON DATABASE {name} FROM PUBLIC", "server"))
    if not set(DATABASE_PRIVILEGES) <= set(there["granted"] or []):
        text = f"privileges on database {database['name']} granted to {database['owner']}"
        steps.append((text, f"GRANT ALL ON DATABASE {name} TO {owner}", "server"))
    return steps


def overridden(settings, found):
    """
    Warnings (list of str) of settings in the pillar that ALTER SYSTEM outranks, as :func:`look`
    found them. They are an operator's, perhaps of the last minute, and left as they are.
    """
    by_hand = found.get("overridden") or {}
    return [
        f"PostgreSQL's {name} is {by_hand[name]} by ALTER SYSTEM, which outranks the formula's"
        f" {settings[name]}; put it into the pillar (django:postgresql:settings), or take it back:"
        f" ALTER SYSTEM RESET {name}"
        for name in sorted(set(by_hand) & set(settings))
    ]


def parse(output):
    """The JSON object that psql printed (dict)."""
    text = output.strip()
    return json.loads(text) if text else {}
