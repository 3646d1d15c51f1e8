"""
Databases of others, as cloud providers offer them: whether their servers answer, and what their
refusals mean in terms of the pillar.
"""

import re
import socket

import django_project_database

PATIENCE = 5  # seconds for an answer of the network
BOTH = ("postgresql", "mysql")
PG, MY = BOTH[:1], BOTH[1:]
# Whose drivers (psycopg, psycopg2; mysqlclient, PyMySQL) say it, what they say, the key to look at,
# and what it means. psycopg may try twice, with TLS and without: what fits first counts.
REFUSALS = (
    (
        PG,
        r"database \"[^\"]*\" does not exist",
        "name",
        "the server has no such database, and none is created there",
    ),
    (
        MY,
        r"Unknown database|Access denied for .* to database",
        "name",
        "the server has no such database, or not for this user: none is created there",
    ),
    (
        PG,
        r"password authentication failed",
        "password",
        "the server knows another one for this user, or no such user",
    ),
    (
        MY,
        r"Access denied for user",
        "password",
        "the server knows another one for this user, or no such user from this host, or lets it in"
        " by TLS alone (see options)",
    ),
    (
        PG,
        r"no pg_hba\.conf entry [^\n]*SSL (encryption|on)",
        "user",
        "the server does not let it into this database from this host: its operator has to, in"
        " pg_hba.conf or what stands for it",
    ),
    (
        PG,
        r"no pg_hba\.conf entry",
        "options",
        "the server does not let this user in without TLS (sslmode), or not from this host",
    ),
    (
        MY,
        r"is not allowed to connect",
        "user",
        "the server lets nobody in from this host: its operator has to make the user for it",
    ),
    (
        PG,
        r"connection to server at [^\n]* failed: (received invalid|server closed|expected auth)",
        "port",
        "what listens there does not answer as PostgreSQL does: are host and port its own?",
    ),
    (
        MY,
        r"Lost connection to (MySQL )?server|Packet sequence number wrong",
        "port",
        "what listens there does not answer as MariaDB does, or broke off: are host and port its"
        " own?",
    ),
    (
        BOTH,
        r"certificate verify failed|root certificate file|unable to get local issuer",
        "options",
        "the server's certificate is of an authority that sslrootcert has to name, a file on this"
        " host",
    ),
    (
        BOTH,
        r"does not match host name|[Hh]ostname mismatch",
        "host",
        "the server's certificate is for another name",
    ),
    (
        BOTH,
        r"does not support SSL|SSL is required|SSL connection error|insecure transport",
        "options",
        "the server and the options do not agree about TLS",
    ),
    (
        PG,
        r"permission denied for (schema|database)",
        "user",
        "it may not make tables: let it own the database, or grant it CREATE there",
    ),
    (
        MY,
        r"(CREATE|ALTER|INDEX) command denied",
        "user",
        "it may not make tables: let it own the database, or grant it CREATE there",
    ),
    (
        BOTH,
        r"too many clients|Too many connections|connection slots",
        "host",
        "the server has no connection left for this user",
    ),
)


def external(project):
    """The databases of others that a resolved project uses: list of ``(pillar key, database)``."""
    return [
        ("database" if alias == "default" else f"databases:{alias}", database)
        for alias, database in project["databases"].items()
        if database["engine"] in django_project_database.PORTS and not database["managed"]
    ]


def unreachable(host, port):
    """Why a server cannot be reached, behind the key to look at (str), or None."""
    try:
        socket.create_connection((host, port), PATIENCE).close()
    except socket.gaierror as error:
        return f"host: {host} is no name that this host can look up ({error.strerror})"
    except TimeoutError:
        return (
            f"host: {host} does not answer at port {port} within {PATIENCE} s: is it this address,"
            " and does its firewall let this host in?"
        )
    except ConnectionRefusedError:
        return f"port: nobody listens at port {port} of {host}: does the server run?"
    except OSError as error:
        return f"host: {host} cannot be reached at port {port}: {error.strerror or error}"
    return None


def advice(name, project, text):
    """
    What a failure that came from an external database means (str), empty where none has one or it
    means something else.

    text
        What the driver said.
    """
    for engines, pattern, field, meaning in REFUSALS:
        found = _meant(project, engines, text) if re.search(pattern, text) else []
        if found:
            keys = " or ".join(f"django:projects:{name}:{key}:{field}" for key in found)
            return f"{keys}: {meaning}"
    return ""


def _meant(project, engines, text):
    """
    The pillar keys (list of str) of the external databases that a text can be about: those of which
    it has most in quotation marks, of one that is not external none.
    """
    outside = {id(database): key for key, database in external(project)}
    score = {}
    for database in project["databases"].values():
        if database["engine"] in engines:
            words = [database.get(field) for field in ("host", "name", "user")]
            told = sum(f'"{word}"' in text or f"'{word}'" in text for word in words)
            score.setdefault(told, []).append(database)
    best = score[max(score)] if score else []
    return [outside[id(database)] for database in best if id(database) in outside]
