"""Small readers for environment variables, used by the settings."""

import os
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

TRUE = {"1", "true", "yes", "on"}
FALSE = {"", "0", "false", "no", "off"}


def text(name, default=None):
    """The variable's value; a missing or empty one gives the default, or an error without one."""
    value = os.environ.get(name, "").strip()
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"The environment variable {name} is required.")
    return default


def flag(name, default=False):
    value = os.environ.get(name, "").strip().lower()
    if not value:
        return default
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0 (or true/false, yes/no, on/off).")


def integer(name, default):
    value = text(name, str(default))
    try:
        return int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number.") from None


def words(name):
    """A comma-separated list."""
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


def url_path(name, default):
    """A URL prefix such as STATIC_URL, which Django wants with a trailing slash."""
    value = text(name, default)
    return value if value.endswith("/") else value + "/"


def cache(name, key_prefix):
    """A CACHES entry from a URL; without one, a cache inside each process."""
    url = text(name, "locmem://")
    scheme = urlsplit(url).scheme
    if scheme in {"redis", "rediss", "unix"}:
        # A cache that does not answer must not hold up the page for long.
        options = {"socket_timeout": 2}
        if scheme != "unix":
            options["socket_connect_timeout"] = 2
        return {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": url,
            "KEY_PREFIX": key_prefix,
            "OPTIONS": options,
        }
    if scheme == "pymemcache":
        parts = urlsplit(url)
        return {
            "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
            "LOCATION": parts.netloc or f"unix:{parts.path}",
            "KEY_PREFIX": key_prefix,
            # The client leaves a server that was away alone for a minute, unless told otherwise.
            "OPTIONS": {"connect_timeout": 2, "timeout": 2, "dead_timeout": 1},
        }
    if scheme == "locmem":
        return {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "KEY_PREFIX": key_prefix,
        }
    # The URL may carry a password: name the scheme only.
    raise ImproperlyConfigured(
        f"{name} starts with {scheme!r};"
        " use redis://, rediss://, unix://, pymemcache:// or locmem://."
    )
