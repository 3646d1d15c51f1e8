"""Migrations: applied under a lock and with limits, reversed, and looked at before."""

import contextlib
import time

TRY_SECONDS = 0.5  # what waits for a lock makes the site's own queries wait behind it
PAUSE_SECONDS = 1
POLL_SECONDS = 0.5
LOST_SECONDS = 60  # how long a database may be away while its lock is waited for
_LOCK_CODES = ("55P03", "40P01", 1205, 1213)  # not available, deadlock: PostgreSQL, MySQL


def migrate(request):
    """
    Apply pending migrations, but for those ``deferred`` (by alias), under a database lock and with
    time limits for locks and statements (seconds; 0 is none). Returns the applied ones by alias.
    """
    from django.core.management import call_command
    from django.db import connections
    from django.db.migrations.recorder import MigrationRecorder

    done = {}
    for alias in request["databases"]:
        connection = connections[alias]
        with _alone(connection, request["wait"]), _limited(connection, request):
            before = set(MigrationRecorder(connection).applied_migrations())
            with _without(request["deferred"].get(alias, [])), _in_short_tries(request):
                call_command("migrate", database=alias, interactive=False, verbosity=1)
            after = set(MigrationRecorder(connection).applied_migrations())
        done[alias] = sorted(list(key) for key in after - before)
    return done


@contextlib.contextmanager
def _replaced(owner, **functions):
    """Inside, functions of a class are others."""
    kept = {name: getattr(owner, name) for name in functions}
    for name, function in functions.items():
        setattr(owner, name, function)
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(owner, name, function)


def _without(deferred):
    """Inside, Django's plans leave out some migrations."""
    from django.db.migrations.executor import MigrationExecutor

    whole = MigrationExecutor.migration_plan
    deferred = {tuple(key) for key in deferred}

    def limited(executor, targets, clean_start=False):
        steps = whole(executor, targets, clean_start)
        if clean_start:  # how Django works out the state of the models
            return steps
        return [step for step in steps if (step[0].app_label, step[0].name) not in deferred]

    return _replaced(MigrationExecutor, migration_plan=limited)


def _in_short_tries(request):
    """
    Inside, a migration waits for its locks in short tries with pauses, for ``lock_timeout`` in all.
    What is repeated is the whole migration where that is one transaction, else a statement that is
    one by itself, so that there is never a half to repeat.
    """
    from django.db.migrations.executor import MigrationExecutor

    apply, unapply = MigrationExecutor.apply_migration, MigrationExecutor.unapply_migration

    def applied(executor, state, migration, **options):
        with _named(executor.connection, migration):
            return _try(
                executor.connection,
                migration,
                request["lock_timeout"],
                lambda: apply(executor, state.clone(), migration, **options),
            )

    def unapplied(executor, state, migration, **options):
        with _named(executor.connection, migration):
            return _try(
                executor.connection,
                migration,
                request["lock_timeout"],
                lambda: unapply(executor, state, migration, **options),
            )

    return _replaced(MigrationExecutor, apply_migration=applied, unapply_migration=unapplied)


@contextlib.contextmanager
def _named(connection, migration):
    """What fails inside tells of which migration it is, and whether a part of that may stay."""
    try:
        yield
    except BaseException as error:
        halves = not migration.atomic and connection.features.can_rollback_ddl
        stays = " (not atomic: what it had changed until then stays)" if halves else ""
        error.about = f"{migration}{stays}"
        raise


def _try(connection, migration, seconds, act):
    if not seconds:
        return act()

    def one_by_one(execute, sql, params, many, context):
        # Building an index concurrently locks nobody out, and leaves a broken one when it fails.
        if connection.in_atomic_block or "CONCURRENTLY" in str(sql).upper():
            return execute(sql, params, many, context)
        with _waiting(connection, TRY_SECONDS, seconds):
            return _repeated(seconds, lambda: execute(sql, params, many, context))

    if migration.atomic and connection.features.can_rollback_ddl:
        with _waiting(connection, TRY_SECONDS, seconds):
            return _repeated(seconds, act)
    with connection.execute_wrapper(one_by_one):
        return act()


@contextlib.contextmanager
def _waiting(connection, short, usual):
    """Inside, a statement waits for a lock only for a ``short`` time (seconds)."""
    _limit_locks(connection, min(short, usual))
    try:
        yield
    finally:
        if not connection.needs_rollback:
            _limit_locks(connection, usual)


def _repeated(seconds, act):
    from django.db import OperationalError

    deadline = time.monotonic() + seconds
    while True:
        try:
            return act()
        except OperationalError as error:
            if not _is_about_a_lock(error) or time.monotonic() + PAUSE_SECONDS > deadline:
                raise
            print(f"tries again: {error}", flush=True)
        time.sleep(PAUSE_SECONDS)


def _is_about_a_lock(error):
    cause = error.__cause__ or error
    codes = {getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None), *error.args[:1]}
    return bool(codes & set(_LOCK_CODES))


@contextlib.contextmanager
def _limited(connection, request):
    """Inside, every session with the database has the limits, though the project opens it anew."""
    from django.db.backends.signals import connection_created

    def limit(sender, connection, **_):
        if connection.alias == alias:
            _limit_locks(connection, request["lock_timeout"])
            _limit_statements(connection, request["statement_timeout"])

    alias = connection.alias
    connection.close()
    connection_created.connect(limit)
    try:
        yield
    finally:
        connection_created.disconnect(limit)
        connection.close()


def _limit_locks(connection, seconds):
    statements = []
    if connection.vendor == "postgresql":
        statements = [f"SET lock_timeout = {int(seconds * 1000)}"]
    elif connection.vendor == "mysql":
        whole = max(1, int(seconds)) if seconds else 31536000
        statements = [
            f"SET SESSION lock_wait_timeout = {whole}",
            f"SET SESSION innodb_lock_wait_timeout = {whole}",
        ]
    _carry_out(connection, statements)


def _limit_statements(connection, seconds):
    statements = []
    if connection.vendor == "postgresql":
        statements = [f"SET statement_timeout = {int(seconds * 1000)}"]
    elif connection.vendor == "mysql" and connection.mysql_is_mariadb:
        statements = [f"SET SESSION max_statement_time = {int(seconds)}"]
    _carry_out(connection, statements)


def _carry_out(connection, statements):
    """Past the wrappers that a project, or this file, has around its statements."""
    if not statements:
        return
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.cursor.execute(statement)


class _alone:
    """
    A lock that the database gives up when its session ends, however it ends. Who waits for it asks
    again and again: a query that waits would be one that CREATE INDEX CONCURRENTLY waits for.
    """

    key = 0x646A616E676F

    def __init__(self, connection, wait):
        from django.db import connections

        self.wait = wait
        # A session of its own: a project's migrations may close and reopen theirs.
        self.session = connections.create_connection(connection.alias)

    def __enter__(self):
        from django.db import InterfaceError, OperationalError

        now = time.monotonic()
        deadline, answered = now + self.wait, None
        while True:
            try:
                if self._is_taken():
                    return
                answered = time.monotonic()
            except (InterfaceError, OperationalError):
                self.session.close()
                if answered is None or time.monotonic() - answered > LOST_SECONDS:
                    raise
            if time.monotonic() > deadline:
                self.session.close()
                raise TimeoutError(f"another host has migrated for {self.wait} s")
            time.sleep(POLL_SECONDS)

    def __exit__(self, *failure):
        self.session.close()

    def _is_taken(self):
        if self.session.connection is None:
            self._connect()
        if self.session.vendor == "postgresql":
            question, words = "SELECT pg_try_advisory_lock(%s)", [self.key]
        elif self.session.vendor == "mysql":
            name = f"{self.session.settings_dict['NAME']}.migrate"[:64]
            question, words = "SELECT GET_LOCK(%s, 0)", [name]
        else:
            return True
        with self.session.cursor() as cursor:
            cursor.execute(question, words)
            return bool(cursor.fetchone()[0])

    def _connect(self):
        """The session may be idle for as long as it holds the lock."""
        statements = []
        if self.session.vendor == "postgresql":
            name = "idle_session_timeout"
            statements = [
                f"SELECT set_config(name, '0', false) FROM pg_settings WHERE name = '{name}'"  # noqa: S608
            ]
        elif self.session.vendor == "mysql":
            statements = ["SET SESSION wait_timeout = 31536000"]
        _carry_out(self.session, statements)


def _after_switch(loader, patterns):
    """
    Migrations that only run after the switch, those whose class says ``after_switch = True`` or
    that match a pattern such as ``shop.0005_*``, each with all that depend on it:
    ``[[key, …], …]``, itself the first.
    """
    import fnmatch

    return [
        [list(key), *_dependent(loader, key)]
        for key, migration in sorted(loader.disk_migrations.items())
        if getattr(migration, "after_switch", False)
        or any(fnmatch.fnmatchcase(".".join(key), pattern) for pattern in patterns)
    ]


def _dependent(loader, key):
    """Keys (sorted list) of the migrations that need another to have run."""
    found, edge = set(), {key} & set(loader.graph.node_map)
    while edge:
        edge = {child.key for key in edge for child in loader.graph.node_map[key].children} - found
        found |= edge
    return sorted(list(key) for key in found)


def reverse(request):
    """
    Reverse ``migrations`` (``{alias: [[app, name], …]}``), the newest first, under the lock; what
    the older code has (``known``, a list of keys) stays. Nothing is reversed when one of them
    cannot be, nor when it is only to be ``tried``. Returns the reversed ones by database alias.
    """
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    known = {tuple(key) for key in request["known"]}
    stuck = []
    for alias, keys in request["migrations"].items():
        executor = MigrationExecutor(connections[alias])
        for migration, _ in _way_back(executor, keys, known):
            stuck += [
                f"{migration} ({operation.describe()})"
                for operation in migration.operations
                if not operation.reversible
            ]
            if any(_is_had(executor.loader, key, known) for key in migration.replaces):
                stuck.append(f"{migration} (it replaces some that the older release has, too)")
    if stuck:
        raise ValueError(f"these cannot be reversed: {'; '.join(stuck)}")
    if request.get("tried"):
        return {}
    done = {}
    for alias, keys in request["migrations"].items():
        connection = connections[alias]
        with _alone(connection, request["wait"]), _limited(connection, request):
            executor = MigrationExecutor(connection)
            steps = _way_back(executor, keys, known)
            with _in_short_tries(request):
                executor.migrate([], plan=steps)
        done[alias] = [[migration.app_label, migration.name] for migration, _ in steps]
    return done


def _way_back(executor, keys, known):
    """
    Pairs of a migration and True, the newest first, of those that are applied. A squashed one
    stands for what it replaces: it stays where the older code has all of that.
    """
    loader = executor.loader
    wanted = {tuple(key) for key in keys} & set(loader.applied_migrations)
    full = executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True)
    found = []
    for migration, _ in reversed(full):
        key = (migration.app_label, migration.name)
        if wanted & {key, *_stood_for(loader, key)} and not _is_had(loader, key, known):
            found.append((migration, True))
    return found


def _stood_for(loader, key):
    """Keys (set) of the migrations that a squashed one replaces, squashed ones among them too."""
    replaced = {tuple(each) for each in getattr(loader.disk_migrations.get(key), "replaces", [])}
    return replaced.union(*(_stood_for(loader, each) for each in replaced))


def _is_had(loader, key, known):
    """Whether code with the migrations ``known`` has all that a migration does."""
    replaced = getattr(loader.disk_migrations.get(key), "replaces", [])
    return key in known or (
        bool(replaced) and all(_is_had(loader, tuple(each), known) for each in replaced)
    )
