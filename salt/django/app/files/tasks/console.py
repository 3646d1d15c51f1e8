"""Questions of an operator: Python code, SQL, settings."""

import io


def evaluate(request):
    """
    Run Python ``code`` in a namespace with the project's models, as ``manage.py shell`` has them.
    Returns the value of its last expression, or, without one, what it printed.
    """
    import ast
    import contextlib

    tree = ast.parse(request["code"], "<code>")
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    names = {"__name__": "__main__", **_models()}
    printed, value = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "<code>", "exec"), names)  # noqa: S102
        if last is not None:
            value = eval(compile(ast.Expression(last.value), "<code>", "eval"), names)  # noqa: S307
    return printed.getvalue() if value is None else _plain(value)


def _models():
    from django.apps import apps
    from django.conf import settings

    found = {"settings": settings}
    for model in reversed(apps.get_models()):
        found[model.__name__] = model
    return found


def rows(request):
    """
    The rows that ``sql`` gives, as dicts by column; an empty list for a statement that gives none.
    Without ``write`` the transaction is read-only and rolled back.
    """
    from django.db import connections, transaction

    alias = request["database"]
    connection = connections[alias]
    if not request["write"] and connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
    with transaction.atomic(using=alias), connection.cursor() as cursor:
        if not request["write"] and connection.vendor == "postgresql":
            cursor.execute("SET TRANSACTION READ ONLY")
        elif not request["write"] and connection.vendor == "sqlite":
            cursor.execute("PRAGMA query_only = ON")
        cursor.execute(request["sql"], request["params"])
        columns = _columns(cursor.description or [])
        found = [
            {column: _plain(value) for column, value in zip(columns, row)}
            for row in (cursor.fetchall() if columns else [])
        ]
        if not request["write"]:
            transaction.set_rollback(True, using=alias)
    return found


def _columns(description):
    """Names of a query's columns; one that comes again gets a number."""
    names = []
    for column in description:
        name, number = column[0], 2
        while name in names:
            name, number = f"{column[0]}_{number}", number + 1
        names.append(name)
    return names


def setting_values(request):
    """
    Values of the settings ``names`` (all for an empty list); secrets are masked by Django's own
    rules.
    """
    from django.conf import settings
    from django.views.debug import SafeExceptionReporterFilter

    names = request["names"] or [name for name in dir(settings) if name.isupper()]
    unknown = [name for name in names if not hasattr(settings, name)]
    if unknown:
        raise LookupError(f"there is no setting {', '.join(unknown)}")
    cleanse = SafeExceptionReporterFilter().cleanse_setting
    return {name: _plain(cleanse(name, getattr(settings, name))) for name in names}


def _plain(value):
    """``value`` as data that JSON can say; what it cannot is said as text."""
    import datetime

    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        content = bytes(value)
        try:
            return content.decode()
        except ValueError:
            return content.hex()
    if not isinstance(value, type) and hasattr(value, "__iter__"):
        items = [_plain(item) for item in value]
        return sorted(items, key=str) if isinstance(value, (set, frozenset)) else items
    return str(value)
