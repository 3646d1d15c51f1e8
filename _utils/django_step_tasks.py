"""The step that carries out the tasks that a project has around a release."""

import time

import django_environment
import django_layout
import django_process
import django_progress
from django_deployment import Outcome, StepError, unless_held
from django_run import CommandError, run

LOAD_TIMEOUT = 300
KINDS = ("first", "before", "after")


@unless_held
def tasks(deployment, when):
    """
    The project's tasks of a kind are done: ``first`` once in the project's life, ``before`` and
    ``after`` (the switch) once for each release.
    """
    if when not in KINDS:
        raise StepError(f"when: expected one of {', '.join(KINDS)}, got {when!r}")
    entries = [entry for entry in deployment.project["tasks"] if entry["when"] == when]
    if when == "first":
        loads = [
            {"name": f"load {name}", "manage": ["loaddata", name], "timeout": LOAD_TIMEOUT}
            for name in deployment.project["fixtures"]
        ]
        entries = loads + entries
    done = _done(deployment, when)
    left = [entry for entry in entries if entry["name"] not in done]
    if not left:
        return Outcome({}, f"{len(entries)} tasks of this kind, all done.")
    changes = {"tasks": [entry["name"] for entry in left]}
    if deployment.test or not deployment.ready():
        return Outcome(changes, f"{len(left)} tasks would be carried out.")
    failed = []
    for entry in left:
        django_progress.tell(f"task {entry['name']}")
        if not carry_out(deployment, entry, when):
            failed.append(entry["name"])
    comment = f"{len(left)} tasks carried out."
    if failed:
        comment += f" Failed, as the pillar allows: {', '.join(failed)}."
    return Outcome(changes, comment)


def _tasks_record(deployment, when):
    if when == "first":
        return deployment.layout.root / "first.json"
    return deployment.layout.release(deployment.release_id) / "tasks.json"


def _done(deployment, when):
    if when == "first":
        return django_layout.read_json(_tasks_record(deployment, when))
    if not deployment.ready():
        return {}
    return django_layout.read_json(_tasks_record(deployment, when))


def carry_out(deployment, entry, when):
    """Run one task; returns whether it succeeded. A failure that is not allowed raises."""
    instance = deployment.instance
    names = deployment.names(instance)
    own = django_environment.variables(entry.get("environment", {}), names)
    environment = {**deployment.environment_of(instance), **own}
    source, log = names["path.project"], deployment.log("tasks")
    skip = entry.get("unless") and (
        run(
            django_process.command_argv({"command": entry["unless"]}, deployment.project, names),
            user=deployment.user,
            env=environment,
            cwd=source,
            timeout=entry["timeout"],
            check=False,
        ).returncode
        == 0
    )
    succeeded = True
    if not skip:
        try:
            run(
                django_process.command_argv(entry, deployment.project, names),
                user=deployment.user,
                env=environment,
                cwd=source,
                timeout=entry["timeout"],
                log=log,
                redact=deployment.redact,
                umask=0o027,
            )
        except CommandError as error:
            if not entry.get("allow_failure"):
                text = f"Task {entry['name']} failed ({log} has all of it). {error}"
                raise StepError(deployment.redact(text), blames_release=True) from None
            succeeded = False
    if when != "static":
        path = _tasks_record(deployment, when)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        django_layout.write_json(path, {**django_layout.read_json(path), entry["name"]: stamp})
    return succeeded
