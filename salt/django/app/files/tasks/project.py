"""What a project is made of, and what Django's checks say of it."""

import os


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
        "replaces": [
            [list(key), [list(each) for each in migration.replaces]]
            for key, migration in sorted(loader.disk_migrations.items())
            if migration.replaces
        ],
        "after_switch": _after_switch(loader, request.get("after_switch", [])),
        "user": _user_columns(settings),
        "uploads_on_disk": _uploads_on_disk() if request.get("uploads") else None,
        "uploads_refused": _uploads_refused(settings),
        "staticfiles": "django.contrib.staticfiles" in settings.INSTALLED_APPS,
        "sessions": _session_store(settings),
    }


def _secret_key_problem(settings):
    key = settings.SECRET_KEY
    text = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
    if text.startswith("django-insecure-"):
        return "is the one that startproject made for development (django-insecure-…)"
    if len(text) < 32:
        return "is shorter than 32 characters"
    return None


def _uploads_on_disk():
    from django.core.files.storage import FileSystemStorage, default_storage

    return isinstance(default_storage, FileSystemStorage)


def _uploads_refused(settings):
    """MEDIA_ROOT (str) where uploads go there and the project may not write, or None."""
    store = getattr(settings, "STORAGES", {}).get("default", {}).get("BACKEND")
    store = store or getattr(settings, "DEFAULT_FILE_STORAGE", None)
    usual = "django.core.files.storage.FileSystemStorage"
    if store != usual or not settings.MEDIA_ROOT:
        return None
    place = os.path.abspath(settings.MEDIA_ROOT)
    while not os.path.exists(place):
        place = os.path.dirname(place)
    return None if os.access(place, os.W_OK | os.X_OK) else str(settings.MEDIA_ROOT)


def _session_store(settings):
    """The cache backend (dotted path) that alone keeps the sessions, or None."""
    if settings.SESSION_ENGINE != "django.contrib.sessions.backends.cache":
        return None
    return settings.CACHES.get(settings.SESSION_CACHE_ALIAS, {}).get("BACKEND")


def check(request):
    """System checks: ``{"level": 0-50, "id", "message", "hint", "object"}`` each."""
    from django.core import checks

    found = checks.run_checks(
        tags=request.get("tags") or None,
        include_deployment_checks=request.get("deploy", True),
        databases=request.get("databases") or None,
    )
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
