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
    SQL that answers with one JSON object: what is there of a database.

    database
        Dict with ``name``, ``owner`` and ``extensions``.
    """
    name, owner = quote_text(database["name"]), quote_text(database["owner"])
    return f"""
SELECT json_build_object(
  'role', (SELECT json_build_object('login', rolcanlogin, 'superuser', rolsuper,
             'verifier', rolpassword) FROM pg_authid WHERE rolname = {owner}),
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
    if role and role["superuser"]:
        steps.append((f"{subject} is no superuser", f"ALTER ROLE {owner} NOSUPERUSER", "server"))
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


def parse(output):
    """The JSON object that psql printed (dict)."""
    text = output.strip()
    return json.loads(text) if text else {}
