"""
The step that exchanges workers and other processes: the new ones start beside the old, and the old
finish their work in their old release while the run goes on.
"""

import django_process
import django_programs
from django_deployment import Outcome


def run_processes(deployment):
    """The project's other processes run from the instance that is to run, and no others do."""
    instance = deployment.target
    if instance is None:
        names = sorted(deployment.project["processes"])
        changes = {"started": names} if names else {}
        return Outcome(changes, "The processes of the new release would be started.")
    wanted = {
        django_process.program_name(deployment.name, process, instance): definition
        for process, definition in deployment.definitions_of(instance).items()
        if process != "web"
    }
    programs = deployment.manager.programs()
    old = [
        name
        for name, program in programs.items()
        if name not in wanted
        and not program["leaving"]
        and django_programs.parsed(deployment, name)[0] not in (None, "web")
    ]
    starting = [
        name
        for name, definition in wanted.items()
        if (
            not programs.get(name, {}).get("running")
            or deployment.manager.differs(name, definition)
        )
        and not deployment.manager.comes_back(name, definition)
    ]
    changes = {
        key: sorted(names) for key, names in (("started", starting), ("stopped", old)) if names
    }
    leaving = [name for name, program in programs.items() if program["leaving"]]
    comment = f"{len(wanted)} processes run from instance {instance}."
    if leaving:
        comment += f" Still finishing their work: {', '.join(sorted(leaving))}."
    if not changes:
        return Outcome({}, comment)
    if deployment.test:
        return Outcome(changes, "Processes would be started or stopped.")
    for name in [name for name in (*old, *leaving) if _is_single(deployment, name)]:
        # No second one may run beside it, not even one that is about to end.
        deployment.manager.stop(name, django_programs.stop_seconds(deployment, name))
    for name in starting:
        django_programs.start(deployment, name, wanted[name])
    for name in [name for name in old if not _is_single(deployment, name)]:
        deployment.manager.dismiss(name)
        deployment.dismissed.add(name)
    return Outcome(changes, comment)


def _is_single(deployment, name):
    process, _ = django_programs.parsed(deployment, name)
    spec = deployment.project["processes"].get(process)
    return bool(spec and spec["single"])
