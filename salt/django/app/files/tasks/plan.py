"""
What pending migrations would do, and what of it is a risk to a site that serves.

Which statements write a table anew or lock it: PostgreSQL's manual, ALTER TABLE and CREATE INDEX;
MariaDB's knowledge base, "InnoDB Online DDL Operations": it takes the best ALGORITHM by itself.
"""

import re

# code: (whether the release before the switch breaks by it, what it means)
RISKS = {
    "drops-table": (True, "drops a table that the old release still uses"),
    "drops-column": (True, "drops a column that the old release still uses"),
    "renames": (True, "renames what the old release knows by its old name"),
    "required-column": (True, "adds a required column: INSERTs of the old release fail"),
    "not-null": (True, "forbids NULL, which the old release may write, and looks at every row"),
    "rewrites-table": (False, "writes the table anew while nobody can use it"),
    "index": (False, "builds an index while nobody can write to the table"),
    "constraint": (False, "looks at every row under a lock to validate a constraint"),
    "long-transaction": (False, "runs Python in one transaction: locks are held until its end"),
    "unknown": (False, "cannot be judged"),
}
# An operation of a project may speak to the database by itself; while it is looked at, in vain.
READ_ONLY = {
    "postgresql": "SET default_transaction_read_only = on",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "sqlite": "PRAGMA query_only = 1",
}
ONE_BYTE = 63  # characters of utf8mb4, whose length MySQL keeps in one byte
_IN_SQL = (
    ("drops-table", r"\bDROP\s+TABLE\b"),
    ("drops-column", r"\bDROP\s+COLUMN\b"),
    ("renames", r"\bRENAME\b"),
    ("not-null", r"\bSET\s+NOT\s+NULL\b"),
    ("rewrites-table", r"\bALTER\s+COLUMN\s+\S+\s+(SET\s+DATA\s+)?TYPE\b"),
    ("index", r"\bCREATE\s+(UNIQUE\s+)?INDEX\s+(?!CONCURRENTLY)"),
)


def plan(request):
    """
    Pending migrations of each of ``databases``, in their order: ``{app, name, when, atomic,
    reversible, operations}``, each operation ``{text, sql, risks}``, each risk ``{code, text,
    breaks_old}``. ``after`` are the migrations (by alias) that only run after the switch.
    """
    from django.db import connections

    return {
        alias: _planned(connections[alias], {tuple(key) for key in request["after"].get(alias, [])})
        for alias in request["databases"]
    }


def _planned(connection, after):
    from django.db.migrations.executor import MigrationExecutor

    _carry_out(connection, [READ_ONLY[connection.vendor]] if connection.vendor in READ_ONLY else [])
    executor = MigrationExecutor(connection)
    state = executor._create_project_state(with_applied_migrations=True)
    created, found = set(), []
    for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes()):
        operations = []
        for operation in migration.operations:
            before = state.clone()
            operation.state_forwards(migration.app_label, state)
            operations.append(
                {
                    "text": operation.describe(),
                    "sql": _sql(connection, migration, operation, before, state),
                    "risks": _told(
                        _risks(connection, migration, operation, before, state, created)
                    ),
                }
            )
        key = (migration.app_label, migration.name)
        found.append(
            {
                "app": key[0],
                "name": key[1],
                "when": "after" if key in after else "before",
                "atomic": migration.atomic and connection.features.can_rollback_ddl,
                "reversible": all(operation.reversible for operation in migration.operations),
                "operations": operations,
            }
        )
    connection.close()
    return found


def _told(codes):
    return [
        {"code": code, "breaks_old": RISKS[code][0], "text": RISKS[code][1]}
        for code in dict.fromkeys(codes)
    ]


def _sql(connection, migration, operation, before, after):
    """The statements (list of str) of an operation."""
    if not operation.reduces_to_sql:
        return []
    try:
        with connection.schema_editor(collect_sql=True, atomic=False) as editor:
            operation.database_forwards(migration.app_label, editor, before, after)
        # On its way out the editor adds what it puts off, such as indexes and foreign keys.
        return [line for line in editor.collected_sql if line.strip()]
    except Exception as error:  # it may look at a table that another migration makes first
        return [f"-- cannot be told yet: {type(error).__name__}: {error}"]


def _risks(connection, migration, operation, before, after, created):
    """Codes (list) of what is risky about an operation on tables that are there already."""
    from django.db import migrations

    app = migration.app_label
    if isinstance(operation, migrations.CreateModel):
        created.add((app, operation.name_lower))
        return []
    if isinstance(operation, migrations.SeparateDatabaseAndState):
        inner = before.clone()
        codes = []
        for each in operation.database_operations:
            earlier = inner.clone()
            each.state_forwards(app, inner)
            codes += _risks(connection, migration, each, earlier, inner, created)
        return codes
    if isinstance(operation, migrations.RunPython):
        long = migration.atomic and operation.atomic is not False
        return (
            ["long-transaction"] if long and operation.code is not migrations.RunPython.noop else []
        )
    if isinstance(operation, migrations.RunSQL):
        return _risks_of_sql(operation.sql)
    model = getattr(operation, "model_name_lower", None) or getattr(operation, "name_lower", None)
    if model is None:
        return [] if type(operation).__module__.startswith("django.") else ["unknown"]
    if (app, model) in created:
        return []
    vendor = connection.vendor
    if isinstance(operation, migrations.DeleteModel):
        return ["drops-table"]
    if isinstance(operation, migrations.RemoveField):
        return ["drops-column"]
    if isinstance(operation, (migrations.RenameModel, migrations.RenameField)):
        return ["renames"]
    if isinstance(operation, migrations.AlterModelTable):
        same = before.models[app, model].options.get("db_table") == operation.table
        return [] if same else ["renames"]
    if isinstance(operation, migrations.AddField):
        return _risks_of_new(operation.field, vendor)
    if isinstance(operation, migrations.AlterField):
        old = before.apps.get_model(app, model)._meta.get_field(operation.name)
        new = after.apps.get_model(app, model)._meta.get_field(operation.name)
        return _risks_of_change(connection, old, new)
    if isinstance(operation, migrations.AddIndex):
        concurrent = type(operation).__name__ == "AddIndexConcurrently"
        return ["index"] if vendor == "postgresql" and not concurrent else []
    if isinstance(operation, migrations.AlterUniqueTogether):
        return ["index"] if vendor == "postgresql" else []
    if isinstance(operation, migrations.AddConstraint):
        lazy = type(operation).__name__ == "AddConstraintNotValid"
        # To MySQL a unique constraint is an index, which it builds while others write.
        online = vendor == "mysql" and type(operation.constraint).__name__ == "UniqueConstraint"
        return [] if lazy or online else ["constraint"]
    return [] if type(operation).__module__.startswith("django.") else ["unknown"]


def _risks_of_new(field, vendor):
    from django.db.models import NOT_PROVIDED

    if field.many_to_many:
        return []
    codes = []
    default = getattr(field, "db_default", NOT_PROVIDED)
    if not field.null and default is NOT_PROVIDED and not getattr(field, "generated", False):
        codes.append("required-column")
    # MySQL works out a generated column that it does not store when somebody asks for it.
    kept = getattr(field, "generated", False) and (vendor == "postgresql" or field.db_persist)
    if vendor != "sqlite" and (kept or _varies(default)):
        codes.append("rewrites-table")
    if vendor == "postgresql" and (field.unique or field.db_index):
        codes.append("index")
    if field.remote_field and getattr(field, "db_constraint", False):
        codes.append("constraint")
    return codes


def _varies(default):
    """Whether a database default may be another for each row, so that each is written."""
    from django.db.models import Value
    from django.db.models.functions import Now

    return hasattr(default, "as_sql") and not isinstance(default, (Value, Now))


def _risks_of_change(connection, old, new):
    if old.many_to_many or new.many_to_many:
        return []
    codes = []
    if old.column != new.column:
        codes.append("renames")
    same = old.db_type(connection) == new.db_type(connection)
    if not same and not _only_widens(connection.vendor, old, new):
        codes.append("rewrites-table")
    if old.null and not new.null:
        codes.append("not-null")
    indexed = (new.unique and not old.unique) or (new.db_index and not old.db_index)
    if connection.vendor == "postgresql" and indexed:
        codes.append("index")
    if new.remote_field and not old.remote_field:
        codes.append("constraint")
    return codes


def _only_widens(vendor, old, new):
    """
    Whether a text column only becomes longer, which needs no look at its rows. MySQL writes the
    table anew for a text of any length, and where the length of a value needs a second byte.
    """
    kinds = {old.get_internal_type(), new.get_internal_type()}
    if kinds == {"CharField", "TextField"}:
        return vendor != "mysql" and new.get_internal_type() == "TextField"
    before, after = old.max_length or 0, new.max_length or 0
    if vendor == "mysql" and before <= ONE_BYTE < after:
        return False
    return kinds == {"CharField"} and after >= before


def _risks_of_sql(sql):
    """Codes of what a text (or list of texts) of SQL says; nothing more can be known of it."""
    parts = [sql] if isinstance(sql, str) else [p[0] if isinstance(p, tuple) else p for p in sql]
    text = " ".join(str(part) for part in parts)
    if not text.strip():
        return []
    codes = [code for code, pattern in _IN_SQL if re.search(pattern, text, re.IGNORECASE)]
    return [*codes, "unknown"]
