"""
The step that collects a release's static files and publishes them beside those of others.

Files without a hash in their name have the same name in each release. So they are always those of
the release that is to serve: of the old one after a failure and on the way back.
"""

import pathlib

import django_hold
import django_layout
import django_static
import django_step_tasks
from django_deployment import Outcome

COLLECT_TIMEOUT = 1800


def collect(deployment):
    """The static files of the release that is to run are published."""
    if not deployment.project["static"]["enabled"]:
        return Outcome({}, "The project has no static files to publish.")
    if deployment.hold:
        return _keep(deployment)
    release_id = deployment.release_id
    collected = deployment.record.get("static")
    if collected is None and not deployment.ready():
        return Outcome({"static": "of the new release"}, "Static files would be published.")
    if collected == "" or (collected is None and not deployment.facts()["staticfiles"]):
        return Outcome({}, "The project does not use django.contrib.staticfiles.")
    names = unpublished(deployment, collected) if collected else []
    if collected and not names:
        return Outcome({}, f"The static files of release {release_id} are published.")
    changes = {"static": release_id}
    if deployment.test:
        return Outcome(changes, "Static files would be published.")
    if not collected:
        root = deployment.facts()["static_root"] or deployment.names()["path.static"]
        _collect_into(deployment, pathlib.Path(root))
        source = deployment.layout.release(release_id) / "source"
        tree = django_layout.fingerprint(source)  # some projects collect into it
        deployment.layout.save_record(release_id, static=root, tree=tree)
        names = unpublished(deployment, root)
        collected = root
    _publish(deployment, collected, names)
    return Outcome(changes, f"{len(names)} static files of release {release_id} published.")


def restore(deployment, instance):
    """Publish again what differs of the static files that the release of an instance collected."""
    collected, names = missing(deployment, instance)
    _publish(deployment, collected, names)


def missing(deployment, instance):
    """
    What the release of an instance has collected (str, empty where that is nothing), and the names
    (list) of what is not published of it.
    """
    record = deployment.layout.record(deployment.layout.release_of(instance)) if instance else {}
    collected = record.get("static")
    if not collected or not deployment.project["static"]["enabled"]:
        return "", []
    return collected, unpublished(deployment, collected)


def unpublished(deployment, collected):
    """
    Names (list) of what is not published of the folder ``collected``. Where static files have
    domains of their own, servers there are asked for one more file.
    """
    probe = bool(deployment.project["static_site"])
    return django_static.unpublished(collected, deployment.layout.static, probe)


def _keep(deployment):
    collected, names = missing(deployment, deployment.target)
    if not names:
        return Outcome({}, django_hold.sentence(deployment.hold))
    release_id = deployment.layout.release_of(deployment.target)
    told = f"{len(names)} static files of release {release_id}, which is held to,"
    if deployment.test:
        return Outcome({"static": release_id}, f"{told} would be published again.")
    _publish(deployment, collected, names)
    return Outcome({"static": release_id}, f"{told} are published again.")


def _publish(deployment, collected, names):
    compress = deployment.project["static"]["compress"]
    django_static.publish(collected, deployment.layout.static, names, compress)


def _collect_into(deployment, root):
    release = deployment.layout.release(deployment.release_id)
    own = root.is_relative_to(release)
    if own:
        root.mkdir(parents=True, exist_ok=True)
        deployment.give_to_user(root)
    task = {"do": "collectstatic", "ignore": deployment.project["static"]["ignore"]}
    deployment.django([task], COLLECT_TIMEOUT, "The static files cannot be collected")
    for entry in deployment.project["tasks"]:
        if entry["when"] == "static":
            django_step_tasks.carry_out(deployment, entry, "static")
    if own:
        django_layout.seal(root, deployment.gid)
