"""The step that collects a release's static files and publishes them beside those of others."""

import pathlib

import django_layout
import django_static
import django_step_tasks
from django_deployment import Outcome, unless_held

COLLECT_TIMEOUT = 1800


@unless_held
def collect(deployment):
    """The static files of the wanted release are published."""
    if not deployment.project["static"]["enabled"]:
        return Outcome({}, "The project has no static files to publish.")
    release_id = deployment.release_id
    collected = deployment.record.get("static")
    if collected is None and not deployment.ready():
        return Outcome({"static": "of the new release"}, "Static files would be published.")
    if collected == "" or (collected is None and not deployment.facts()["staticfiles"]):
        return Outcome({}, "The project does not use django.contrib.staticfiles.")
    missing = django_static.unpublished(collected, deployment.layout.static) if collected else []
    if collected and not missing:
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
        missing = django_static.unpublished(root, deployment.layout.static)
        collected = root
    compress = deployment.project["static"]["compress"]
    django_static.publish(collected, deployment.layout.static, missing, compress)
    return Outcome(changes, f"{len(missing)} static files of release {release_id} published.")


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
