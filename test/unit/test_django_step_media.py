"""The step that tries the bucket for uploads."""

import types

import django_aws
import django_step_media
import pytest
from django_deployment import StepError

STORE = {
    "bucket": "shop-media",
    "prefix": "a/",
    "region": "eu-central-1",
    "endpoint": "https://s3.test",
    "access_key": "AKIA1",
    "addressing": "path",
    "url": None,
    "link_expires": 3600,
}


@pytest.fixture
def deployment(monkeypatch):
    """A project with a bucket; ``answer`` is what the store says, or an AwsError."""
    saved, asked = {}, []

    def ask(wanted, text):
        asked.append(wanted)
        if isinstance(made.answer, Exception):
            raise made.answer
        return made.answer

    monkeypatch.setattr(django_aws, "ask", ask)
    made = types.SimpleNamespace(
        name="shop",
        project={"media": {"s3": dict(STORE)}},
        secrets={"media.secret_key": "very-secret"},
        instance="a-b",
        hold=None,
        test=False,
        key=b"k",
        asked=asked,
        saved=saved,
        answer={"reads": True, "removes": True},
        read_file=lambda url: "",
        redact=lambda text: text.replace("very-secret", "***"),
        layout=types.SimpleNamespace(
            instance_record=lambda instance: saved,
            save_instance_record=lambda instance, **values: saved.update(values),
        ),
    )
    return made


def test_an_instance_tries_its_bucket_once(deployment):
    deployment.test = True
    predicted = django_step_media.ready(deployment)
    assert deployment.asked == []
    deployment.test = False
    assert django_step_media.ready(deployment).changes == predicted.changes
    assert django_step_media.ready(deployment).changes == {}
    (wanted,) = deployment.asked
    assert (wanted["do"], wanted["bucket"], wanted["prefix"]) == (
        "check_bucket",
        "shop-media",
        "a/",
    )
    assert (wanted["access_key"], wanted["secret_key"]) == ("AKIA1", "very-secret")
    assert "very-secret" not in str(deployment.saved)


@pytest.mark.parametrize("change", ["secret", "bucket"])
def test_other_keys_and_other_buckets_are_tried_again(deployment, change):
    django_step_media.ready(deployment)
    if change == "secret":
        deployment.secrets["media.secret_key"] = "another"
    else:
        deployment.project["media"]["s3"]["bucket"] = "other"
    assert django_step_media.ready(deployment).changes
    assert len(deployment.asked) == 2


@pytest.mark.parametrize(
    "code, said",
    [
        ("NoSuchBucket", "media:s3:bucket: the store has no bucket 'shop-media'"),
        ("InvalidAccessKeyId", "media:s3:access_key: the store does not know it"),
        ("SignatureDoesNotMatch", "media:s3:secret_key: it does not fit the access key"),
        ("NoCredentials", "media:s3:access_key: there is none"),
        ("AccessDenied", "media:s3:bucket: these credentials may not write and read below shop-me"),
        ("PermanentRedirect", "media:s3:region: 'shop-media' is in another region than 'eu-centra"),
        ("NoAnswer", "media:s3:endpoint: https://s3.test does not answer"),
        ("Teapot", "media:s3:bucket: it cannot be used (Teapot: why ***)"),
    ],
)
def test_what_is_wrong_is_told_with_the_key_to_look_at(deployment, code, said):
    deployment.answer = django_aws.AwsError("why very-secret", code)
    with pytest.raises(StepError) as raised:
        django_step_media.ready(deployment)
    assert said in str(raised.value) and "very-secret" not in str(raised.value)
    assert not raised.value.blames_release, "the release may be fine"
    assert deployment.saved == {}


def test_a_store_that_loses_what_it_takes_is_refused(deployment):
    deployment.answer = {"reads": False, "removes": True}
    with pytest.raises(StepError, match="does not give back"):
        django_step_media.ready(deployment)


def test_keys_that_may_not_remove_are_told(deployment):
    deployment.answer = {"reads": True, "removes": False}
    assert "may not remove" in django_step_media.ready(deployment).comment


def test_a_release_to_come_and_uploads_on_the_host(deployment):
    deployment.instance, deployment.test = None, True
    assert django_step_media.ready(deployment).changes == {"media": "shop-media"}
    deployment.project["media"]["s3"] = {}
    assert django_step_media.ready(deployment).changes == {}
    assert deployment.asked == []
