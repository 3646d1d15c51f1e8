"""
A project in Apache by mod_wsgi: two *slots*, each a group of daemon processes that Apache keeps.
One serves, the other waits empty for the next instance. A switch is the same rename of a link as
with other servers, and Apache is neither reloaded nor told: a reload would end all such processes.

What a slot runs is said by its folder, which its processes look at when they start.
"""

import os
import pathlib

SLOTS = ("a", "b")
ENTRY = "entry.json"  # in a slot's folder: what its processes are to run; without it, nothing
MARK = "slot-"  # beginning of the name of the file by which Apache knows a slot's folder
IDLE_VENV = "/opt/django-formula/uv"  # any environment will do for processes that run nothing
SCRIPT = "/usr/local/lib/django-formula/mod-wsgi.py"  # the entry point
EMBEDDED_USER = "www-data"  # whose rights a project has in Apache's own processes
PID_FILE = pathlib.Path("/run/apache2/apache2.pid")
LOG = "/var/log/apache2/{}.error.log"  # where Apache writes what a project's processes say
QUEUE_SECONDS = 45  # that a request waits for a thread
START_SECONDS = 15  # that Apache tries to reach processes which are just being exchanged


def group(project, slot):
    """Name (str) of a slot's group of processes in Apache; no project's name has a dot."""
    return f"{project}.{slot}"


def title(project, slot):
    """What a slot's processes are called (str); Apache cuts it off after a few characters."""
    return f"{slot}:{project}"


def daemon(project, slot):
    """
    The group of processes of a slot, as Apache is told of it (list of str).

    project
        Resolved project.
    """
    app, folder = project["app"], f"{project['paths']['slots']}/{slot}"
    words = [
        group(project["name"], slot),
        f"display-name={title(project['name'], slot)}",
        f"user={project['user']}",
        f"group={project['group']}",
        f"processes={app['workers']}",
        f"threads={app['threads']}",
        f"python-home={folder}/venv",
        f"home={folder}/home",
        "lang=C.UTF-8",
        "locale=C.UTF-8",
        "umask=0007",
        "listen-backlog=1024",
        f"connect-timeout={START_SECONDS}",
        f"queue-timeout={QUEUE_SECONDS}",
        f"socket-timeout={project['web']['read_timeout']}",
        f"graceful-timeout={app['graceful_timeout']}",
        f"shutdown-timeout={max(app['graceful_timeout'], 1)}",
    ]
    if app["timeout"]:
        words.append(f"request-timeout={app['timeout']}")
    if app["max_requests"]:
        words.append(f"maximum-requests={app['max_requests']}")
    return [*words, *(app["options"] if app["server"] == "mod_wsgi" else [])]


def entry(project, module, settings, names, environment):
    """
    What a slot's processes are to run (dict), see ``mod-wsgi.py``.

    module
        The WSGI callable, such as ``shop.wsgi:application``.
    settings
        The settings module that must be the one in use (str).
    names
        The instance's namespace for references.
    environment
        Path of the file with the environment of the instance.
    """
    return {
        "environment": environment,
        "directory": names["path.project"],
        "venv": names["path.venv"],
        "module": module,
        "settings": settings,
        "run": project["paths"]["run"],
    }


def is_spoken(definition):
    """Whether the process that ``definition`` describes is one of a slot."""
    return "mod_wsgi" in definition


def is_embedded(definition):
    """Whether ``definition`` describes what Apache runs in its own processes."""
    return "embedded" in definition


def embeds(app):
    """Whether a project, by its ``app`` settings, runs in Apache's own processes."""
    return app["server"] == "mod_wsgi" and app["mode"] == "embedded"


def pid_in(path):
    """The number (int) in a file, 0 without one or when no such process is there."""
    try:
        pid = int(pathlib.Path(path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0
    return pid if os.path.isdir(f"/proc/{pid}") else 0


def main_process():
    """Number (int) of Apache's first process, 0 when it does not run."""
    return pid_in(PID_FILE)


def failure(name, instance, run):
    """
    Why an instance does not run in Apache (str), or None when it runs or is about to.

    name
        The program's.
    run
        Folder (Path) in which the entry point leaves its marks.
    """
    if not main_process():
        return "Apache does not run"
    if os.path.lexists(run / f"web-{instance}.failed"):
        return f"{name} does not load"
    return None
