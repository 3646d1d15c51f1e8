"""Migrations: applied under a lock and with limits, reversed, and looked at before."""

import time

LOCK_TRIES = 5
_LOCK_CODES = ("55P03", "40P01", 1205, 1213)  # not available, deadlock: PostgreSQL, MySQL


def migrate(request):
    """
    Apply pending migrations, but for those ``deferred`` (by alias), under a database lock and with
    time limits for locks and statements (seconds; 0 is none). Returns the applied ones by alias.

    What waits for a lock makes the site's own queries wait behind it, so it gives up soon and tries
    again, where a migration that failed leaves nothing behind.
    """
    from django.db import connections
    from django.db.migrations.recorder import MigrationRecorder

    done = {}
    for alias in request["databases"]:
        connection = connections[alias]
        with _only_one(connection, request["wait"]):
            before = set(MigrationRecorder(connection).applied_migrations())
            with _without(request["deferred"].get(alias, [])):
                _apply(connection, request)
            after = set(MigrationRecorder(connection).applied_migrations())
        done[alias] = sorted(list(key) for key in after - before)
    return done


def _apply(connection, request):
    from django.core.management import call_command
    from django.db import OperationalError

    wait = request["lock_timeout"] / (2 * LOCK_TRIES - 1)
    for attempt in range(1, LOCK_TRIES + 1):
        next_one = next((migration for migration, _ in _steps(connection)), None)
        again = (
            attempt < LOCK_TRIES
            and next_one is not None
            and next_one.atomic
            and connection.features.can_rollback_ddl
        )
        _limit(connection, wait if again or attempt > 1 else request["lock_timeout"], request)
        try:
            call_command("migrate", database=connection.alias, interactive=False, verbosity=1)
            return
        except OperationalError as error:
            if not (again and _is_about_a_lock(error)):
                raise
            print(f"attempt {attempt} of {LOCK_TRIES}: {error}", flush=True)
        connection.close()
        time.sleep(wait)


def _steps(connection):
    """What is pending, in order: pairs of a migration and False."""
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    return executor.migration_plan(executor.loader.graph.leaf_nodes())


def _is_about_a_lock(error):
    cause = error.__cause__ or error
    codes = {getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None), *error.args[:1]}
    return bool(codes & set(_LOCK_CODES))


class _without:
    """Inside, Django's plans leave out some migrations."""

    def __init__(self, deferred):
        self.deferred = {tuple(key) for key in deferred}

    def __enter__(self):
        from django.db.migrations.executor import MigrationExecutor

        self.plan = plan = MigrationExecutor.migration_plan
        deferred = self.deferred

        def limited(executor, targets, clean_start=False):
            steps = plan(executor, targets, clean_start)
            if clean_start:  # how Django works out the state of the models
                return steps
            return [step for step in steps if (step[0].app_label, step[0].name) not in deferred]

        MigrationExecutor.migration_plan = limited

    def __exit__(self, *failure):
        from django.db.migrations.executor import MigrationExecutor

        MigrationExecutor.migration_plan = self.plan


class _only_one:
    """A lock that the database gives up when the session ends, however it ends."""

    key = 0x646A616E676F

    def __init__(self, connection, wait):
        from django.db import connections

        self.wait = wait
        # A session of its own: a project's migrations may close and reopen theirs.
        self.session = connections.create_connection(connection.alias)

    def __enter__(self):
        if self.session.vendor == "postgresql":
            with self.session.cursor() as cursor:
                cursor.execute(f"SET lock_timeout = {int(self.wait * 1000)}")
                cursor.execute("SELECT pg_advisory_lock(%s)", [self.key])
        elif self.session.vendor == "mysql":
            name = f"{self.session.settings_dict['NAME']}.migrate"[:64]
            with self.session.cursor() as cursor:
                cursor.execute("SELECT GET_LOCK(%s, %s)", [name, int(self.wait)])
                if cursor.fetchone()[0] != 1:
                    raise TimeoutError(f"another host has migrated for {self.wait} s")

    def __exit__(self, *failure):
        self.session.close()


def _limit(connection, lock_timeout, request):
    """Set the limits of a session, in seconds."""
    statements = []
    if connection.vendor == "postgresql":
        statements = [
            f"SET lock_timeout = {int(lock_timeout * 1000)}",
            f"SET statement_timeout = {int(request['statement_timeout'] * 1000)}",
        ]
    elif connection.vendor == "mysql":
        seconds = max(1, int(lock_timeout)) if lock_timeout else 31536000
        statements = [
            f"SET SESSION lock_wait_timeout = {seconds}",
            f"SET SESSION innodb_lock_wait_timeout = {seconds}",
        ]
        if connection.mysql_is_mariadb:
            statements.append(f"SET SESSION max_statement_time = {request['statement_timeout']}")
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


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
    Reverse ``migrations`` (``{alias: [[app, name], …]}``), the newest first, under the lock.
    Nothing is reversed when one of them cannot be, nor when it is only to be ``tried``. Returns the
    reversed ones by database alias.
    """
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor

    plans = {}
    for alias, keys in request["migrations"].items():
        executor = MigrationExecutor(connections[alias])
        wanted = {tuple(key) for key in keys} & set(executor.loader.applied_migrations)
        full = executor.migration_plan(executor.loader.graph.leaf_nodes(), clean_start=True)
        steps = [
            (migration, True)
            for migration, _ in reversed(full)
            if (migration.app_label, migration.name) in wanted
        ]
        stuck = [
            f"{migration} ({operation.describe()})"
            for migration, _ in steps
            for operation in migration.operations
            if not operation.reversible
        ]
        if stuck:
            raise ValueError(f"these cannot be reversed: {'; '.join(stuck)}")
        plans[alias] = steps
    if request.get("tried"):
        return {}
    done = {}
    for alias, steps in plans.items():
        connection = connections[alias]
        with _only_one(connection, request["wait"]):
            _limit(connection, request["lock_timeout"], request)
            executor = MigrationExecutor(connection)
            executor.migrate([], plan=steps)
        done[alias] = [[migration.app_label, migration.name] for migration, _ in steps]
    return done
