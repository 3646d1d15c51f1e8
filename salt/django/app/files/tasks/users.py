"""A project's users."""

import os


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


def superuser(request):
    """
    Create a superuser whose password is in the request or in the environment. Returns ``{"created":
    bool, "granted": [flag]}``; with ``test`` nothing is saved.
    """
    from django.contrib.auth import get_user_model
    from django.db import IntegrityError, transaction

    model = get_user_model()
    manager = model._default_manager.db_manager(request.get("database"))
    name = request["username"]
    existing = manager.filter(**{model.USERNAME_FIELD: name}).first()
    if existing is not None:
        changed = [flag for flag in _superuser_flags(model) if not getattr(existing, flag)]
        for flag in changed:
            setattr(existing, flag, True)
        if changed and not request.get("test"):
            existing.save()
        return {"created": False, "granted": changed}
    if request.get("test"):
        return {"created": True, "granted": []}
    password = request.get("password") or os.environ["DJANGO_SUPERUSER_PASSWORD"]
    fields = {model.USERNAME_FIELD: name, "password": password}
    email_field = model.get_email_field_name()
    if email_field != model.USERNAME_FIELD and any(
        field.name == email_field for field in model._meta.get_fields()
    ):
        fields[email_field] = request.get("email", "")
    for field in model.REQUIRED_FIELDS:
        fields.setdefault(field, request.get("fields", {}).get(field, ""))
    try:
        with transaction.atomic(using=manager.db):
            manager.create_superuser(**fields)
    except IntegrityError:
        # Another host may have made it since.
        if not manager.filter(**{model.USERNAME_FIELD: name}).exists():
            raise
        return {"created": False, "granted": []}
    return {"created": True, "granted": []}


def set_password(request):
    """
    Give a user the ``password`` of the request; returns whether it is another than before. Without
    one, or with ``test``, it is only said whether that would be so.
    """
    from django.contrib.auth import get_user_model
    from django.contrib.auth.hashers import check_password
    from django.contrib.auth.password_validation import validate_password

    model = get_user_model()
    manager = model._default_manager.db_manager(request.get("database"))
    user = manager.filter(**{model.USERNAME_FIELD: request["username"]}).first()
    if user is None:
        raise LookupError(f"there is no user {request['username']!r}")
    password = request["password"]
    if password is None:
        return True
    if check_password(password, user.password):
        return False
    validate_password(password, user)
    if not request["test"]:
        user.set_password(password)
        user.save()
    return True
