"""Where static files and uploads of a project are, and who hands them out."""

import django_namespace
import django_project_files
import pytest


def test_uploads_are_served_from_the_shared_folder(resolve_project):
    media = resolve_project()["projects"]["shop"]["media"]
    root = "/srv/django/shop/shared/media"
    assert media["folders"] == [{"location": "/media/", "root": root, "internal": False}]


@pytest.mark.parametrize("media", [{"enabled": False}, {"url": "https://media.test/"}])
def test_uploads_that_are_not_the_web_server_s(resolve_project, media):
    assert resolve_project(media=media)["projects"]["shop"]["media"]["folders"] == []


def test_private_uploads(resolve_project):
    config = resolve_project(media={"private": {}}, writable=["private"])
    shop = config["projects"]["shop"]
    root = "/srv/django/shop/shared/private"
    folder = {"location": "/private-media/", "root": root, "internal": True}
    assert shop["media"]["folders"][1:] == [folder]
    assert shop["writable"] == []
    assert shop["environment"]["PRIVATE_MEDIA_ROOT"] == "@{path.private}"
    names = django_namespace.namespace(shop, config["host"], {})
    assert (names["path.private"], names["media.private_url"]) == (root, "/private-media/")


def test_private_uploads_have_no_name_without_them(resolve_project):
    shop = resolve_project()["projects"]["shop"]
    assert "PRIVATE_MEDIA_ROOT" not in shop["environment"]


@pytest.mark.parametrize(
    "static, location",
    [
        ({}, "/static/"),
        ({"enabled": False}, ""),
        ({"serve": False}, ""),
        ({"url": "https://cdn.test/"}, ""),
        ({"url": "/assets/"}, "/assets/"),
    ],
)
def test_static_files_at_the_web_server(resolve_project, static, location):
    shop = resolve_project(static=static)["projects"]["shop"]
    assert shop["static"]["location"] == location


def test_limits_of_bodies_in_words():
    web = {"max_body_size": 20 << 20}
    locations = {"/a": {"max_body_size": 1536 << 10}, "/b": {}, "/c": {"max_body_size": 1 << 30}}
    assert django_project_files.body_limits(web, locations) == {
        1536 << 10: "1536 KiB",
        20 << 20: "20 MiB",
        1 << 30: "1 GiB",
    }
    assert django_project_files.in_words(1000) == "1000 bytes"


KEYS = {"access_key": "AKIA1", "secret_key": "very-secret"}


def test_static_files_behind_a_cdn(resolve_project):
    cdn = {"url": "https://cdn.test/", "distribution": "E1", **KEYS}
    shop = resolve_project(static={"cdn": cdn})["projects"]["shop"]
    assert shop["static"]["url"] == "https://cdn.test/static/"
    assert shop["static"]["location"] == "/static/"
    assert (shop["cdn"]["distribution"], shop["cdn"]["region"]) == ("E1", "us-east-1")
    assert "secret_key" not in shop["cdn"] and shop["aws"]
    assert shop["secret_specs"]["cdn.secret_key"] == {"value": "very-secret", "export": False}
    without = resolve_project(static={"cdn": {"url": "https://cdn.test"}})["projects"]["shop"]
    assert (without["aws"], without["static"]["url"]) == (False, "https://cdn.test/static/")


def test_a_cdn_makes_no_other_release(resolve_project):
    """Its keys are not the release's business, its URL is: the files may name each other by it."""
    shops = [
        resolve_project(static={"cdn": {"url": "https://cdn.test", "distribution": name}})
        for name in ("E1", "E2")
    ]
    first, second = (config["projects"]["shop"]["static"] for config in shops)
    assert first == second


def test_uploads_in_a_bucket(resolve_project):
    s3 = {"bucket": "shop", "prefix": "a/b", "endpoint": "https://s3.test", **KEYS}
    config = resolve_project(media={"s3": s3})
    shop = config["projects"]["shop"]
    assert shop["media"]["folders"] == [] and shop["media"]["url"] == "/media/"
    names = django_namespace.namespace(shop, config["host"], {"media.secret_key": "very-secret"})
    assert names["media.prefix"] == "a/b/" and names["media.secret_key"] == "very-secret"
    assert django_namespace.is_secret("media.secret_key")
    storage = names["media.storage"]
    assert "very-secret" not in str(storage) and storage["BACKEND"] == django_project_files.S3
    options = storage["OPTIONS"]
    assert (options["location"], options["querystring_auth"]) == ("a/b", True)
    assert options["endpoint_url"] == "https://s3.test"
    assert "custom_domain" not in options
    assert {name: value for name, value in shop["environment"].items() if "AWS_" in name} == {
        "AWS_ACCESS_KEY_ID": "@{media.access_key}",
        "AWS_LOCATION": "@{media.prefix}",
        "AWS_S3_ENDPOINT_URL": "@{media.endpoint}",
        "AWS_S3_REGION_NAME": "@{media.region}",
        "AWS_SECRET_ACCESS_KEY": "@{media.secret_key}",
        "AWS_STORAGE_BUCKET_NAME": "@{media.bucket}",
    }


def test_a_bucket_that_everybody_can_read(resolve_project):
    s3 = {"bucket": "shop", "prefix": "a", "url": "https://media.test/x/"}
    shop = resolve_project(media={"s3": s3})["projects"]["shop"]
    assert shop["media"]["url"] == "https://media.test/x/a/"
    options = django_project_files.storage(shop["media"])["OPTIONS"]
    assert (options["custom_domain"], options["url_protocol"]) == ("media.test/x", "https:")
    assert options["querystring_auth"] is False
    assert "AWS_ACCESS_KEY_ID" not in shop["environment"]


def test_uploads_on_the_host_have_a_storage_too(resolve_project):
    media = resolve_project()["projects"]["shop"]["media"]
    disk = {"BACKEND": django_project_files.DISK, "OPTIONS": {}}
    assert django_project_files.storage(media) == disk


def test_uploads_on_a_shared_drive(resolve_project):
    config = resolve_project(media={"mount": "nas.test:/export", "private": {}}, uid=900)
    shop = config["projects"]["shop"]
    assert shop["media"]["mount"]["type"] == "nfs4" and shop["uid"] == 900
    roots = [folder["root"] for folder in shop["media"]["folders"]]
    assert roots == ["/srv/django/shop/share/media", "/srv/django/shop/share/private"]
    assert "nfs-common" in config["packages"]
    gluster = {"mount": {"device": "nas.test:/uploads", "type": "glusterfs"}}
    assert "glusterfs-client" in resolve_project(media=gluster)["packages"]


def test_hosts_that_share_uploads_need_a_number_for_the_user(resolve):
    hosts = {
        "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
        "web2": {"address": "10.0.0.12", "roles": ["app"]},
    }
    project = {
        "source": {"path": "/srv/src"},
        "database": {"engine": "none"},
        "cache": {"engine": "locmem"},
        "secrets": {"SECRET_KEY": "x" * 50},
        "media": {"mount": "nas.test:/export"},
    }
    errors = resolve({"hosts": hosts, "projects": {"shop": project}})["errors"]
    told = (
        "django:projects:shop:uid: expected a number such as 900, since 2 hosts share its uploads"
    )
    assert errors == [told]
    project["uid"] = 900
    assert resolve({"hosts": hosts, "projects": {"shop": project}})["errors"] == []


def test_folders_above_a_writable_one_are_not_the_project_s(resolve_project):
    """It could put a link in the place of one, where root makes and brings back what is below."""
    given = [{"path": "a/b/c"}, {"path": "a/b"}, {"path": "media/x"}, {"path": "d"}]
    shop = resolve_project(writable=given)["projects"]["shop"]
    shared = "/srv/django/shop/shared"
    assert shop["writable"] == [f"{shared}/{name}" for name in ("a/b", "a/b/c", "d", "media/x")]
    assert shop["above_writable"] == [f"{shared}/a"]
