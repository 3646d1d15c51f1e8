"""
Release tasks of a Django project, several in one process, answering as data.

Run by a project's own Python with this text on standard input, in its folder and environment:

    python - '{"tasks": [{"do": "inspect"}]}' < tasks.py

The request is the only argument and holds no secret; one that a task needs is in the environment.
The answer is one line of JSON on the original standard output; what the project prints goes to
standard error. Exit status 1 and ``{"error", "where", "passing"}`` when a task fails; ``passing``
tells whether the cause may pass by itself.
"""

import errno
import json
import os
import sys
import traceback


def inspect(request):
    """What the project is made of: settings that matter, its migrations, its user table."""
    from django.conf import settings
    from django.db import connections
    from django.db.migrations.loader import MigrationLoader

    loader = MigrationLoader(None, ignore_no_migrations=True)
    migrated = sorted(list(key) for key in loader.disk_migrations)
    return {
        "django": __import__("django").get_version(),
        "settings": settings.SETTINGS_MODULE,
        "debug": bool(settings.DEBUG),
        "secret_key": _secret_key_problem(settings),
        "static_root": str(settings.STATIC_ROOT or ""),
        "static_url": str(settings.STATIC_URL or ""),
        "media_root": str(settings.MEDIA_ROOT or ""),
        "databases": {alias: connections[alias].vendor for alias in connections},
        "migrations": migrated,
        "user": _user_columns(settings),
        "staticfiles": "django.contrib.staticfiles" in settings.INSTALLED_APPS,
    }


def _user_columns(settings):
    """
    Where the database keeps users: ``{table, username, flags}``, the columns that are true of a
    superuser; None without users.
    """
    from django.contrib.auth import get_user_model

    if "django.contrib.auth" not in settings.INSTALLED_APPS:
        return None
    model = get_user_model()
    return {
        "table": model._meta.db_table,
        "username": model._meta.get_field(model.USERNAME_FIELD).column,
        "flags": [model._meta.get_field(name).column for name in _superuser_flags(model)],
    }


def _superuser_flags(model):
    """
    Fields (list of str) that are true of a superuser who can log in. A model with a
    ``create_superuser`` of its own may mean others by it, so of Django's only ``is_active`` counts.
    """
    from django.contrib.auth.models import UserManager

    made_by = getattr(type(model._default_manager), "create_superuser", None)
    own = made_by is not UserManager.create_superuser
    names = ["is_active"] if own else ["is_active", "is_staff", "is_superuser"]
    fields = {field.name for field in model._meta.concrete_fields}
    return [name for name in names if name in fields]


def _secret_key_problem(settings):
    key = settings.SECRET_KEY
    text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    if text.startswith("django-insecure-"):
        return "is the one that startproject made for development (django-insecure-…)"
    if len(text) < 32:
        return "is shorter than 32 characters"
    return None


def check(request):
    """System checks: ``{"level": 0-50, "id", "message", "hint", "object"}`` each."""
    from django.core import checks

    found = checks.run_checks(include_deployment_checks=request.get("deploy", True))
    return [
        {
            "level": message.level,
            "id": message.id,
            "message": str(message.msg),
            "hint": str(message.hint or ""),
            "object": str(message.obj) if message.obj is not None else "",
        }
        for message in found
        if not message.is_silenced()
    ]


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


def collectstatic(request):
    """Run collectstatic into the settings' STATIC_ROOT; returns what it said."""
    import io

    from django.core.management import call_command

    said = io.StringIO()
    call_command(
        "collectstatic",
        interactive=False,
        verbosity=1,
        ignore_patterns=request.get("ignore", []),
        stdout=said,
    )
    return said.getvalue().strip()


def superuser(request):
    """Create a superuser whose password is in the environment; returns whether it is new."""
    from django.contrib.auth import get_user_model

    model = get_user_model()
    name = request["username"]
    existing = model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()
    if existing is not None:
        changed = [flag for flag in _superuser_flags(model) if not getattr(existing, flag)]
        for flag in changed:
            setattr(existing, flag, True)
        if changed:
            existing.save()
        return {"created": False, "granted": changed}
    fields = {model.USERNAME_FIELD: name, "password": os.environ["DJANGO_SUPERUSER_PASSWORD"]}
    email_field = model.get_email_field_name()
    if email_field != model.USERNAME_FIELD and any(
        field.name == email_field for field in model._meta.get_fields()
    ):
        fields[email_field] = request.get("email", "")
    for field in model.REQUIRED_FIELDS:
        fields.setdefault(field, request.get("fields", {}).get(field, ""))
    model._default_manager.create_superuser(**fields)
    return {"created": True, "granted": []}


def call(request):
    """Any management command: ``name``, ``args`` (list), ``options`` (dict); returns its output."""
    import io

    from django.core.management import call_command

    said = io.StringIO()
    call_command(
        request["name"], *request.get("args", []), stdout=said, **request.get("options", {})
    )
    return said.getvalue()


TASKS = {
    task.__name__: task
    for task in (inspect, check, applied, migrate, collectstatic, superuser, call)
}
WITHOUT_APPLICATIONS = ("applied",)


def _may_pass(error):
    """Whether the cause lies outside of the project: a database, the network, the disk."""
    while error is not None:
        if type(error).__name__ in ("OperationalError", "InterfaceError"):
            return True
        if isinstance(error, (ConnectionError, TimeoutError, MemoryError)):
            return True
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            return True
        error = error.__cause__ or error.__context__
    return False


def main():
    """Carry out the request and answer."""
    answer_to = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    request = json.loads(sys.argv[1])
    answer, status = {}, 0
    try:
        if any(task["do"] not in WITHOUT_APPLICATIONS for task in request["tasks"]):
            import django

            django.setup()
        for task in request["tasks"]:
            answer[task["do"]] = TASKS[task["do"]](task)
    except BaseException as error:  # a project may raise or exit in any way
        frames = traceback.extract_tb(error.__traceback__)
        place = frames[-1] if frames else None
        answer["error"] = f"{type(error).__name__}: {error}"
        answer["where"] = f"{place.filename}:{place.lineno}" if place else ""
        answer["passing"] = _may_pass(error)
        traceback.print_exc()
        status = 1
    answer_to.write(json.dumps(answer) + "\n")
    answer_to.close()
    sys.exit(status)


main()
