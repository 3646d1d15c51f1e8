"""The steps of a project's release on a host: states in their order, each of which requires the
one before it."""

# Title and function (of _states/django.py) of each.
SHARE = ("shared drive is mounted", "share_mounted")
EXTERNAL = ("external databases answer", "databases_reached")
MADE = (
    ("source is fetched", "source_fetched"),
    ("packages are installed", "packages_installed"),
    ("release is built", "release_built"),
    ("release is configured", "configured"),
    ("release is checked", "checked"),
)
BUCKET = ("uploads have their bucket", "media_ready")
PUBLISHED = ("static files are published", "static_collected")
BEFORE = (
    ("database is migrated", "migrated"),
    ("first tasks are done", "tasks_done", "first"),
    ("tasks before the switch are done", "tasks_done", "before"),
    ("superuser is there", "superuser"),
)
LIVE = (
    ("release is live", "release_live"),
    ("processes run", "processes_live"),
    ("what runs is verified", "verified"),
)
AFTER = (
    ("late migrations are applied", "late_migrated"),
    ("tasks after the switch are done", "tasks_done", "after"),
)
PRUNED = ("old releases are gone", "pruned")
CDN = ("CDN forgets what changed", "cdn_invalidated")


def steps(project):
    """
    Steps (list of dict): ``title``, ``function`` and, of tasks, ``when``. Where a host serves
    static files alone, those are left out that need a database or a program.

    project
        Resolved project, as it is on the host.
    """
    runs, media, cdn = not project["static_only"], project["media"], project["cdn"]
    databases = project["databases"].values()
    is_external = any("host" in each and not each["managed"] for each in databases)
    found = [
        *([SHARE] if media["mount"] else ()),
        *([EXTERNAL] if runs and is_external else ()),
        *MADE,
        *([BUCKET] if runs and media["s3"] else ()),
        PUBLISHED,
        *(BEFORE if runs else ()),
        *LIVE,
        *(AFTER if runs else ()),
        PRUNED,
        *([CDN] if cdn.get("distribution") else ()),
    ]
    return [dict(zip(("title", "function", "when"), step)) for step in found]
