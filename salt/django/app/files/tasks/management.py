"""Management commands that look before they act."""


def migration_list(request):
    """
    Migrations of each of ``databases`` (all for an empty list), of one ``app`` or of all:
    ``{alias: [{"app", "name", "applied": time or None, "known": whether the source has it}]}``.
    """
    from django.db import connections
    from django.db.migrations.loader import MigrationLoader

    answer = {}
    for alias in request["databases"] or [
        alias for alias in connections if connections[alias].vendor != "unknown"
    ]:
        loader = MigrationLoader(connections[alias], ignore_no_migrations=True)
        applied = loader.applied_migrations
        keys = sorted({*loader.disk_migrations, *applied})
        answer[alias] = [
            {
                "app": app,
                "name": name,
                "applied": _applied_at(applied, (app, name)),
                "known": (app, name) in loader.disk_migrations,
            }
            for app, name in keys
            if request["app"] in (None, app)
        ]
    return answer


def _applied_at(applied, key):
    if key not in applied:
        return None
    time = getattr(applied[key], "applied", None)
    return time.isoformat() if time else "as replaced"


def migrate_to(request):
    """
    Bring ``database`` to a migration of ``app`` (None: its latest; without an app, all), under a
    database lock. Returns ``{"applied": [app.name], "unapplied": [app.name]}``, with ``test`` what
    it would be.
    """
    from django.core.management import call_command
    from django.db import connections
    from django.db.migrations.executor import MigrationExecutor
    from django.db.migrations.recorder import MigrationRecorder

    connection = connections[request["database"]]
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(_migration_targets(executor.loader, request))
    keys = [(step.app_label, step.name, backwards) for step, backwards in plan]
    if keys and not request["test"]:
        before = set(MigrationRecorder(connection).applied_migrations())
        with _alone(connection, request["wait"]):
            call_command(
                "migrate",
                *[word for word in (request["app"], request["migration"]) if word],
                database=connection.alias,
                interactive=False,
                verbosity=1,
                fake=request["fake"],
                fake_initial=request["fake_initial"],
            )
        changed = before ^ set(MigrationRecorder(connection).applied_migrations())
        keys = [key for key in keys if key[:2] in changed]
    return {
        "applied": [f"{app}.{name}" for app, name, backwards in keys if not backwards],
        "unapplied": [f"{app}.{name}" for app, name, backwards in keys if backwards],
    }


def _migration_targets(loader, request):
    """What Django's ``migrate`` aims at for the same words."""
    from django.core.management import CommandError

    conflicts = loader.detect_conflicts()
    if conflicts:
        raise CommandError(f"conflicting migrations in {', '.join(sorted(conflicts))}: merge them")
    app, name = request["app"], request["migration"]
    if not app:
        return loader.graph.leaf_nodes()
    if app not in loader.migrated_apps:
        raise CommandError(f"app {app!r} has no migrations")
    if not name:
        return [key for key in loader.graph.leaf_nodes() if key[0] == app]
    if name == "zero":
        return [(app, None)]
    return [(app, loader.get_migration_by_prefix(app, name).name)]


def collect_static(request):
    """
    Run collectstatic unless it would do nothing. Returns ``{"copied": [file], "cleared": bool,
    "manifest": whether one had to be made}``; with ``test`` what it would be.
    """
    from django.contrib.staticfiles.storage import staticfiles_storage
    from django.core.management import call_command, get_commands, load_command_class

    app = get_commands()["collectstatic"]

    def run(**options):
        command = load_command_class(app, "collectstatic") if isinstance(app, str) else app
        call_command(command, interactive=False, verbosity=1, **request["options"], **options)
        return command

    looked = run(dry_run=True)
    copied = [*looked.copied_files, *looked.symlinked_files]
    if request["clear"]:
        copied += looked.unmodified_files
    makes_manifest = (
        request["options"].get("post_process", True)
        and getattr(staticfiles_storage, "read_manifest", lambda: "")() is None
    )
    if (copied or request["clear"] or makes_manifest) and not request["test"]:
        done = run(clear=request["clear"])
        copied = [*done.copied_files, *done.symlinked_files]
    return {
        "copied": sorted(copied),
        "cleared": bool(request["clear"]),
        "manifest": bool(makes_manifest),
    }


def cache_tables(request):
    """
    Create the tables of database caches that ``databases`` (all for an empty list) lack; returns
    ``{alias: [table]}``, with ``test`` what would be created.
    """
    from django.conf import settings
    from django.core.cache import caches
    from django.core.cache.backends.db import BaseDatabaseCache
    from django.core.management import call_command
    from django.db import connections, router

    answer = {}
    backends = [caches[name] for name in settings.CACHES]
    backends = [cache for cache in backends if isinstance(cache, BaseDatabaseCache)]
    for alias in request["databases"] or [connection.alias for connection in connections.all()]:
        wanted = [
            cache._table
            for cache in backends
            if router.allow_migrate_model(alias, cache.cache_model_class)
        ]
        there = connections[alias].introspection.table_names() if wanted else []
        missing = sorted({table for table in wanted if table not in there})
        if missing:
            answer[alias] = missing
            if not request["test"]:
                call_command("createcachetable", database=alias, verbosity=0)
    return answer
