"""What operators do to a project that runs: restart it without a gap, scale it for an hour."""

import os
import signal
import time

import django_layout
import django_process
import django_programs
import django_running
import django_step_build
import django_step_check
import django_step_processes
import django_step_switch
import django_step_verify
from django_deployment import StepError

SCALE_SECONDS = 30
EXCHANGE = (
    django_step_build.configure,
    django_step_check.check,
    django_step_switch.go_live,
    django_step_processes.run_processes,
    django_step_verify.verify,
)


def next_generation(deployment):
    """Let the wanted instance be another one than before, though nothing of it has changed."""
    path = deployment.layout.restarts
    count = django_layout.read_json(path).get("count", 0) + 1
    django_layout.write_json(path, {"count": count})


def programs_of(deployment, process):
    """The live programs (dict of definitions by name) of a process that the pillar names."""
    live = deployment.layout.live_instance()
    definitions = deployment.layout.instance_record(live).get("definitions", {}) if live else {}
    labels = [
        label for label in definitions if label in (process, *_numbered(process, definitions))
    ]
    if not labels:
        known = ", ".join(sorted(definitions)) or "none"
        raise StepError(f"{deployment.name} runs no process {process!r}; it runs: {known}")
    return {
        django_process.program_name(deployment.name, label, live): definitions[label]
        for label in labels
    }


def _numbered(process, labels):
    return [label for label in labels if label.rpartition("_")[0] == process]


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
    if deployment.project["app"]["server"] != "gunicorn":
        raise StepError("only Gunicorn's workers can be scaled; change app:workers in the pillar")
    (name,) = programs_of(deployment, "web")
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


def _workers(pid):
    return sum(1 for process in django_running.table().values() if process.parent == pid)


def scale_process(deployment, process, count):
    """Run ``count`` of a process; returns the programs that were started and stopped (lists)."""
    there = programs_of(deployment, process)
    live = deployment.layout.live_instance()
    programs = deployment.manager.programs()
    running = [
        name
        for name, program in programs.items()
        if not program["leaving"]
        and django_programs.parsed(deployment, name)[1] == live
        and django_programs.parsed(deployment, name)[0]
        in (process, *_numbered(process, [django_programs.parsed(deployment, name)[0]]))
    ]
    spec = deployment.project["processes"].get(process)
    if spec and spec["single"] and count > 1:
        raise StepError(f"{process} is single: there must never be more than one")
    pattern_name, pattern = next(iter(there.items()))
    label = django_programs.parsed(deployment, pattern_name)[0]
    free = (
        django_process.program_name(deployment.name, f"{process}_{number}", live)
        for number in range(1, 10_000)
    )
    started, stopped = [], []
    while len(running) < count:
        name = next(name for name in free if name not in programs)
        own = f"{process}_{name.split('.')[1].rpartition('_')[2]}"
        log = pattern["stdout_logfile"].replace(f"/{label}.log", f"/{own}.log")
        django_programs.start(deployment, name, {**pattern, "stdout_logfile": log})
        running.append(name)
        started.append(name)
    for name in sorted(running)[count:]:
        deployment.manager.dismiss(name)
        stopped.append(name)
    return started, stopped
