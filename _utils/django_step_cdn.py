"""The step that tells a CDN to forget what changed under the same name."""

import django_aws
import django_cdn
import django_layout
import django_step_static
from django_deployment import Outcome, StepError

PATIENCE = 60  # seconds, while the distribution has too many invalidations under way


def invalidate(deployment):
    """
    The CDN holds no older content of the files that this host publishes now. What it was told last
    is remembered; where that is not known, it is told to forget all of them.
    """
    cdn, location = deployment.project["cdn"], deployment.project["static"]["location"]
    if not cdn or not cdn["distribution"]:
        return Outcome({}, "No distribution of a CDN is named.")
    role = "static" if deployment.project["static_site"] else "web"
    if role not in deployment.host["roles"]:
        return Outcome({}, "This host serves no static files.")
    target = [cdn["distribution"], cdn["endpoint"], location]
    record = django_layout.read_json(deployment.layout.cdn)
    is_known = record.get("target") == target
    if deployment.test and not _is_published(deployment):
        return Outcome({"invalidated": "what changes"}, "The CDN would be told what changed.")
    known = record.get("files", {}) if is_known else {}
    now = django_cdn.files(deployment.layout.static, known)
    names = django_cdn.outdated(known, now) if is_known else None
    paths = django_cdn.paths(location, names)
    if deployment.test:
        changes = {"invalidated": paths} if paths else {}
        return Outcome(changes, f"{len(paths)} paths would be invalidated.")
    serial = record.get("serial", 0)
    comment = f"The distribution {cdn['distribution']} has nothing to forget."
    if paths:
        serial += 1
        made = _tell(deployment, cdn, paths, serial)
        comment = f"The distribution {cdn['distribution']} forgets what changed ({made})."
    if paths or now != known:
        saved = {"target": target, "serial": serial, "files": now}
        django_layout.write_json(deployment.layout.cdn, saved)
    return Outcome({"invalidated": paths} if paths else {}, comment)


def _tell(deployment, cdn, paths, serial):
    """Id (str) of the invalidation; the same one where a run was killed before it noted it."""
    keys = (cdn["access_key"], deployment.secrets.get("cdn.secret_key"))
    reference = [deployment.name, deployment.host["name"], serial, paths]
    wanted = django_aws.request(
        "invalidate",
        cdn,
        keys,
        distribution=cdn["distribution"],
        paths=paths,
        reference=f"django-formula-{django_layout.digest(reference, deployment.key)}",
        patience=PATIENCE,
    )
    try:
        return django_aws.ask(wanted, deployment.read_file(django_aws.PROGRAM))["id"]
    except django_aws.AwsError as error:
        text = (
            f"The release serves, but the CDN was not told of {len(paths)} changed paths; the next"
            f" run tells it again. {cdn['distribution']}: {error.code}: {error}"
        )
        raise StepError(deployment.redact(text)) from None


def _is_published(deployment):
    """Whether the static files of the release that a run brings live are in place already."""
    if not deployment.project["static"]["enabled"]:
        return True
    if deployment.hold:
        return not django_step_static.missing(deployment, deployment.target)[1]
    collected = deployment.record.get("static")
    if collected is None:
        return deployment.ready() and not deployment.facts()["staticfiles"]
    return not django_step_static.unpublished(deployment, collected)
