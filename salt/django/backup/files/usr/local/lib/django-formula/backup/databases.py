"""
Dumps of a project's databases, and their way back: PostgreSQL, MariaDB and SQLite.

A database is a dict: ``engine``, ``name``, and for a server ``host``, ``port``, ``user``,
``password`` and ``options``. Passwords reach programs by their environment, which only root and the
program itself can read. Nothing but the standard library is needed.
"""

import os
import pathlib
import pwd
import re
import shutil
import stat
import subprocess
import sys
import urllib.parse

SUFFIXES = {"postgresql": "pgdump", "mysql": "sql", "sqlite": "sqlite3"}
SQLITE_FILES = ("", "-wal", "-shm", "-journal")  # of a database, by what is added to its name
PATIENCE = 60  # seconds that a dump waits for a migration's lock, and a restore for visitors'
CHUNK = 1 << 20
RESERVE = 256 << 20  # bytes of the disk that a dump leaves free, or a twentieth if that is less
# What the formula and the server look after themselves, and the role could not make.
NOT_OURS = re.compile(
    r"\d+; \d+ \d+ (EXTENSION - |COMMENT - EXTENSION |SCHEMA - public |COMMENT - SCHEMA public"
    r"|EVENT TRIGGER |COMMENT - EVENT TRIGGER |PUBLICATION |SUBSCRIPTION )"
)
LOCKS = f"SET lock_timeout = '{PATIENCE}s';\n"
MARIADB_LOCKS = f"SET lock_wait_timeout = {PATIENCE}, FOREIGN_KEY_CHECKS = 0;\n"
# Everything of the database but its extensions goes, in the transaction that brings the dump back:
# catalogue, statement, which of it. Names are told before one of a kind goes, since it may take
# others with it.
RELATION = "'DROP %s IF EXISTS public.%I CASCADE', {}, relname"
KINDS = (
    "CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'"
    " WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END"
)
EVERYTHING = (
    (
        "pg_namespace",
        "'DROP SCHEMA IF EXISTS %I CASCADE', nspname",
        "nspowner = current_user::regrole AND nspname <> 'public' AND nspname !~ '^pg_'",
    ),
    (
        "pg_class",
        RELATION.format(KINDS),
        "relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')",
    ),
    (
        "pg_class",
        RELATION.format("'SEQUENCE'"),
        "relnamespace = 'public'::regnamespace AND relkind = 'S'",
    ),
    (
        "pg_proc",
        "'DROP ROUTINE IF EXISTS %s CASCADE', oid::regprocedure",
        # Those that make values of a range belong to its type, and go with it.
        "pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend WHERE classid"
        " = 'pg_proc'::regclass AND objid = pg_proc.oid AND deptype = 'i')",
    ),
    (
        "pg_type",
        "'DROP TYPE IF EXISTS %s CASCADE', oid::regtype",
        "typnamespace = 'public'::regnamespace AND (typtype IN ('e', 'd', 'r') OR EXISTS"
        " (SELECT FROM pg_class WHERE pg_class.oid = typrelid AND relkind = 'c'))",
    ),
    (
        "pg_collation",
        "'DROP COLLATION IF EXISTS public.%I CASCADE', collname",
        "collnamespace = 'public'::regnamespace",
    ),
    (
        "pg_ts_config",
        "'DROP TEXT SEARCH CONFIGURATION IF EXISTS public.%I CASCADE', cfgname",
        "cfgnamespace = 'public'::regnamespace",
    ),
    (
        "pg_ts_dict",
        "'DROP TEXT SEARCH DICTIONARY IF EXISTS public.%I CASCADE', dictname",
        "dictnamespace = 'public'::regnamespace",
    ),
)
DROP = """\
    FOREACH statement IN ARRAY ARRAY(
        SELECT format({1}) FROM {0} WHERE {2}
            AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = '{0}'::regclass
                AND objid = {0}.oid AND deptype = 'e')
    )
    LOOP
        EXECUTE statement;
    END LOOP;
"""
CLEAN = f"""\
SET client_min_messages = warning;
DO $clean$
DECLARE
    statement text;
BEGIN
{"".join(DROP.format(*each) for each in EVERYTHING)}\
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata WHERE lomowner = current_user::regrole;
END
$clean$;
"""
# Of views, triggers and routines: who made them on that server may be nobody on this one.
DEFINER = re.compile(
    rb"^(/\*!50013 |/\*!50003 CREATE\*/ /\*!50017 |/\*!50106 CREATE\*/ /\*!50117 |CREATE )"
    rb"DEFINER=`[^`]*`@`[^`]*`"
)
OBJECTS = (  # of MariaDB
    "SELECT IF(TABLE_TYPE = 'VIEW', 'VIEW', 'TABLE'), TABLE_NAME FROM information_schema.TABLES"
    " WHERE TABLE_SCHEMA = DATABASE() AND TABLE_TYPE IN ('BASE TABLE', 'VIEW', 'SEQUENCE');"
    "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES"
    " WHERE ROUTINE_SCHEMA = DATABASE() AND ROUTINE_TYPE IN ('PROCEDURE', 'FUNCTION');"
    "SELECT 'EVENT', EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA = DATABASE()"
)
COPY = """\
import contextlib, sqlite3, sys
source, target = (sqlite3.connect(each, uri=True, timeout=60) for each in sys.argv[1:])
with contextlib.closing(source), contextlib.closing(target):
    source.backup(target)
"""


class DatabaseError(Exception):
    """A database could not be dumped or brought back; the message says why, without a secret."""


def file_name(alias, database):
    """Name of the dump (str) of the database with an alias."""
    return f"{alias}.{SUFFIXES[database['engine']]}"


def dump(database, path, user):
    """
    Write a dump of a database to ``path``. Its tables are seen as they are at one moment, and
    whoever uses it goes on. DatabaseError when it fails; then there is no file.

    user
        System user that owns an SQLite file.
    """
    path = pathlib.Path(path)
    engine = database["engine"]
    try:
        if engine == "sqlite":
            _dump_sqlite(database, path, user)
        else:
            argv = _pg_dump() if engine == "postgresql" else _mariadb_dump(database)
            _write(argv, _environment(database), path)
    except DatabaseError as error:
        path.unlink(missing_ok=True)
        raise DatabaseError(f"database {database['name']}: {error}") from None


def load(database, path, user):
    """
    Let a database have what a dump of it holds, and nothing besides. In PostgreSQL and SQLite all
    of it comes at once or not at all; MariaDB may be left with a part of it, when DatabaseError is
    raised.

    user
        System user that owns an SQLite file.
    """
    try:
        if database["engine"] == "sqlite":
            _load_sqlite(database, path, user)
        elif database["engine"] == "postgresql":
            _load_postgresql(database, path)
        else:
            _load_mariadb(database, path)
    except DatabaseError as error:
        raise DatabaseError(f"database {database['name']}: {error}") from None


def is_whole(database):
    """Whether a dump that could not be loaded has left the database as it was."""
    return database["engine"] != "mysql"


def _environment(database):
    """Variables (dict) by which the programs of a server find and open a database."""
    base = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/nonexistent"}
    if database["engine"] == "mysql":
        return {**base, "MYSQL_PWD": database["password"]}
    own = {
        "PGHOST": database["host"],
        "PGPORT": str(database["port"]),
        "PGUSER": database["user"],
        "PGPASSWORD": database["password"],
        "PGDATABASE": database["name"],
        "PGCONNECT_TIMEOUT": "20",
        "PGAPPNAME": "django-backup",
    }
    options = {
        f"PG{key.upper()}": str(value)
        for key, value in database.get("options", {}).items()
        if key.startswith("ssl") or key in ("channel_binding", "gssencmode")
    }
    return {**base, **own, **options}


def _pg_dump():
    # Not compressed: the repository does that, and finds what is the same as last night.
    wait = f"--lock-wait-timeout={PATIENCE}s"
    return ["pg_dump", "--format=custom", "--compress=0", "--no-owner", "--no-acl", wait]


def _mariadb(database):
    """Options by which MariaDB's programs find a server."""
    return [
        "--no-defaults",
        f"--host={database['host']}",
        f"--port={database['port']}",
        f"--user={database['user']}",
        "--protocol=tcp",
        "--default-character-set=utf8mb4",
        *_mariadb_tls(database.get("options", {})),
    ]


def _mariadb_tls(options):
    """Words for MariaDB's programs (list of str) for what Django's ``options`` say of TLS."""
    files = options.get("ssl") if isinstance(options.get("ssl"), dict) else {}
    mode = str(options.get("ssl_mode") or "").upper()
    words = [
        f"--ssl-{key}={files[key]}"
        for key in ("ca", "capath", "cert", "key", "cipher")
        if files.get(key)
    ]
    if mode == "VERIFY_IDENTITY" or files.get("check_hostname"):
        words.append("--ssl-verify-server-cert")
    wanted = options.get("ssl") or mode in ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")
    return ["--ssl", *words] if wanted else []


def _mariadb_dump(database):
    return [
        "mariadb-dump",
        *_mariadb(database),
        "--single-transaction",
        "--quick",
        "--skip-lock-tables",
        "--routines",
        "--triggers",
        "--events",
        "--hex-blob",
        "--no-tablespaces",
        database["name"],
    ]


def _write(argv, environment, path):
    """Write what a command says to a file, as long as the disk has room for it."""
    disk = os.statvfs(path.parent)
    reserve = min(RESERVE, disk.f_blocks * disk.f_frsize // 20)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream, _Program(argv, environment) as run:
        while block := run.process.stdout.read(CHUNK):
            disk = os.statvfs(path.parent)
            if disk.f_bavail * disk.f_frsize < reserve:
                raise DatabaseError(f"the disk of {path.parent} has no room for the dump")
            stream.write(block)
        run.finish()
        stream.flush()
        os.fsync(stream.fileno())


class _Program:
    """A program whose output is read; it ends with the ``with``, whatever happens there."""

    def __init__(self, argv, environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
        self.argv, self.errors = argv, os.fdopen(os.memfd_create("errors"), "w+b")
        try:
            self.process = subprocess.Popen(  # noqa: S603
                argv, env=environment, cwd="/", stdin=stdin, stdout=stdout, stderr=self.errors
            )
        except FileNotFoundError:
            raise DatabaseError(f"the program {argv[0]} is not on this host") from None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def finish(self):
        """Wait for its end; DatabaseError with its last words when it failed."""
        if self.process.wait():
            raise DatabaseError(f"{self.argv[0]} failed: {self.words()}")

    def words(self):
        """The last lines (str) of what it has said."""
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").strip().splitlines()
        return "\n".join(lines[-5:])


def _load_postgresql(database, path):
    environment = _environment(database)
    with _Program(["pg_restore", "--list", str(path)], environment) as run:
        listed = run.process.stdout.read().decode()
        run.finish()
    kept = [line for line in listed.splitlines() if not NOT_OURS.match(line)]
    chosen = pathlib.Path(f"{path}.list")
    chosen.write_text("\n".join(kept) + "\n", encoding="utf-8")
    convert = [
        "pg_restore",
        "--no-owner",
        "--no-acl",
        f"--use-list={chosen}",
        "--file=-",
        str(path),
    ]
    enter = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with _Program(enter, environment, **streams) as psql, _Program(convert, environment) as script:
        try:
            # Whoever ends in between leaves a transaction without its COMMIT: nothing has changed.
            psql.process.stdin.write(f"BEGIN;\n{LOCKS}{CLEAN}".encode())
            shutil.copyfileobj(script.process.stdout, psql.process.stdin, CHUNK)
            script.finish()
            psql.process.stdin.write(b"\nCOMMIT;\n")
            psql.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and says why
        psql.finish()


def _load_mariadb(database, path):
    environment = _environment(database)
    enter = ["mariadb", *_mariadb(database), "--batch", "--skip-column-names", database["name"]]
    with _Program([*enter, f"--execute={OBJECTS}"], environment) as run:
        rows = [line.split("\t") for line in run.process.stdout.read().decode().splitlines()]
        run.finish()
    drops = "".join(f"DROP {kind} IF EXISTS {_quoted(name)};\n" for kind, name in sorted(rows))
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL}
    with _Program(enter, environment, **streams) as run, open(path, "rb") as dumped:
        try:
            run.process.stdin.write(f"{MARIADB_LOCKS}{drops}".encode())
            for line in dumped:
                run.process.stdin.write(DEFINER.sub(rb"\1", line))
            run.process.stdin.close()
        except BrokenPipeError:
            pass  # it has ended, and says why
        run.finish()


def _quoted(name):
    return "`" + name.replace("`", "``") + "`"


def _dump_sqlite(database, path, user):
    """
    The file is in a folder of the project, which might lead elsewhere: so the project's user reads
    it, into a folder of its own.
    """
    with _Handed(path, user) as handed:
        copy = handed.folder / path.name
        handed.give()
        _copy(_uri(database["name"], "ro"), _uri(copy, "rwc"), user)
        handed.take()
        found = os.lstat(copy)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise DatabaseError("its copy is no file any more: another process exchanged it")
        os.rename(copy, path)
    os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)


def _load_sqlite(database, path, user):
    with _Handed(path, user) as handed:
        copy = handed.folder / pathlib.Path(path).name
        shutil.copyfile(path, copy)
        shutil.chown(copy, user)
        handed.give()  # from here on what is in it may be anything
        _copy(_uri(copy, "ro"), _uri(database["name"], "rwc"), user)


class _Handed:
    """A folder beside a path, of root until it is given to a user; it ends with the ``with``."""

    def __init__(self, path, user):
        self.folder, self.user = pathlib.Path(f"{path}.{user}"), user

    def __enter__(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        return self

    def give(self):
        """Let the user, and nobody else but root, come to what is in it."""
        shutil.chown(self.folder, self.user)

    def take(self):
        """Let nobody but root change what is in it."""
        os.chown(self.folder, os.geteuid(), os.getegid())
        self.folder.chmod(0o700)

    def __exit__(self, *_):
        shutil.rmtree(self.folder, ignore_errors=True)


def _uri(path, mode):
    return f"file:{urllib.parse.quote(str(path))}?mode={mode}"


def _copy(source, target, user):
    argv = [sys.executable, "-I", "-c", COPY, source, target]
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(  # noqa: S603
        argv, env=environment, cwd="/", capture_output=True, text=True, umask=0o027, **_as(user)
    )
    if done.returncode:
        raise DatabaseError((done.stderr.strip().splitlines() or ["it cannot be copied"])[-1])


def _as(user):
    """How a process becomes a user, and nothing more."""
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
