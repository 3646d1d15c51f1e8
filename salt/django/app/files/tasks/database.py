"""What a project's database holds."""

# Schemas of PostgreSQL that the role would look into and may not: their tables seem to be missing.
CLOSED_SCHEMAS = """
SELECT nspname FROM pg_namespace
WHERE NOT has_schema_privilege(oid, 'USAGE') AND current_schema() IS NULL AND nspname IN (
  SELECT trim(both ' "' from replace(entry, '$user', current_user))
  FROM unnest(string_to_array(current_setting('search_path'), ',')) AS entry)
"""


def _require_schema(connection, cursor):
    """Fail where the role may use no schema, so that nobody takes its database for an empty one."""
    from django.db import OperationalError

    if connection.vendor == "postgresql":
        cursor.execute(CLOSED_SCHEMAS)
        for (name,) in cursor.fetchall():
            raise OperationalError(f"permission denied for schema {name}")


def applied(request):
    """
    What the database says: applied migrations of each of ``databases`` and, with ``user`` (name
    and, where the project's applications are not loaded, table and username column), whether that
    superuser is there.
    """
    from django.conf import settings
    from django.db import connections

    answer = {"migrations": {}, "users": {}}
    for alias in request["databases"]:
        connection = connections[alias]
        with connection.cursor() as cursor:
            _require_schema(connection, cursor)
            if "django_migrations" in connection.introspection.table_names(cursor):
                cursor.execute("SELECT app, name FROM django_migrations")
                answer["migrations"][alias] = sorted(list(row) for row in cursor.fetchall())
            else:
                answer["migrations"][alias] = []
    user = request.get("user")
    if user and "flags" not in user:
        columns = _user_columns(settings)
        user = columns and {**columns, **user}
    if user:
        connection = connections["default"]
        quote = connection.ops.quote_name
        with connection.cursor() as cursor:
            if user["table"] in connection.introspection.table_names(cursor):
                columns = ", ".join(["1", *map(quote, user["flags"])])
                cursor.execute(
                    f"SELECT {columns} FROM {quote(user['table'])}"  # noqa: S608
                    f" WHERE {quote(user['username'])} = %s",
                    [user["name"]],
                )
                row = cursor.fetchone()
                answer["users"][user["name"]] = bool(row and all(row))
    return answer
