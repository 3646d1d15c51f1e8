"""What operators do to a project that runs: restart it without a gap, scale it for an hour."""

import itertools
import os
import signal
import time

import django_host_files
import django_process
import django_programs
import django_running
import django_step_build
import django_step_check
import django_step_migrate
import django_step_pages
import django_step_processes
import django_step_prune
import django_step_switch
import django_step_verify
from django_deployment import StepError

SCALE_SECONDS = 30
MOST_WORKERS, MOST_PROCESSES = 1024, 256  # as the pillar has it
# What makes a release ready to be looked at, and touches nothing that serves.
PREPARE = (
    django_step_build.fetch,
    django_step_build.install,
    django_step_build.build,
    django_step_build.configure,
    django_step_check.check,
)
EXCHANGE = (
    django_step_build.configure,
    django_step_check.check,
    django_step_migrate.migrate,
    django_step_switch.go_live,
    django_step_processes.run_processes,
    django_step_verify.verify,
    django_step_migrate.migrate_after,
    django_step_prune.prune,
    django_step_pages.purge,
)


def prepare(deployment):
    """Build what the pillar means; the live instance keeps its files on the host."""
    live = deployment.layout.live_instance()
    try:
        for step in PREPARE:
            step(deployment)
    finally:
        if live:
            django_host_files.restore(deployment, live)
    return deployment.instance


def keep_release(deployment):
    """
    Let the release that serves be the wanted one, whatever its source has got since. A StepError
    where the pillar means another one.
    """
    live = deployment.layout.live_release()
    deployment.keep_revision()
    if deployment.release_id != live or deployment.instance is None:
        raise StepError(
            f"The pillar means another release than {live}, which serves, or that is not whole. "
            "Nothing was restarted: salt-call state.apply brings what the pillar means, by new "
            "processes."
        )


def programs_of(deployment, process):
    """The live programs (dict of definitions by name) of a process that the pillar names."""
    live = deployment.layout.live_instance()
    definitions = deployment.layout.instance_record(live).get("definitions", {}) if live else {}
    labels = [label for label in definitions if _is_of(process, label)]
    if not labels:
        known = ", ".join(sorted(definitions)) or "none"
        raise StepError(f"{deployment.name} runs no process {process!r}; it runs: {known}")
    return {
        django_process.program_name(deployment.name, label, live): definitions[label]
        for label in labels
    }


def _is_of(process, label):
    """Whether a program's label is that of a process, or of one of its several."""
    name, _, number = label.rpartition("_")
    return label == process or (name == process and number.isdecimal())


def restart_programs(deployment, programs):
    """Stop programs, let them finish their work, and start them again."""
    for name, definition in programs.items():
        deployment.manager.stop(name, definition["stopwaitsecs"])
        django_programs.start(deployment, name, definition)


def scale_web(deployment, count):
    """
    Let a running Gunicorn have ``count`` workers. Returns the old and the new number.

    Source: https://docs.gunicorn.org/en/stable/signals.html (TTIN, TTOU).
    """
    _no_more_than(MOST_WORKERS, count)
    ((name, definition),) = programs_of(deployment, "web").items()
    # What serves may be another server than the pillar's; the signals would stop most others.
    if not any(word.endswith("/bin/gunicorn") for word in definition.get("command", [])):
        raise StepError("only Gunicorn's workers can be scaled; change app:workers in the pillar")
    pid = deployment.manager.programs().get(name, {}).get("pid")
    if not pid:
        raise StepError(f"{name} does not run")
    old = _workers(pid)
    for _ in range(abs(count - old)):
        os.kill(pid, signal.SIGTTIN if count > old else signal.SIGTTOU)
        time.sleep(0.1)  # signals of a kind that arrive together are one
    deadline = time.monotonic() + SCALE_SECONDS
    while _workers(pid) != count:
        if time.monotonic() > deadline:
            raise StepError(f"{name} has {_workers(pid)} workers after {SCALE_SECONDS} s")
        time.sleep(0.2)
    return old, count


def _no_more_than(most, count):
    if count > most:
        raise StepError(f"count: expected at most {most}, got {count}")


def _workers(pid):
    return sum(1 for process in django_running.table().values() if process.parent == pid)


def scale_process(deployment, process, count):
    """Run ``count`` of a process; returns the programs that were started and stopped (lists)."""
    _no_more_than(MOST_PROCESSES, count)
    spec = deployment.project["processes"].get(process)
    if spec and spec["single"] and count > 1:
        raise StepError(f"{process} is single: there must never be more than one")
    like, definition = next(iter(programs_of(deployment, process).items()))
    label, live = django_programs.parsed(deployment, like)
    programs = deployment.manager.programs()
    running = sorted(
        name
        for name, program in programs.items()
        if not program["leaving"] and _runs(deployment, name, process, live)
    )
    started, stopped = [], running[count:]
    for number in itertools.count(1):
        if len(running) + len(started) >= count:
            break
        own = f"{process}_{number}"
        name = django_process.program_name(deployment.name, own, live)
        if name not in programs:
            log = definition["stdout_logfile"].replace(f"/{label}.log", f"/{own}.log")
            django_programs.start(deployment, name, {**definition, "stdout_logfile": log})
            started.append(name)
    for name in stopped:
        deployment.manager.dismiss(name)
    return started, stopped


def _runs(deployment, name, process, instance):
    """Whether a program is one of a process, of an instance."""
    label, of = django_programs.parsed(deployment, name)
    return of == instance and _is_of(process, label)
