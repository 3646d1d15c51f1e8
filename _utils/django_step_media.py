"""The step that tries the store of uploads before a release that uses it goes live."""

import django_aws
import django_layout
from django_deployment import Outcome, StepError, unless_held

REASONS = {
    "NoSuchBucket": ("bucket", "the store has no bucket {bucket!r}"),
    "InvalidAccessKeyId": ("access_key", "the store does not know it"),
    "SignatureDoesNotMatch": ("secret_key", "it does not fit the access key"),
    "NoCredentials": ("access_key", "there is none, and this host has no role or file with one"),
    "AccessDenied": ("bucket", "these credentials may not write and read below {place}"),
    "PermanentRedirect": ("region", "{bucket!r} is in another region than {region!r}"),
    "AuthorizationHeaderMalformed": ("region", "{bucket!r} is in another region than {region!r}"),
    "NoAnswer": ("endpoint", "{endpoint} does not answer"),
}


@unless_held
def ready(deployment):
    """The wanted instance can write uploads to its bucket and read them."""
    store = deployment.project["media"]["s3"]
    if not store:
        return Outcome({}, "Uploads are on this host.")
    instance = deployment.instance
    changes = {"media": store["bucket"]}
    if instance is None:
        return Outcome(changes, f"The bucket {store['bucket']} would be tried.")
    keys = (store["access_key"], deployment.secrets.get("media.secret_key"))
    tried = django_layout.digest([store, keys], deployment.key)
    if deployment.layout.instance_record(instance).get("media") == tried:
        return Outcome({}, f"The bucket {store['bucket']} takes uploads.")
    if deployment.test:
        return Outcome(changes, f"The bucket {store['bucket']} would be tried.")
    wanted = django_aws.request(
        "check_bucket",
        store,
        keys,
        bucket=store["bucket"],
        prefix=store["prefix"],
        addressing=store["addressing"],
    )
    try:
        answer = django_aws.ask(wanted, deployment.read_file(django_aws.PROGRAM))
    except django_aws.AwsError as error:
        raise StepError(deployment.redact(_told(deployment.name, store, error))) from None
    if not answer["reads"]:
        raise StepError(f"The bucket {store['bucket']} does not give back what was written to it.")
    deployment.layout.save_instance_record(instance, media=tried)
    comment = f"The bucket {store['bucket']} takes uploads."
    if not answer["removes"]:
        comment += " These credentials may not remove any."
    return Outcome(changes, comment)


def _told(name, store, error):
    """A sentence (str) about what is wrong with the store, and the pillar's key to look at."""
    key, reason = REASONS.get(error.code, ("bucket", "it cannot be used"))
    place = f"{store['bucket']}/{store['prefix']}"
    endpoint = store["endpoint"] or "AWS"
    reason = reason.format(**{**store, "place": place, "endpoint": endpoint})
    return f"django:projects:{name}:media:s3:{key}: {reason} ({error.code}: {error})"
