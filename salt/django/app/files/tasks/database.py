"""What a project's database holds."""


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
