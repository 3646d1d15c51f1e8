"""Which steps a release has on a host, and in which order."""

SHARE = {"mount": {"type": "nfs", "device": "10.0.0.9:/shop"}}
S3 = {"bucket": "shop-media", "region": "eu-west-1", "access_key": "AKIA1", "secret_key": "x" * 20}
EXTERNAL = {"host": "db.example.net", "name": "n", "user": "u", "password": "x" * 20}
CDN = {"url": "https://cdn.test", "distribution": "E1234567890"}


def titles(config):
    assert config["errors"] == []
    return [step["title"] for step in config["projects"]["shop"]["steps"]]


def test_what_a_release_needs_comes_before_it_and_a_cdn_after(resolve_project):
    usual = titles(resolve_project())
    assert usual[0] == "source is fetched" and usual[-1] == "old releases are gone"
    assert usual.index("database is migrated") < usual.index("release is live")
    assert titles(resolve_project(media=SHARE, uid=900)) == ["shared drive is mounted", *usual]
    assert titles(resolve_project(database=EXTERNAL)) == ["external databases answer", *usual]
    assert titles(resolve_project(static={"cdn": CDN})) == [*usual, "CDN forgets what changed"]
    with_bucket = titles(resolve_project(media={"s3": S3}))
    place = usual.index("static files are published")
    assert with_bucket == [*usual[:place], "uploads have their bucket", *usual[place:]]


def test_a_host_for_static_files_asks_no_database_bucket_or_drive(resolve):
    keys = {"secrets": {"SECRET_KEY": "k" * 50}, "database": EXTERNAL, "cache": {"engine": "none"}}
    project = {
        **keys,
        "source": {"path": "/srv/src"},
        "domains": ["shop.example.org"],
        "static": {"domains": ["static.example.org"], "cdn": CDN},
        "media": {"s3": S3},
    }
    hosts = {
        "web1": {"address": "10.0.0.11", "roles": ["static"]},
        "web2": {"address": "10.0.0.12", "roles": ["app", "web"]},
    }
    assert titles(resolve({"hosts": hosts, "projects": {"shop": project}})) == [
        "source is fetched",
        "packages are installed",
        "release is built",
        "release is configured",
        "release is checked",
        "static files are published",
        "release is live",
        "processes run",
        "what runs is verified",
        "old releases are gone",
        "CDN forgets what changed",
    ]
