"""What the application can tell about the server it runs on."""

import os
import platform
import socket
import time
import uuid
from datetime import timedelta

import django
from django.conf import settings
from django.core.cache import cache, caches
from django.db import connection
from django.utils import timezone

from guestbook.models import Heartbeat

VERSION_QUERIES = {
    "mysql": "SELECT VERSION()",
    "postgresql": "SHOW server_version",
    "sqlite": "SELECT sqlite_version()",
}
CACHE_NAMES = {
    "LocMemCache": "Process memory",
    "PyMemcacheCache": "Memcached",
    "RedisCache": "Redis",
}
HEARTBEAT_FRESH = timedelta(minutes=2)


def database():
    """The database's name and version, as the server itself reports it."""
    name, version = connection.display_name, ""
    query = VERSION_QUERIES.get(connection.vendor)
    if query:
        with connection.cursor() as cursor:
            cursor.execute(query)
            version = str(cursor.fetchone()[0])
    if "mariadb" in version.lower():
        name = "MariaDB"
    # Distributions append their package version: "16.4 (Ubuntu 16.4-0ubuntu0.24.04.1)".
    return {"name": name, "version": version.split(" ")[0].split("-")[0]}


def cache_name():
    backend = type(caches["default"]).__name__
    return CACHE_NAMES.get(backend, backend)


def describe():
    heartbeat = Heartbeat.objects.order_by("-seen_at").first()
    return {
        "database": database(),
        "cache": cache_name(),
        "release": settings.RELEASE_ID,
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "pid": os.getpid(),
        "heartbeat": heartbeat,
        "heartbeat_fresh": bool(heartbeat) and timezone.now() - heartbeat.seen_at < HEARTBEAT_FRESH,
    }


def check_database():
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


def check_cache():
    key, value = f"health-{uuid.uuid4().hex}", uuid.uuid4().hex
    cache.set(key, value, timeout=10)
    if cache.get(key) != value:
        raise RuntimeError("The cache did not return what was stored.")
    cache.delete(key)


def health():
    """Try each service; returns whether all of them work, and a report of each."""
    report = {}
    for name, check in (("database", check_database), ("cache", check_cache)):
        started = time.monotonic()
        try:
            check()
        except Exception as error:
            # Only the kind of error: its text may name hosts and users.
            report[name] = {"ok": False, "error": type(error).__name__}
        else:
            report[name] = {"ok": True}
        report[name]["milliseconds"] = round((time.monotonic() - started) * 1000, 1)
    return all(check["ok"] for check in report.values()), report
