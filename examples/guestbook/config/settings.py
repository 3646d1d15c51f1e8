"""Settings for the guestbook. Everything that differs between servers comes from the environment.

With no variables set, nothing starts: a production server has to name its secret key and its
database. For a quick look on a laptop, ``DEBUG=1 python manage.py runserver`` is enough.
"""

import os
from pathlib import Path

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from config import env

# resolve() follows a "current" symlink, so a process keeps the files of the release it started.
BASE_DIR = Path(__file__).resolve().parent.parent

DEBUG = env.flag("DEBUG")

# --- Identity and hosts -------------------------------------------------------------------------

SECRET_KEY = env.text("SECRET_KEY", "insecure-key-for-development-only" if DEBUG else None)
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")

# With DEBUG on and no hosts given, Django itself allows localhost.
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS")

# --- HTTPS --------------------------------------------------------------------------------------

# Set this only when a proxy in front terminates TLS and always sets X-Forwarded-Proto itself:
# otherwise any visitor could claim that a plain connection is secure.
BEHIND_TLS = env.flag("DJANGO_BEHIND_TLS")
if BEHIND_TLS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
SESSION_COOKIE_SECURE = BEHIND_TLS
CSRF_COOKIE_SECURE = BEHIND_TLS
SECURE_HSTS_SECONDS = env.integer("SECURE_HSTS_SECONDS", 0)
X_FRAME_OPTIONS = "DENY"

# --- Applications -------------------------------------------------------------------------------

INSTALLED_APPS = [
    "guestbook",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database -----------------------------------------------------------------------------------

# postgres://user:password@host:5432/name, mysql://..., or sqlite:////absolute/path. There is no
# default in production: a database file next to the code would vanish with the next release.
DATABASES = {
    "default": dj_database_url.parse(
        env.text("DATABASE_URL", f"sqlite:///{BASE_DIR / 'db.sqlite3'}" if DEBUG else None),
        conn_max_age=env.integer("CONN_MAX_AGE", 60),
        conn_health_checks=True,
    )
}
if DATABASES["default"].get("ENGINE") == "django.db.backends.sqlite3":
    # Several processes share the file: readers do not block the writer, and writers wait.
    DATABASES["default"]["OPTIONS"] = {
        "timeout": 20,
        "transaction_mode": "IMMEDIATE",
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        **DATABASES["default"].get("OPTIONS", {}),
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Cache --------------------------------------------------------------------------------------

# redis://:password@host:6379/0, or pymemcache://host:11211, or pymemcache:///run/a.sock with
# requirements-memcached.txt; without it, each process has a cache of its own.
CACHES = {"default": env.cache("CACHE_URL", key_prefix=env.text("CACHE_KEY_PREFIX", "guestbook"))}

# --- Static and uploaded files ------------------------------------------------------------------

STATIC_URL = env.url_path("STATIC_URL", "/static/")
STATIC_ROOT = env.text("STATIC_ROOT", str(BASE_DIR / "staticfiles"))
MEDIA_URL = env.url_path("MEDIA_URL", "/media/")
MEDIA_ROOT = env.text("MEDIA_ROOT", str(BASE_DIR / "media"))

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    # File names carry a hash of their content, so a web server may let browsers keep them forever.
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.ManifestStaticFilesStorage",
    },
}

# --- Accounts, language, time -------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

LANGUAGE_CODE = "en"
TIME_ZONE = env.text("TIME_ZONE", "UTC")
USE_I18N = True
USE_TZ = True

# --- Logging: everything to standard error, where the service manager collects it ---------------

LOG_LEVEL = env.text("DJANGO_LOG_LEVEL", "INFO").upper()
if LOG_LEVEL not in {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}:
    raise ImproperlyConfigured("DJANGO_LOG_LEVEL must be DEBUG, INFO, WARNING, ERROR or CRITICAL.")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {"format": "{levelname} {name} [{process:d}] {message}", "style": "{"},
    },
    "handlers": {
        "stderr": {"class": "logging.StreamHandler", "formatter": "line"},
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}

# --- The guestbook itself -----------------------------------------------------------------------


def release_id():
    """RELEASE_ID, or else the directory name below ".../releases/"."""
    parts = BASE_DIR.parts
    if "releases" in parts[:-1]:
        default = parts[parts.index("releases") + 1]
    else:
        default = "development"
    return env.text("RELEASE_ID", default)


RELEASE_ID = release_id()
RELEASE_MARKER = os.environ.get("RELEASE_MARKER", "")

# The "this server" panel names versions and the host. Turn it off where strangers may look.
GUESTBOOK_SERVER_PANEL = env.flag("GUESTBOOK_SERVER_PANEL", True)
GUESTBOOK_PICTURE_MAX_BYTES = 512 * 1024

# /slow/, /echo/ and /whoami/ help to test a deployment; they do not belong on a public server.
TEST_ENDPOINTS = env.flag("DJANGO_TEST_ENDPOINTS")
