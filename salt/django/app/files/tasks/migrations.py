"""Migrations, under a lock and with limits."""


def migrate(request):
    """
    Apply pending migrations under a database lock, with time limits for locks and statements
    (seconds; 0 is none). Returns the applied migrations by database alias.
    """
    from django.core.management import call_command
    from django.db import connections
    from django.db.migrations.recorder import MigrationRecorder

    done = {}
    for alias in request["databases"]:
        connection = connections[alias]
        before = set(MigrationRecorder(connection).applied_migrations())
        with _only_one(connection, request["wait"]):
            _limit(connection, request)
            call_command("migrate", database=alias, interactive=False, verbosity=1)
        after = set(MigrationRecorder(connection).applied_migrations())
        done[alias] = sorted(list(key) for key in after - before)
    return done


class _only_one:
    """A lock that the database gives up when the session ends, however it ends."""

    key = 0x646A616E676F

    def __init__(self, connection, wait):
        from django.db import connections

        self.main = connection
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
                    raise RuntimeError(f"another host has migrated for {self.wait} s")

    def __exit__(self, *failure):
        self.session.close()


def _limit(connection, request):
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {int(request['lock_timeout'] * 1000)}")
            cursor.execute(f"SET statement_timeout = {int(request['statement_timeout'] * 1000)}")
    elif connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_wait_timeout = {max(1, int(request['lock_timeout']))}")
