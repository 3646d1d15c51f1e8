"""What keeps a release from going live once Django has been asked."""

import types

import django_step_check
import pytest
from django_deployment import StepError

FACTS = {
    "settings": "shop.settings",
    "debug": False,
    "secret_key": None,
    "databases": {"default": "postgresql"},
}


@pytest.fixture
def deployment():
    """A project whose Python gives the answers of the dict ``told``, or fails after them."""
    told, saved = {"inspect": dict(FACTS), "check": [], "applied": {}}, {}

    def django(tasks, timeout, failure):
        assert [task["do"] for task in tasks] == ["inspect", "check", "applied"]
        if made.error:
            raise StepError(f"{failure}. {made.error}", answers=told)
        return told

    made = types.SimpleNamespace(
        name="shop",
        static_only=False,
        host={"roles": ["app", "web"]},
        instance="a-b",
        hold=None,
        test=False,
        told=told,
        saved=saved,
        error=None,
        django=django,
        redact=lambda text: text,
        layout=types.SimpleNamespace(
            instance_record=lambda instance: saved,
            save_instance_record=lambda instance, **values: saved.update(values),
        ),
        project={
            "settings": "shop.settings",
            "superuser": None,
            "release": {"check": "error", "deploy_check": False, "allow_debug": False},
            "migrate": {"enabled": True, "databases": ["default"], "after_switch": []},
            "databases": {"default": {"engine": "postgresql"}},
            "media": {"s3": {}},
            "web": {"tls": None},
            "static_site": {},
            "files": [],
        },
    )
    return made


def refusal(deployment):
    with pytest.raises(StepError) as raised:
        django_step_check.check(deployment)
    assert deployment.saved == {}
    return raised.value


def test_a_fit_release_passes_once(deployment):
    assert django_step_check.check(deployment).changes == {"checked": "a-b"}
    assert deployment.saved["facts"] == FACTS
    assert django_step_check.check(deployment).changes == {}


@pytest.mark.parametrize(
    ("backend", "word"),
    [
        ("django.core.cache.backends.memcached.PyMemcacheCache", "in Memcached only"),
        ("django.core.cache.backends.locmem.LocMemCache", "in the memory of each process only"),
        ("django.core.cache.backends.redis.RedisCache", None),
        (None, None),
    ],
)
def test_sessions_that_may_be_lost_are_told(deployment, backend, word):
    deployment.told["inspect"]["sessions"] = backend
    for _ in range(2):  # the release goes live, and each run says it again
        warnings = " ".join(django_step_check.check(deployment).warnings)
        assert ("cached_db" in warnings) == bool(word)
        assert not word or word in warnings


def test_uploads_that_can_be_written_nowhere_are_told(deployment):
    deployment.told["inspect"]["uploads_refused"] = "/srv/django/shop/releases/a/source/media"
    for _ in range(2):
        (told,) = django_step_check.check(deployment).warnings
        assert "MEDIA_ROOT is /srv/django/shop/releases/a/source/media, where" in told


def test_everything_that_is_wrong_is_told_at_once(deployment):
    deployment.told["inspect"] |= {"debug": True, "settings": "shop.dev", "secret_key": "is short"}
    deployment.told["check"] = [
        {"level": 40, "id": "a.E1", "message": "No.", "hint": "Yes."},
        {"level": 30, "id": "a.W1", "message": "Perhaps.", "hint": ""},
    ]
    error = refusal(deployment)
    assert error.blames_release
    assert str(error).splitlines() == [
        "The settings are shop.dev, but the pillar names shop.settings.",
        "DEBUG is on in shop.dev.",
        "SECRET_KEY is short.",
        "a.E1: No. (Yes.)",
    ]


def test_domains_for_static_files_want_some(deployment):
    deployment.told["inspect"]["staticfiles"] = False
    deployment.project["static_site"] = {"domains": ["static.shop.test"]}
    deployment.project["static_site"]["tls"] = {}
    assert "do not use django.contrib.staticfiles" in str(refusal(deployment))
    deployment.told["inspect"]["staticfiles"] = True
    assert django_step_check.check(deployment).changes


@pytest.mark.parametrize(
    ("engine", "vendor", "words"),
    [
        ("postgresql", "sqlite", "use SQLite as the database default, and not"),
        ("sqlite", "mysql", "use MySQL as the database default, and not"),
        ("postgresql", "postgresql", None),
        ("none", "sqlite", None),
        ("postgresql", "unknown", None),
        ("postgresql", "microsoft", None),
    ],
)
def test_settings_with_another_kind_of_database(deployment, engine, vendor, words):
    deployment.project["databases"]["default"]["engine"] = engine
    deployment.told["inspect"]["databases"] = {"default": vendor}
    if words is None:
        assert django_step_check.check(deployment).changes
        return
    told = str(refusal(deployment))
    assert words in told
    assert "may read DATABASE_URL, or the pillar may say database:engine" in told


def test_a_further_database_is_told_by_its_alias(deployment):
    deployment.project["databases"]["old"] = {"engine": "postgresql"}
    deployment.told["inspect"]["databases"]["old"] = "sqlite"
    told = str(refusal(deployment))
    assert "database old" in told
    assert "@{databases.old.url}, or the pillar may say databases:old:engine" in told


def test_what_is_wrong_with_the_settings_is_told_when_the_database_cannot_be_asked(deployment):
    deployment.error = "OperationalError: no such server"
    assert str(refusal(deployment)) == f"The release does not start. {deployment.error}"
    deployment.told["inspect"]["debug"] = True
    error = refusal(deployment)
    assert (str(error), error.blames_release) == ("DEBUG is on in shop.settings.", True)


def test_a_release_that_does_not_start_at_all(deployment):
    deployment.told.clear()
    deployment.error = "ImportError: flux"
    assert str(refusal(deployment)) == "The release does not start. ImportError: flux"


def test_uploads_that_stay_on_the_host_are_told_where_the_pillar_has_a_bucket(deployment):
    deployment.told["inspect"]["uploads_on_disk"] = True
    deployment.project["media"] = {"s3": {"bucket": "b"}}
    assert "keep uploads on this host" in str(refusal(deployment))


@pytest.mark.parametrize("part", ["web", "static"])
def test_certificate_of_static_files_is_told_where_the_pillar_has_it(deployment, part):
    tls = {"certificate": "/nowhere.pem", "key": "/nowhere.key"}
    deployment.host["roles"] = ["static"]
    deployment.project["web"]["tls"] = tls if part == "web" else {}
    deployment.project["static_site"] = {"tls": dict(tls)}
    assert f"shop:{part}:tls:certificate: there is no file" in str(refusal(deployment))


@pytest.mark.parametrize("test", [False, True])
def test_certificates_are_there_before_anything_goes_live(deployment, tmp_path, test):
    """A test says so too, also on a server where nothing is built yet."""
    certificate, key = tmp_path / "shop.pem", tmp_path / "shop.key"
    deployment.project["web"]["tls"] = {"certificate": str(certificate), "key": str(key)}
    deployment.test, deployment.instance = test, None if test else "a-b"
    told = str(refusal(deployment))
    assert f"django:projects:shop:web:tls:certificate: there is no file {certificate}" in told
    assert f"django:projects:shop:web:tls:key: there is no file {key}" in told
    certificate.touch()
    deployment.project["files"] = [{"path": str(key)}]  # which the pillar describes
    assert django_step_check.check(deployment).changes
    key.unlink(missing_ok=True)
    deployment.project["files"], deployment.host["roles"] = [], ["app"]
    assert django_step_check.check(deployment).comment
