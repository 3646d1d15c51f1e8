"""The pillar reference, written from the schema (markdown)."""

import django_schema
import yaml

TYPES = {
    "map": "map",
    "named": "map of names",
    "list": "list",
    "any": "any",
    "choice": "choice",
    "url_path": "URL path",
    "url": "URL",
    "cron": "schedule",
    "shell": "command",
    "address": "address",
}

# reference -> what it stands for; UPPER CASE words stand for names of the pillar's
REFERENCES = {
    "project": "the project's name",
    "user": "its system user",
    "group": "its system group",
    "settings": "its settings module, if the pillar names one",
    "domain": "its first domain, or the host's address",
    "domains": "all its domains",
    "url": "the site's URL, without a slash at the end",
    "allowed_hosts": "what Django's ALLOWED_HOSTS has to be",
    "csrf_trusted_origins": "what Django's CSRF_TRUSTED_ORIGINS has to be",
    "static.url": "STATIC_URL",
    "media.url": "MEDIA_URL",
    "media.storage": "the entry `default` of STORAGES: a map, where it is all of a value",
    "media.bucket": "the bucket, where `media` has `s3`",
    "media.region": "its region",
    "media.endpoint": "URL of its API, if the pillar names one",
    "media.prefix": "the folder in it, with a slash at the end",
    "media.access_key": "id of the access key",
    "media.secret_key": "its secret",
    "media.private_url": "what X-Accel-Redirect begins with, where `media` has `private`",
    "database.engine": "`postgresql`, `mysql` or `sqlite`",
    "database.name": "name of the database (sqlite: its file)",
    "database.user": "role",
    "database.password": "its password",
    "database.host": "server",
    "database.port": "port",
    "database.url": "all of that as an URL",
    "databases.ALIAS.url": "the same for a further database, likewise its name, user and so on",
    "cache.engine": "`redis`, `memcached` or `locmem`",
    "cache.host": "Redis server, or a Memcached of yours",
    "cache.port": "its port",
    "cache.password": "the password of Redis",
    "cache.url": "all of that as an URL, redis://… or pymemcache://…",
    "cache.location": "with Memcached, what LOCATION in CACHES has to be",
    "broker.engine": "`redis`, where there is a broker",
    "broker.host": "its server",
    "broker.port": "its port",
    "broker.password": "its password",
    "broker.url": "all of that as an URL",
    "redis.host": "the same as `cache.host`, likewise `redis.port`, `redis.password`",
    "redis.url": "URL of Redis database 0",
    "redis.urlN": "URL of Redis database N, 0 to 15, to keep cache, sessions and results apart",
    "secrets.NAME": "a secret",
    "superuser.username": "login name of the superuser, likewise `superuser.email`",
    "superuser.password": "its password",
    "flower.password": "the password of Flower, where a process is one",
    "path.root": "the project's directory, `/srv/django/PROJECT`",
    "path.shared": "what outlives releases, below it",
    "path.data": "`data` in the shared directory",
    "path.media": "uploaded files",
    "path.private": "uploaded files that only the application hands out",
    "path.writable.NAME": "a writable directory of the pillar (a slash in its name as a dash)",
    "path.log": "log files",
    "path.run": "sockets",
    "path.config": "the project's directory in `/etc/django`",
    "path.cache": "the project's directory in `/var/cache/django`",
    "path.home": "the home directory of its user",
    "path.current": "link to the release that is live",
    "path.release": "the release",
    "path.source": "its source tree",
    "path.project": "the project's directory in it (that of manage.py)",
    "path.static": "where collectstatic writes",
    "path.venv": "the virtualenv",
    "release": "the release's id",
    "instance": "id of the release with its configuration",
    "socket": "the socket on which the web processes have to listen",
    "host.name": "minion id of the host",
    "host.address": "its address",
    "host.cores": "its cores",
    "host.memory": "its memory in MiB",
    "at": "an @, for use before a reference",
}

# derived environment variable -> what it is
VARIABLES = {
    "ALLOWED_HOSTS": "the domains, or every name and address of the server, joined by commas",
    "AWS_ACCESS_KEY_ID": "`@{media.access_key}`, where uploads are in a bucket",
    "AWS_LOCATION": "`@{media.prefix}`",
    "AWS_S3_ENDPOINT_URL": "`@{media.endpoint}`",
    "AWS_S3_REGION_NAME": "`@{media.region}`",
    "AWS_SECRET_ACCESS_KEY": "`@{media.secret_key}`",
    "AWS_STORAGE_BUCKET_NAME": "`@{media.bucket}`",
    "BROKER_URL": "`@{broker.url}`, where there is a broker",
    "CACHE_URL": "`@{cache.url}`, unless the cache has the engine none",
    "CELERY_BROKER_URL": "`@{broker.url}`; Celery takes it before what the settings say",
    "CSRF_TRUSTED_ORIGINS": "the same with http:// or https:// before it",
    "DATABASE_HOST": "`@{database.host}`",
    "DATABASE_NAME": "`@{database.name}`",
    "DATABASE_PASSWORD": "`@{database.password}`",
    "DATABASE_PORT": "`@{database.port}`",
    "DATABASE_URL": "`@{database.url}`",
    "DATABASE_USER": "`@{database.user}`",
    "DJANGO_RELEASE": "the release's id",
    "DJANGO_SETTINGS_MODULE": "the settings module",
    "HOME": "the home directory of the project's user",
    "LANG": "C.UTF-8",
    "MEDIA_ROOT": "where uploads go",
    "MEDIA_STORAGE": "`@{media.storage}` as JSON, wherever uploads are",
    "MEDIA_URL": "their URL",
    "MEMCACHED_LOCATION": "`@{cache.location}`, with Memcached",
    "PATH": "programs of the virtualenv before those of the system",
    "PRIVATE_MEDIA_ROOT": "where uploads go that only the application hands out",
    "PRIVATE_MEDIA_URL": "what X-Accel-Redirect begins with for them",
    "PYTHONPATH": "the directories of `pythonpath`, if there are any",
    "PYTHONUNBUFFERED": "1",
    "REDIS_HOST": "`@{redis.host}`",
    "REDIS_PASSWORD": "`@{redis.password}`",
    "REDIS_PORT": "`@{redis.port}`",
    "REDIS_URL": "`@{redis.url}`",
    "RQ_REDIS_URL": "`@{broker.url}`",
    "SECRET_KEY": "`@{secrets.SECRET_KEY}`",
    "SITE_URL": "`@{url}`",
    "STATIC_ROOT": "where collectstatic writes",
    "STATIC_URL": "their URL",
}

HEAD = """\
# Pillar reference

<!-- Written by docs/generate from salt/django/parameters/schema.yaml: change that file. -->

Everything is below one pillar key, `django`. The smallest pillar that deploys a project:

```yaml
django:
  projects:
    shop:
      source: {git: 'https://git.example.org/shop.git'}
      domains: [shop.example.org]
```

A pillar is checked as a whole before anything changes. Every mistake is named with its path, such
as `django:projects:shop:app:timeout: expected a duration such as 30s, 15m or 1h, got 'abc'`.
`salt-call django.validate` only checks.

How to read the tables:

- **duration**: `30s`, `15m`, `2h`, `1d`, `1w`, or a number of seconds.
- **size**: `512K`, `100M`, `2G`; powers of 1024.
- **command**: text that is split into words as a shell does, or a list of words. There is no shell.
- **secret**: belongs in an encrypted pillar; never shown in messages, logs and `django.config`.
- A key that has a default may be left out. An empty value is a mistake, unless null is allowed.
"""


def reference(schema):
    """The reference of all pillar keys as markdown (str). schema: the schema's key ``pillar``."""
    sections = list(_sections(schema, ("django",), set()))
    lines = [HEAD, "## Contents\n"]
    for path, _ in sections:
        lines.append(f"{'  ' * (len(path) > 3)}- [{_title(path)}](#{_anchor(path)})")
    lines += [
        "- [References](#references)",
        "- [Environment variables](#environment-variables)",
        "- [Names of secrets](#names-of-secrets)",
    ]
    for path, node in sections:
        lines += ["", f"## {_title(path)}", ""]
        lines += _section(node, path)
    return "\n".join([*lines, *_appendix()]) + "\n"


def _sections(node, path, seen):
    """(path, node) of every map with fixed keys, in the schema's order, each node once."""
    if node["type"] == "map":
        if id(node) in seen:
            return
        seen.add(id(node))
        yield path, node
        for key, below in node["keys"].items():
            yield from _sections(below, (*path, key), seen)
    elif node["type"] == "named":
        name = {"hosts": "ID", "projects": "PROJECT", "databases": "ALIAS"}.get(path[-1], "NAME")
        yield from _sections(node["value"], (*path, name), seen)
    elif node["type"] == "list":
        yield from _sections(node["item"], (*path, "ENTRY"), seen)


def _section(node, path):
    lines = []
    if path[1:] and node.get("meaning"):
        lines += [node["meaning"], ""]
    rules = []
    if "shorthand" in node:
        rules.append(f"A plain value stands for `{node['shorthand']}`.")
    for group in node.get("exactly_one", ()):
        rules.append(f"Exactly one of {_names(group)} has to be given.")
    for group in node.get("at_most_one", ()):
        rules.append(f"At most one of {_names(group)} may be given.")
    if rules:
        lines += [" ".join(rules), ""]
    lines += ["| Key | Type | Default | Meaning | Example |", "| --- | --- | --- | --- | --- |"]
    for key, below in node["keys"].items():
        cells = (f"`{key}`", _kind(below), _default(below), _meaning(below), _example(below))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _kind(node):
    words = TYPES.get(node["type"], node["type"])
    if node["type"] == "list" and node["item"]["type"] == "choice":
        words = f"list of {_names(node['item']['choices'])}"
    elif node["type"] == "list" and node["item"]["type"] not in ("map", "text"):
        words = f"list of {TYPES.get(node['item']['type'], node['item']['type'])}"
    elif node["type"] == "choice":
        words = _names(node["choices"])
    if node["type"] == "integer" and "min" in node and "max" in node:
        words = f"integer, {node['min']} to {node['max']}"
    if node.get("kind"):
        words = f"{node['kind']} {words}"
    marks = [mark for mark in ("required", "secret") if node.get(mark)]
    if node.get("nullable"):
        marks.append("null allowed")
    return ", ".join([_cell(words), *(f"**{mark}**" for mark in marks)])


def _default(node):
    if node.get("default_means"):
        means = node["default_means"]
        return _cell(f"`{means}`" if means.startswith("@{") else means)
    if node.get("default") is not None:
        return _code(node["default"])
    return "" if node.get("required") else {"named": "`{}`", "list": "`[]`"}.get(node["type"], "–")


def _meaning(node):
    words = node["meaning"]
    if node.get("shorthand") or node["type"] == "map":
        return _cell(words.split(". ")[0].rstrip(".:;") + "; see below.")
    return _cell(words)


def _example(node):
    return _code(node["example"]) if "example" in node else ""


def _appendix():
    yield "\n## References\n"
    yield (
        "Values of `env`, `files`, commands and some paths may refer to what is known on the host"
        " only. A value\nthat is one reference keeps its type in a rendered file. `@@{` is a plain"
        " `@{`. `@{NAME|json}` puts\nthe value in as JSON, `@{NAME|jsontext}` as the inside of a"
        " JSON string, `@{NAME|url}` percent-encoded.\nPasswords, URLs with passwords and other"
        " secrets are refused in commands, where every user can\nread them.\n"
    )
    yield "| Reference | Stands for |\n| --- | --- |"
    for name, meaning in REFERENCES.items():
        yield f"| `@{{{name}}}` | {_cell(meaning)} |"
    yield "\n## Environment variables\n"
    yield (
        "Set for every process, timer and management command of a project. `env` may override or,"
        " with null,\nremove each; secrets in upper case are added.\n"
    )
    yield "| Variable | Value |\n| --- | --- |"
    for name, meaning in VARIABLES.items():
        yield f"| `{name}` | {_cell(meaning)} |"
    yield "\n## Names of secrets\n"
    yield (
        "Secrets that the pillar leaves out are generated once and kept on the host, readable by"
        " root only,\nin `/etc/django-formula/secrets/PROJECT.json`, under these names:\n"
    )
    yield "| Name | Pillar key |\n| --- | --- |"
    yield "| `SECRET_KEY` and others as they are called | `secrets` |"
    yield "| `database.default.password` | `database:password` |"
    yield "| `database.ALIAS.password` | `databases:ALIAS:password` |"
    yield "| `cache.password` | `cache:password` |"
    yield "| `broker.password` | `broker:password` |"
    yield "| `superuser.password` | `superuser:password` |"
    yield "| `flower.password` | none; `env: {FLOWER_BASIC_AUTH: …}` of the process replaces it |"


def _title(path):
    return ":".join(path[1:]) or "django"


def _anchor(path):
    return _title(path).lower().replace(":", "")


def _names(words):
    return django_schema.join_words([f"`{word}`" for word in words], "or")


def _code(value):
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True)
    text = text.replace("\n...\n", "").strip()
    if isinstance(value, str) and "\n" in value:
        text = value.splitlines()[0] + " …"
    return f"`{_cell(text)}`"


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|")
