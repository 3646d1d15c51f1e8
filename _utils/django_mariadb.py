"""
MariaDB accounts, databases and grants of a project: the SQL, and what differs.

One script tells the state of a database, a JSON object a line; one script mends it. Passwords go to
the server as the hashes that it stores, so that no password is in a command line, a log or a
statement.
"""

import hashlib
import hmac
import json

CHARSET, COLLATION = "utf8mb4", "utf8mb4_unicode_ci"
PLUGIN = "mysql_native_password"
PRIVILEGES = (
    "ALTER",
    "ALTER ROUTINE",
    "CREATE",
    "CREATE ROUTINE",
    "CREATE TEMPORARY TABLES",
    "CREATE VIEW",
    "DELETE",
    "DROP",
    "EVENT",
    "EXECUTE",
    "INDEX",
    "INSERT",
    "LOCK TABLES",
    "REFERENCES",
    "SELECT",
    "SHOW VIEW",
    "TRIGGER",
    "UPDATE",
)
# How a script begins: texts mean the same whatever the server's own sql_mode is.
PLAIN = "SET SESSION sql_mode = '';\n"


def quote_name(name):
    """A name as an SQL identifier."""
    return "`" + name.replace("`", "``") + "`"


def quote_text(text):
    """A text as an SQL literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def password_hash(password):
    """
    What MariaDB stores for a password (str).

    Source: MariaDB manual, "Authentication Plugin - mysql_native_password".
    """
    once = hashlib.sha1(password.encode()).digest()  # noqa: S324 (the server's own scheme)
    return "*" + hashlib.sha1(once).hexdigest().upper()  # noqa: S324


def look(database):
    """
    SQL that answers with one JSON object a line: what is there of a database.

    database
        Dict with ``name``, ``user`` and ``hosts`` (addresses the user may come from).
    """
    name, user = quote_text(database["name"]), quote_text(database["user"])
    pattern = quote_text(_pattern(database["name"]))
    accounts = " UNION ALL ".join(
        f"SELECT {quote_text(host)} AS host, {quote_text(_grantee(database['user'], host))} AS name"
        for host in database["hosts"]
    )
    return f"""{PLAIN}
SELECT JSON_OBJECT('kind', 'database', 'charset', DEFAULT_CHARACTER_SET_NAME,
  'collation', DEFAULT_COLLATION_NAME)
FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {name};
SELECT JSON_OBJECT('kind', 'account', 'user', User, 'host', Host,
  'plugin', JSON_VALUE(Priv, '$.plugin'), 'hash', JSON_VALUE(Priv, '$.authentication_string'),
  'access', JSON_VALUE(Priv, '$.access'), 'locked', JSON_VALUE(Priv, '$.account_locked'))
FROM mysql.global_priv WHERE User IN ('', {user});
SELECT JSON_OBJECT('kind', 'grant', 'host', account.host, 'privilege', PRIVILEGE_TYPE)
FROM information_schema.SCHEMA_PRIVILEGES JOIN ({accounts}) AS account ON GRANTEE = account.name
WHERE TABLE_SCHEMA = {pattern};
"""  # noqa: S608 (all are quoted)


def parse(output):
    """
    The answer to :func:`look`: ``{"database": dict or None, "accounts": {host: dict},
    "anonymous": [host], "grants": {host: set of privileges}}``.
    """
    found = {"database": None, "accounts": {}, "anonymous": [], "grants": {}}
    for line in output.splitlines():
        row = json.loads(line)
        if row["kind"] == "database":
            found["database"] = row
        elif row["kind"] == "grant":
            found["grants"].setdefault(row["host"], set()).add(row["privilege"])
        elif row["user"]:
            found["accounts"][row["host"]] = row
        else:
            found["anonymous"].append(row["host"])
    return found


def differences(database, password, found):
    """
    What is not as wanted: a list of ``(what, statement)``.

    what
        Words for the operator, without secrets.
    statement
        SQL that mends it.
    found
        Answer to :func:`look`, parsed.
    """
    steps = [
        (f"anonymous account @{host} removed", f"DROP USER {_account('', host)}")
        for host in found["anonymous"]
    ]
    steps += _database_steps(database, found["database"])
    for host in database["hosts"]:
        granted = found["grants"].get(host, set())
        steps += _account_steps(database, password, host, found["accounts"].get(host), granted)
    for host in sorted(set(found["accounts"]) - set(database["hosts"])):
        subject = f"account {database['user']}@{host}"
        steps.append((f"{subject} removed", f"DROP USER {_account(database['user'], host)}"))
    return steps


def _database_steps(database, there):
    name = quote_name(database["name"])
    options = f"CHARACTER SET {CHARSET} COLLATE {COLLATION}"
    if there is None:
        return [(f"database {database['name']} created", f"CREATE DATABASE {name} {options}")]
    if (there["charset"], there["collation"]) != (CHARSET, COLLATION):
        text = f"database {database['name']} in {CHARSET} and {COLLATION}"
        return [(text, f"ALTER DATABASE {name} {options}")]
    return []


def _account_steps(database, password, host, there, granted):
    account = _account(database["user"], host)
    subject = f"account {database['user']}@{host}"
    digest = password_hash(password)
    steps = []
    if there is None:
        statement = f"CREATE USER {account} IDENTIFIED BY PASSWORD '{digest}'"
        steps.append((f"{subject} created", statement))
    elif there["plugin"] != PLUGIN or not hmac.compare_digest(there["hash"] or "", digest):
        statement = f"ALTER USER {account} IDENTIFIED BY PASSWORD '{digest}'"
        steps.append((f"password of {subject} set", statement))
    if there and str(there["locked"]).lower() in ("1", "true"):
        steps.append((f"{subject} may log in", f"ALTER USER {account} ACCOUNT UNLOCK"))
    if there and int(there["access"] or 0):
        statement = f"REVOKE ALL PRIVILEGES, GRANT OPTION FROM {account}"
        steps.append((f"{subject} has privileges on its own database only", statement))
        granted = set()  # that took them all
    if not set(PRIVILEGES) <= granted:
        text = f"privileges on database {database['name']} granted to {database['user']}@{host}"
        where = quote_name(_pattern(database["name"]))
        steps.append((text, f"GRANT {', '.join(PRIVILEGES)} ON {where}.* TO {account}"))
    return steps


def _account(user, host):
    return f"{quote_text(user)}@{quote_text(host)}"


def _grantee(user, host):
    """An account as information_schema writes it."""
    return f"'{user}'@'{host}'"


def _pattern(name):
    """A database's name in a grant, where an underscore by itself means any character."""
    return name.replace("_", "\\_")
