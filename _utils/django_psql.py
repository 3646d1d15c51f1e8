"""Questions and statements to PostgreSQL, on this host and on the other servers of a database."""

from django_postgresql import parse
from django_run import run

# Not those of /usr/bin, which are wrappers that start Perl first.
PROGRAMS = "/usr/lib/postgresql/{version}/bin"
OPTIONS = ["--no-psqlrc", "--tuples-only", "--no-align", "--quiet", "--set=ON_ERROR_STOP=1"]
TIMEOUT = 120
PEER_SECONDS = 5


def program(server, name):
    """The path (str) of one of PostgreSQL's programs."""
    return f"{PROGRAMS.format(version=server['version'])}/{name}"


def run_here(server, database, script):
    """
    What this host's server answers to a script of SQL (str), asked as its superuser.

    server
        The configuration's ``postgresql``.
    """
    argv = [program(server, "psql"), *OPTIONS, f"--port={server['port']}", f"--dbname={database}"]
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PGHOST": "/var/run/postgresql",
        "PGCONNECT_TIMEOUT": "10",
    }
    return run(argv, user="postgres", env=environment, stdin=script, timeout=TIMEOUT).stdout


def ask_here(server, query):
    """The JSON object (dict) that this host's server answers with."""
    return parse(run_here(server, "postgres", query))


def environment(server):
    """The environment (dict) in which PostgreSQL's programs come in at another server."""
    replication = server["replication"]
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PGUSER": replication["user"],
        "PGPASSFILE": replication["passfile"],
        "PGCONNECT_TIMEOUT": str(PEER_SECONDS),
    }


def ask_peer(server, peer, query):
    """
    The JSON object (dict) that another server of the map answers with.

    peer
        ``{"name", "address"}``.

    Raises CommandError; see :func:`is_silent`.
    """
    argv = [program(server, "psql"), *OPTIONS, "--no-password", f"--host={peer['address']}"]
    argv += [f"--port={server['port']}", "--dbname=postgres"]
    done = run(argv, user="postgres", env=environment(server), stdin=query, timeout=60)
    return parse(done.stdout)


def is_silent(error):
    """Whether a CommandError means that nobody answered; a server that refuses is one that runs."""
    return "FATAL:" not in error.output and "ERROR:" not in error.output


def told(error):
    """What a server or one of PostgreSQL's programs said was wrong (str), without the command."""
    lines = [line.strip() for line in error.output.splitlines() if line.strip()]
    wrong = [line.partition("error: ")[2] for line in lines if "error: " in line]
    return (wrong or lines or [str(error)])[0]
