"""Processes of a project: web processes, other programs, tasks of a release, timers."""

import django_cron
import django_project_environment
import django_queue
import django_tuning


def app(given, host, count):
    """The web processes (dict). count: projects that share the host."""
    app = {key: value for key, value in given["app"].items() if key not in ("env", "asgi")}
    worker_class = "uvicorn_worker.UvicornWorker" if given["app"]["asgi"] else "gthread"
    app["asgi"] = given["app"]["asgi"]
    app["module"] = app["module"] or _module(given)
    if app["server"] not in ("uwsgi", "mod_wsgi"):
        app["worker_class"] = app["worker_class"] or worker_class
    if not app["workers"]:
        shared = bool({"database", "cache"} & set(host["roles"]))
        app["workers"] = django_tuning.workers(host["cores"], host["memory"], count, shared)
    app["environment"] = django_project_environment.variables(given["app"]["env"])
    return app


def _module(given):
    """The entry point beside the settings module, or None where the source has to be asked."""
    parts = (given["settings"] or "settings").split(".")
    if parts[0] == "settings":
        return None
    package = parts[: parts.index("settings")] if "settings" in parts else parts[:1]
    return ".".join([*package, "asgi" if given["app"]["asgi"] else "wsgi"])


def task(given):
    """A task of a release (dict)."""
    task = _compact(given, "command", "manage", "unless")
    task["environment"] = django_project_environment.variables(task.pop("env"))
    return task


def process(given, host):
    """A long-running process (dict). host: its cores say how many jobs a worker does at a time."""
    process = _compact(given, "command", "manage", *django_queue.KINDS)
    kind = django_queue.kind(process)
    if process["single"] is None:
        process["single"] = django_queue.is_single(process)
    if process["stop_timeout"] is None:
        is_worker = kind in django_queue.WORKERS
        process["stop_timeout"] = (
            django_queue.WORKER_STOP_SECONDS if is_worker else django_queue.STOP_SECONDS
        )
    if kind == "celery":
        worker = dict(process["celery"])
        if not worker["autoscale"]:
            worker["concurrency"] = worker["concurrency"] or (
                1 if worker["pool"] == "solo" else host["cores"]
            )
        process["celery"] = worker
    process["environment"] = django_project_environment.variables(process.pop("env"))
    if kind == "flower":
        login = {"FLOWER_BASIC_AUTH": django_queue.flower_login(process["flower"])}
        process["environment"] = {**login, **process["environment"]}
    return process


def timer(name, given):
    """A command run by the clock (dict); the name decides the minute of a schedule in words."""
    timer = _compact(given, "command", "manage")
    every, schedule = timer.pop("every"), timer.pop("schedule")
    timer["schedule"] = django_cron.every(every) if every else django_cron.expand(schedule, name)
    timer["environment"] = django_project_environment.variables(timer.pop("env"))
    return timer


def _compact(entry, *optional):
    """A copy without those of the optional keys that are not given."""
    return {key: value for key, value in entry.items() if value is not None or key not in optional}
