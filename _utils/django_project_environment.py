"""Environment variables of a project: those of the pillar, and those that are worked out."""

import django_references

# What django-storages and boto3 call what the pillar says of a bucket.
BUCKET = {
    "bucket": "AWS_STORAGE_BUCKET_NAME",
    "region": "AWS_S3_REGION_NAME",
    "endpoint": "AWS_S3_ENDPOINT_URL",
    "prefix": "AWS_LOCATION",
    "access_key": "AWS_ACCESS_KEY_ID",
    "secret_key": "AWS_SECRET_ACCESS_KEY",
}


def variables(given):
    """Pillar variables as text with references; None (a removed variable) is kept."""
    result = {}
    for name in sorted(given):
        value = given[name]
        if isinstance(value, dict):
            value = django_references.embed_json(value)
        elif isinstance(value, list):
            plain = all(isinstance(item, (str, int, float)) for item in value)
            if plain and not any("," in str(item) for item in value):
                value = django_references.as_text(value)
            else:
                value = django_references.embed_json(value)
        elif value is not None:
            value = django_references.as_text(value)
        result[name] = value
    return result


def derived(given, project):
    """Variables worked out from the project, then the pillar's over them; null removes one."""
    result = {
        "ALLOWED_HOSTS": ",".join(project["allowed_hosts"]),
        "CSRF_TRUSTED_ORIGINS": ",".join(project["csrf_trusted_origins"]),
        "DJANGO_RELEASE": "@{release}",
        "HOME": "@{path.home}",
        "LANG": "C.UTF-8",
        "MEDIA_ROOT": "@{path.media}",
        "MEDIA_STORAGE": "@{media.storage|json}",
        "MEDIA_URL": "@{media.url}",
        "PATH": "@{path.venv}/bin:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "SITE_URL": "@{url}",
        "STATIC_ROOT": "@{path.static}",
        "STATIC_URL": "@{static.url}",
    }
    if project["media"]["s3"]:
        for key, variable in BUCKET.items():
            if project["media"]["s3"].get(key) or f"media.{key}" in project["secret_specs"]:
                result[variable] = f"@{{media.{key}}}"
    if project["media"]["private"]:
        result["PRIVATE_MEDIA_ROOT"] = "@{path.private}"
        result["PRIVATE_MEDIA_URL"] = "@{media.private_url}"
    if project["settings"]:
        result["DJANGO_SETTINGS_MODULE"] = project["settings"]
    search = [
        path if path.startswith(("/", "@{")) else "@{path.project}/" + path
        for path in project["pythonpath"]
    ]
    if search:
        result["PYTHONPATH"] = ":".join(search)
    engine = project["databases"]["default"]["engine"]
    if project["app"]["asgi"]:
        # Each request has a thread of its own there, with which a connection that is kept is lost.
        result["CONN_MAX_AGE"] = "0"
    if engine != "none":
        result["DATABASE_URL"] = "@{database.url}"
        result["DATABASE_NAME"] = "@{database.name}"
    if engine == "postgresql":
        for key in ("user", "password", "host", "port"):
            result[f"DATABASE_{key.upper()}"] = f"@{{database.{key}}}"
    if project["cache"]["engine"] != "none":
        result["CACHE_URL"] = "@{cache.url}"
    if project["cache"]["engine"] == "memcached":
        result["MEMCACHED_LOCATION"] = "@{cache.location}"
    if project["cache"]["engine"] == "redis":
        result["REDIS_URL"] = "@{redis.url}"
        for key in ("host", "port", "password"):
            result[f"REDIS_{key.upper()}"] = f"@{{redis.{key}}}"
    if project["broker"]["engine"] == "redis":
        for name in ("BROKER_URL", "CELERY_BROKER_URL", "RQ_REDIS_URL"):
            result[name] = "@{broker.url}"
    for name, spec in project["secret_specs"].items():
        if spec["export"]:
            result[name] = f"@{{secrets.{name}}}"
    for entry in project["files"]:
        if entry["variable"]:
            inside = "" if entry["where"] == "host" else "@{path.project}/"
            result[entry["variable"]] = inside + entry["path"]
    result.update(variables(given["env"]))
    return {name: value for name, value in sorted(result.items()) if value is not None}
