"""The step that looks at what really runs once all is said to be done."""

import django_hold
import django_process
import django_running
from django_deployment import Outcome, StepError


def verify(deployment):
    """
    The live processes run the code and the packages of the instance that is to run, and the release
    that the pillar means is not one that was given up.
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
    if hold:
        return Outcome({}, django_hold.sentence(hold))
    return Outcome({}, f"Every process runs from instance {instance}.")


def _strays(deployment, instance):
    """Processes (list of str) of the instance's programs that run other code than its own."""
    record = deployment.layout.instance_record(instance)
    release = str(deployment.layout.release(record["release"]))
    programs = deployment.manager.programs()
    table = django_running.table()
    found = []
    for process, definition in deployment.definitions_of(instance).items():
        name = django_process.program_name(deployment.name, process, instance)
        pid = programs.get(name, {}).get("pid")
        if not pid or pid not in table:
            found.append(f"{name} does not run")
            continue
        for number in sorted(django_running.descendants(table, pid)):
            where = table[number].directory
            if where.endswith(" (deleted)"):
                found.append(f"process {number} of {name} runs in {where}")
        main = table[pid]
        if definition["directory"].startswith(release) and not _runs(main, record["venv"]):
            found.append(f"{name} (process {pid}) does not run a program of {record['venv']}")
    return found


def _runs(process, venv):
    """Whether a process was started from ``venv``, or is another program than Python."""
    python = any(word.rpartition("/")[2].startswith("python") for word in process.argv[:1])
    return not python or any(word.startswith(f"{venv}/") for word in process.argv)
