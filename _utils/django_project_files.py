"""Static files and uploads of a project: where they lie, and at which URLs they are."""

import urllib.parse

DISK = "django.core.files.storage.FileSystemStorage"
S3 = "storages.backends.s3.S3Storage"
UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def static(given, origin=""):
    """
    What the pillar says of static files (dict), with ``root``, where a release collects them, and
    ``location``, the path of the URL at which the web server serves them; empty where it does not.
    The URL that pages have is the CDN's where there is one.

    origin
        The beginning of the URL (str) where static files have domains of their own.
    """
    given = {key: value for key, value in given.items() if key not in ("domains", "tls")}
    cdn = given.pop("cdn")
    is_served = given["enabled"] and given["serve"] and given["url"].startswith("/")
    return {
        **given,
        "root": given["root"] or "@{path.release}/static",
        "location": given["url"] if is_served else "",
        "url": (cdn["url"].rstrip("/") if cdn else origin) + given["url"],
    }


def cdn(given):
    """What the pillar says of a CDN for static files (dict) but its secret; empty without one."""
    return _without_secret(given["cdn"])


def media(given, paths):
    """
    What the pillar says of uploads (dict), and what a web server has of them: ``folders``, each
    ``{location, root, internal}``. ``location`` is the path of an URL; what is internal is for the
    application to hand out. In a bucket there is no such folder: ``s3`` says all of it but its
    secret, and the URL is the bucket's where everybody can read it. ``mount`` is the shared drive.
    """
    folders = []
    s3 = _without_secret(given["s3"])
    if s3:
        s3["prefix"] = f"{s3['prefix']}/" if s3["prefix"] else ""
        url = f"{s3['url'].rstrip('/')}/{s3['prefix']}" if s3["url"] else given["url"]
        given = {**given, "enabled": False, "url": url}
    if given["enabled"] and given["url"].startswith("/"):
        folders.append({"location": given["url"], "root": paths["media"], "internal": False})
    if given["private"]:
        private = {"location": given["private"]["url"], "root": paths["private"], "internal": True}
        folders.append(private)
    return {**given, "s3": s3, "mount": given["mount"] or {}, "folders": folders}


def storage(media):
    """
    The entry ``default`` of Django's STORAGES (dict) for a project's resolved ``media``. A bucket's
    keys are not in it: boto3 takes them from the environment.
    """
    s3 = media["s3"]
    if not s3:
        return {"BACKEND": DISK, "OPTIONS": {}}
    options = {
        "bucket_name": s3["bucket"],
        "region_name": s3["region"],
        "location": s3["prefix"].rstrip("/"),
        "addressing_style": s3["addressing"],
        "default_acl": None,
        "file_overwrite": False,
        "object_parameters": {"CacheControl": f"max-age={media['expires']}"},
        "querystring_auth": not s3["url"],
        "querystring_expire": s3["link_expires"],
    }
    if s3["endpoint"]:
        options["endpoint_url"] = s3["endpoint"]
    if s3["url"]:
        url = urllib.parse.urlsplit(s3["url"])
        options["custom_domain"] = f"{url.netloc}{url.path}".rstrip("/")
        options["url_protocol"] = f"{url.scheme}:"
    return {"BACKEND": S3, "OPTIONS": options}


def _without_secret(given):
    return {key: value for key, value in (given or {}).items() if key != "secret_key"}


def body_limits(web, locations):
    """The largest request bodies of a site and of its ``locations``: ``{bytes: in words}``."""
    sizes = {entry.get("max_body_size", web["max_body_size"]) for entry in locations.values()}
    return {size: in_words(size) for size in sorted({web["max_body_size"], *sizes})}


def in_words(size):
    """A number of bytes as people say it (str): ``20 MiB``."""
    for unit, name in UNITS:
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
