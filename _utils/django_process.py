"""
The processes of a project as data: what is run, how it is stopped and where it logs.

A definition is a dict of supervisord's own option names, which both process managers understand:
``command`` (list of str), ``directory``, ``user``, ``startsecs``, ``stopsignal`` and so on. No
definition holds a secret: the launcher reads the environment from the instance's file.
"""

import re
import shlex

import django_mod_wsgi
import django_queue
import django_references
import django_uwsgi

LAUNCHER = "/usr/local/lib/django-formula/with-environment"
GUNICORN_CONFIG = "gunicorn.conf.py"  # in the folder of the instance
CLOSING_SECONDS = 5  # for closing websockets, as Gunicorn's configuration has it
_PROGRAM = re.compile(
    r"(?P<project>[^.]+)\.(?P<process>[^.]+)\.(?P<instance>[0-9a-f]{12}-[0-9a-f]{12})"
)


def program_name(project, process, instance):
    """Name (str) of an instance's process in its process manager; no project's name has a dot."""
    return f"{project}.{process}.{instance}"


def parse_program(program, project):
    """``(process, instance)`` of a program of ``project``; None for a stranger."""
    match = _PROGRAM.fullmatch(program)
    return match.group("process", "instance") if match and match["project"] == project else None


def manage_argv(manage, venv, source):
    """
    The command line (list of str) that every management command of a project begins with.

    manage
        ``{kind: file|script|module, value: …}``.
    venv, source
        The release's virtual environment and project folder.
    """
    if manage["kind"] == "script":
        return [f"{venv}/bin/{manage['value']}"]
    if manage["kind"] == "module":
        return [f"{venv}/bin/python", "-m", manage["value"]]
    return [f"{venv}/bin/python", f"{source}/{manage['value']}"]


def command_argv(spec, project, names):
    """
    The command line of a ``{command: …}`` or ``{manage: …}`` entry of the pillar, references
    expanded. A text is split as a shell would, and no shell runs it.
    """
    key = "manage" if spec.get("manage") else "command"
    words = spec[key] if isinstance(spec[key], list) else shlex.split(spec[key])
    words = [django_references.expand_text(word, names) for word in words]
    if key == "command":
        return words
    return [*manage_argv(project["manage"], names["path.venv"], names["path.project"]), *words]


def process_argv(spec, project, names, process, number):
    """The command line (list of str) of the ``number``-th of a project's other processes."""
    if django_queue.kind(spec) is None:
        return command_argv(spec, project, names)
    manage = manage_argv(project["manage"], names["path.venv"], names["path.project"])
    several = number if spec["count"] > 1 else None
    return django_queue.argv(spec, manage, names, process, several)


def gunicorn_argv(app, module, names, folder):
    """
    Gunicorn's command line.

    app
        The project's resolved ``app`` settings.
    module
        The WSGI (or ASGI) callable, such as ``shop.wsgi:application``.
    folder
        The instance's folder, which has Gunicorn's configuration file.
    """
    argv = [
        f"{names['path.venv']}/bin/gunicorn",
        f"--config={folder}/{GUNICORN_CONFIG}",
        f"--bind=unix:{names['socket']}",
        f"--chdir={names['path.project']}",
        f"--name={names['project']}",
        f"--workers={app['workers']}",
        f"--worker-class={app['worker_class']}",
        f"--threads={app['threads']}",
        f"--timeout={app['timeout']}",
        f"--graceful-timeout={_graceful_seconds(app)}",
        "--worker-tmp-dir=/dev/shm",  # a heartbeat file must not wait for a disk
        "--umask=7",
        "--error-logfile=-",
        "--no-control-socket",
    ]
    if app.get("max_requests"):
        argv += [
            f"--max-requests={app['max_requests']}",
            f"--max-requests-jitter={app['max_requests'] // 10}",
        ]
    if app.get("preload"):
        argv.append("--preload")
    argv += [django_references.expand_text(option, names) for option in app["options"]]
    return [*argv, module]


def _graceful_seconds(app):
    """How long (s) an application server may take to stop by itself."""
    return app["graceful_timeout"] + (CLOSING_SECONDS if app["asgi"] else 0)


def environments(project):
    """
    Processes and timers that have variables of their own: ``{label: variables}`` with references.
    Their environment is a file of its own, see :func:`environment_file`.
    """
    found = {"web": project["app"]["environment"]}
    found.update({name: spec["environment"] for name, spec in project["processes"].items()})
    found.update({f"timer-{name}": spec["environment"] for name, spec in project["timers"].items()})
    return {label: variables for label, variables in found.items() if variables}


def environment_file(folder, project, label):
    """Path (str) of the environment that ``label`` reads in the instance's ``folder``."""
    return f"{folder}/environment" + (f".{label}" if label in environments(project) else "")


def definitions(project, record, names, folder):
    """
    Every long-running process of an instance: ``{process name: definition}``; ``web`` first. None
    on a host that serves static files alone.

    project
        Resolved project.
    record
        The release's record: ``wsgi`` is its entry point when pillar names none.
    names
        The instance's namespace for references.
    folder
        The instance's folder, with its environment.
    """
    if project["static_only"]:
        return {}
    found = {"web": _web(project, record, names, folder)}
    for name, spec in project["processes"].items():
        directory = f"{names['path.project']}/{spec['directory'] or ''}".rstrip("/")
        for number in range(1, spec["count"] + 1):
            label = name if spec["count"] == 1 else f"{name}_{number}"
            argv = process_argv(spec, project, names, name, number)
            found[label] = {
                **_common(project),
                "command": [LAUNCHER, environment_file(folder, project, name), *argv],
                "directory": directory,
                "startsecs": spec["start_seconds"],
                "stopsignal": spec["stop_signal"],
                "stopwaitsecs": spec["stop_timeout"],
                "stopasgroup": spec["stop_group"],
                "stdout_logfile": f"{names['path.log']}/{label}.log",
            }
    return found


def _common(project):
    return {
        "user": project["user"],
        "autostart": True,
        "autorestart": True,
        "startretries": 10,  # about a minute: after a power cut the database may come up later
        "redirect_stderr": True,
        "stdout_logfile_maxbytes": 0,
        "stdout_logfile_backups": 0,
        "stopasgroup": False,
        "killasgroup": True,
        "umask": "027",
    }


def _web(project, record, names, folder):
    app = project["app"]
    environment = environment_file(folder, project, "web")
    module = app["module"] or record.get("wsgi") or ""
    module = module if ":" in module else f"{module}:application"
    stop = _graceful_seconds(app) + 5
    if app["server"] == "mod_wsgi":
        settings = project["settings"] or record.get("settings") or ""
        return {
            "embedded" if django_mod_wsgi.embeds(app) else "mod_wsgi": django_mod_wsgi.entry(
                project, module, settings, names, environment
            ),
            "stopwaitsecs": stop,
            "stdout_logfile": django_mod_wsgi.LOG.format(project["name"]),
        }
    if app["server"] == "command":
        argv = command_argv(app, project, names)
    elif app["server"] == "uwsgi":
        argv = django_uwsgi.argv(app, module, names, project["web"]["server"])
    else:
        argv = gunicorn_argv(app, module, names, folder)
    return {
        **_common(project),
        "command": [LAUNCHER, environment, *argv],
        "directory": names["path.project"],
        "startsecs": 1,
        "stopsignal": "TERM",
        "stopwaitsecs": stop,
        "stdout_logfile": f"{names['path.log']}/web.log",
        # The socket's folder gives it the web server's group, which must be able to connect.
        "umask": "007",
    }
