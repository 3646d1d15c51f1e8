"""A project's programs in its process manager: whose they are, how they start, what they logged."""

import os
import time

import django_layout
import django_process
from django_deployment import StepError

START_PATIENCE = 10  # seconds beyond a program's own startsecs
STARTING = ("STARTING", "start", "activating")  # as supervisord and systemd say it
_STOP_SECONDS = 60  # of a program whose instance has no record any more


def parsed(deployment, program):
    """``(process, instance)`` of a program; ``(None, None)`` when it is not the project's."""
    return django_process.parse_program(program, deployment.name) or (None, None)


def stop_seconds(deployment, program):
    """How long a program may take to end, as its own instance was told."""
    process, instance = parsed(deployment, program)
    definitions = deployment.layout.instance_record(instance).get("definitions", {})
    return definitions.get(process, {}).get("stopwaitsecs", _STOP_SECONDS)


def start(deployment, name, definition):
    """Start a program and wait until it is up; a StepError has its last lines."""
    before = claim_log(deployment, definition)
    there = deployment.manager.programs().get(name, {})
    if there.get("leaving") and not there["running"]:
        deployment.manager.stop(name, stop_seconds(deployment, name))
    try:
        deployment.manager.start(name, definition)
    except StepError as error:
        raise StepError(deployment.redact(told(str(error), definition, before))) from None
    deadline = time.monotonic() + definition["startsecs"] + START_PATIENCE
    while True:
        program = deployment.manager.programs().get(name, {})
        failure = deployment.manager.failure(name)
        if program.get("running") and failure is None:
            return
        if failure or time.monotonic() > deadline:
            reason = failure or f"{name} does not run: {program.get('state')}"
            raise StepError(deployment.redact(told(reason, definition, before)))
        time.sleep(0.2)


def settled(deployment, name, seconds):
    """The project's programs, once one that its manager is just starting has come up or not."""
    deadline = time.monotonic() + seconds
    while True:
        programs = deployment.manager.programs()
        if programs.get(name, {}).get("state") not in STARTING or time.monotonic() > deadline:
            return programs
        time.sleep(0.1)


def claim_log(deployment, definition):
    """Make a program's log ready; returns its size (bytes)."""
    django_layout.claim_log(definition["stdout_logfile"], deployment.gid)
    return os.path.getsize(definition["stdout_logfile"])


def told(reason, definition, start=0):
    """
    Why a program does not run (str), with what it said in its log since the byte ``start``; that
    comes once, though its manager may have quoted the log too, from before.
    """
    said = log_tail(definition, start)
    first = reason.partition("\n")[0]
    if said and first.endswith(f"{definition['stdout_logfile']}:"):
        reason = first
    return f"{reason}\n{said}".rstrip()


def log_tail(definition, start=0):
    """The last lines of a program's log, from the byte ``start`` on."""
    try:
        with open(definition["stdout_logfile"], encoding="utf-8", errors="replace") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(max(start if start <= size else 0, size - 4096))
            return "\n".join(stream.read().splitlines()[-15:])
    except OSError:
        return ""
