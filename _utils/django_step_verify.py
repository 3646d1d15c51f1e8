"""The step that looks at what really runs once all is said to be done."""

import django_hold
import django_process
import django_running
import django_timers
from django_deployment import Outcome, StepError


def verify(deployment):
    """
    The live processes run the code and the packages of the instance that is to run, and the release
    that the pillar means is not one that was given up. Timers whose last run failed are named.
    """
    hold, instance = deployment.hold, deployment.target
    if instance is None:
        return Outcome({}, "The new release would be looked at.")
    # In test mode, a run has put right by then what is wrong now.
    wrong = [] if deployment.test else _strays(deployment, instance)
    if wrong:
        raise StepError("\n".join(wrong))
    if hold and hold["kind"] == django_hold.FAILED:
        raise StepError(django_hold.sentence(hold))
    said = f"Every process runs from instance {instance}."
    if deployment.static_only:
        said = f"Static files of instance {instance} are served, and nothing of it runs."
    warnings = [django_hold.sentence(hold)] if hold else []
    warnings += django_timers.complaints(deployment.project["timers"], deployment.layout.log)
    return Outcome({}, said, tuple(warnings))


def _strays(deployment, instance):
    """What the instance's programs run that is not its own code or packages (list of str)."""
    layout = deployment.layout
    record = layout.instance_record(instance)
    own = {str(layout.release(record["release"])), record["venv"]}
    programs = deployment.manager.programs()
    table = django_running.table()
    found = []
    for process in deployment.definitions_of(instance):
        name = django_process.program_name(deployment.name, process, instance)
        program = programs.get(name, {})
        pids = program.get("pids") or [program.get("pid")]
        if not program.get("pid") or pids[0] not in table:
            found.append(f"{name} does not run")
            continue
        for pid in [pid for pid in pids if pid in table]:
            found += _strays_of(deployment, name, pid, table, own)
    if found:
        found.append(
            "A run starts what does not run; what runs from elsewhere is exchanged by: "
            f"salt-call django.restart {deployment.name}"
        )
    return found


def _strays_of(deployment, name, pid, table, own):
    found = []
    for number in sorted(django_running.descendants(table, pid)):
        where = table[number].directory
        if where.endswith(" (deleted)"):
            found.append(f"process {number} of {name} runs in {where}, which is gone")
    used = [
        table[pid].directory,
        *table[pid].argv,
        *django_running.search_path(pid),
        *django_running.mapped(pid, deployment.layout.venvs),
    ]
    strange = {_part_of(deployment, path) for path in used} - own - {None}
    return found + [f"{name} (process {pid}) uses {path}" for path in sorted(strange)]


def _part_of(deployment, path):
    """The release or virtual environment (str) of the project that ``path`` is in, or None."""
    for folder in (str(deployment.layout.releases), str(deployment.layout.venvs)):
        if path.startswith(f"{folder}/"):
            return f"{folder}/{path[len(folder) + 1 :].partition('/')[0]}"
    return None
