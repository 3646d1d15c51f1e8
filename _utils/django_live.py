"""
Command lines and paths outside of releases: timers, django-manage and locations in Nginx. They
refer to the live release by its links, so that they stay as they are, and right, over every switch.
"""

import shlex

import django_namespace
import django_process
import django_references

RUN_TIMER = "/usr/local/lib/django-formula/run-timer"


def describe(project, host):
    """
    What files outside of releases need to know of a project: ``{directory, environment, manage
    (list of str), timers, locations}``.

    project
        Resolved project.
    host
        What the configuration says of this host.
    """
    live = names(project, host)
    environment = f"{project['paths']['root']}/live"
    return {
        "directory": live["path.project"],
        "environment": f"{environment}/environment",
        "manage": django_process.manage_argv(
            project["manage"], live["path.venv"], live["path.project"]
        ),
        "timers": timers(project, live, environment),
        "locations": locations(project, live),
    }


def names(project, host):
    """
    The namespace for references, with the links in place of what a switch changes. The ids of
    release and instance cannot be known here; they are the names of the links.
    """
    paths = project["paths"]
    found = django_namespace.namespace(
        project,
        host,
        {},
        release="current",
        venv=f"{paths['current']}/venv",
        instance="live",
        socket=paths["socket"],
    )
    folder = f"{paths['releases']}/current"
    return {
        name: value.replace(folder, paths["current"]) if isinstance(value, str) else value
        for name, value in found.items()
    }


def timers(project, live, folder):
    """Lines of cron: ``[{name, schedule, command}]``, the command quoted for cron and its shell."""
    lines = []
    for name, timer in project["timers"].items():
        argv = [
            RUN_TIMER,
            project["name"],
            name,
            str(timer["timeout"]),
            django_process.environment_file(folder, project, f"timer-{name}"),
            live["path.project"],
            *django_process.command_argv(timer, project, live),
        ]
        command = shlex.join(argv).replace("%", "\\%")
        lines.append({"name": name, "schedule": timer["schedule"], "command": command})
    return lines


def locations(project, live):
    """
    The pillar's locations with their references replaced. ``@{path.static}`` is where static files
    are published, since the folder that a release collects into is not for the web server.
    """
    published = {**live, "path.static": project["paths"]["static"]}
    return {
        path: django_references.expand(location, published)
        for path, location in project["web"]["locations"].items()
    }
