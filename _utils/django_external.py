"""
Databases of others, as cloud providers offer them: whether their servers answer, and what their
refusals mean in terms of the pillar.
"""

import re
import socket

import django_project_database

PATIENCE = 5  # seconds for an answer of the network
# What drivers say (psycopg, psycopg2, mysqlclient, PyMySQL), the key to look at, and what it means.
REFUSALS = (
    (
        r"database \"[^\"]*\" does not exist|Unknown database|Access denied for .* to database",
        "name",
        "the server has no such database, or not for this user: none is created there",
    ),
    (
        r"password authentication failed|Access denied for user",
        "password",
        "the server knows another one for this user, or no such user",
    ),
    (
        r"no pg_hba\.conf entry|is not allowed to connect",
        "host",
        "it does not let this user in from here, or not without TLS (see options)",
    ),
    (
        r"certificate verify failed|root certificate file|unable to get local issuer",
        "options",
        "the server's certificate is of an authority that sslrootcert has to name, a file on this"
        " host",
    ),
    (
        r"does not match host name|[Hh]ostname mismatch",
        "host",
        "the server's certificate is for another name",
    ),
    (
        r"does not support SSL|SSL is required|SSL connection error",
        "options",
        "the server and the options do not agree about TLS",
    ),
    (
        r"permission denied for (schema|database)|(CREATE|ALTER|INDEX) command denied",
        "user",
        "it may not make tables: let it own the database, or grant it CREATE there",
    ),
    (
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
    found = external(project)
    for pattern, field, meaning in REFUSALS:
        if found and re.search(pattern, text):
            keys = " or ".join(f"django:projects:{name}:{key}:{field}" for key, _ in found)
            return f"{keys}: {meaning}"
    return ""
