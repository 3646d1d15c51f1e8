"""Checks of what runs inside of Apache; see :mod:`django_checks`."""

import re

import django_mod_wsgi

# An option of WSGIDaemonProcess, and those that the formula works out.
_WORD = re.compile(r"[a-z]+(-[a-z]+)*=[A-Za-z0-9._:/,-]+")
OWN_OPTION = re.compile(
    r"(display-name|user|group|processes|threads|python-home|home|chroot|umask|script-user|lang"
    r"|locale|graceful-timeout|shutdown-timeout|request-timeout|maximum-requests|socket-timeout"
    r"|socket-user|listen-backlog|server-metrics)="
)


def mod_wsgi(project):
    """What mod_wsgi cannot do, or does in another way."""
    app = project["app"]
    if app["asgi"]:
        yield "app:asgi", "expected false beside server: mod_wsgi, which runs WSGI; Gunicorn can"
    if app["worker_class"]:
        yield "app:worker_class", "expected only beside server: gunicorn"
    if app["preload"]:
        yield "app:preload", "expected false beside server: mod_wsgi, which always loads at once"
    if project["web"]["websocket"]:
        yield "web:websocket", "expected false beside server: mod_wsgi"
    if project["web"]["server"] == "nginx":
        yield "web:server", "expected apache, since mod_wsgi is a part of it"
    for location, entry in project["web"]["locations"].items():
        if entry["application"] and entry["read_timeout"]:
            key = f"web:locations:{location}:read_timeout"
            yield key, "expected only for another server than mod_wsgi (see web:read_timeout)"
    if app["mode"] == "embedded":
        yield from _embedded(project)
    for index, option in enumerate(app["options"]):
        if not _WORD.fullmatch(option):
            text = "expected an option of WSGIDaemonProcess without a reference, such as"
            yield f"app:options:{index}", f"{text} queue-timeout=30"


def _embedded(project):
    """What there is not in Apache's own processes."""
    text = "expected nothing with mode: embedded, where the project has the rights of www-data"
    for key in ("user", "uid"):
        if project[key]:
            yield key, text
    text = "expected nothing with mode: embedded, where Apache's own processes run the project"
    for key, instead in (
        ("workers", "apache:max_request_workers"),
        ("max_requests", "apache:settings:MaxConnectionsPerChild"),
        ("options", "apache:settings"),
    ):
        if project["app"][key]:
            yield f"app:{key}", f"{text} (see django:{instead})"


def alone(projects):
    """A project in Apache's own processes is the only one of its hosts."""
    for name, project in projects.items():
        others = ", ".join(sorted({*projects} - {name}))
        if others and django_mod_wsgi.embeds(project["app"]):
            yield (
                name,
                "app:mode",
                f"expected daemon beside other projects ({others}): WSGIPythonHome is one for the"
                " whole Apache, whose processes would have the rights to what belongs to them",
            )


def interpreters(projects, version):
    """mod_wsgi has the system's Python in it. version: that of the system, such as 3.11."""
    same = {
        "python3",
        version,
        *(f"{path}python{n}" for path in ("", "/usr/bin/") for n in ("3", version)),
    }
    for name, project in projects.items():
        wanted = project["python"]["interpreter"]
        if project["app"]["server"] == "mod_wsgi" and wanted not in same:
            yield (
                name,
                "python:interpreter",
                f"expected {version} or python3 beside app:server mod_wsgi, which this system has"
                f" for that Python alone; gunicorn and uwsgi run {wanted}",
            )
