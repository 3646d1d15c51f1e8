"""The Apache of a host: its settings and its sites."""

import django_mod_wsgi
import django_tuning

THREADS = 64  # of a process
EMBEDDED_WORKERS = 128  # requests at a time where a project runs in Apache's own processes
NEEDING_RESTART = ("ServerLimit", "ThreadLimit")
SPARE_PROCESSES = 4  # room for old processes that finish their requests after a reload


def front(project):
    """The front door (str) that a project's pillar asks for."""
    is_inside = project["app"]["server"] == "mod_wsgi"
    return project["web"]["server"] or ("apache" if is_inside else "nginx")


def sizes(given, host, embeds):
    """
    How many processes of how many threads (dict) work on requests.

    given
        The pillar's part.
    embeds
        Whether a project runs in them, so that each thread may need memory and a database for it.
    """
    usual = EMBEDDED_WORKERS if embeds else django_tuning.request_workers(host["memory"])
    workers = given["max_request_workers"] or usual
    return {"workers": -(-workers // THREADS), "threads": THREADS}


def configuration(fleet, host, projects, system):
    """What Apache's files say (dict). system: data of the operating system."""
    given = fleet["apache"]
    embeds = any(django_mod_wsgi.embeds(project["app"]) for project in projects.values())
    processes = sizes(given, host, embeds)["workers"]
    settings = {
        "ThreadLimit": THREADS,
        "ThreadsPerChild": THREADS,
        "MaxRequestWorkers": processes * THREADS,
        "ServerLimit": 2 * processes + SPARE_PROCESSES,
        "StartServers": min(host["cores"], processes),
        "MinSpareThreads": THREADS // 2,
        # A process that is let go closes connections that a browser may just use again.
        "MaxSpareThreads": processes * THREADS,
    }
    settings.update(given["settings"])
    return {
        "user": system["apache"]["user"],
        "group": system["apache"]["group"],
        "port": given["port"],
        "tls_port": given["tls_port"],
        "probe_port": given["probe_port"],
        "access_log": given["access_log"],
        "needing_restart": sorted(NEEDING_RESTART),
        "settings": {key: _as_text(value) for key, value in sorted(settings.items())},
        "sites": sorted(projects),
        "names": {name: _names(projects[name]) for name in sorted(projects)},
        "daemons": {name: _daemons(projects[name]) for name in sorted(projects)},
    }


def _daemons(project):
    """Groups of processes that a project has in Apache while it runs by mod_wsgi, by slot."""
    if django_mod_wsgi.embeds(project["app"]):
        return {}
    return {slot: " ".join(django_mod_wsgi.daemon(project, slot)) for slot in django_mod_wsgi.SLOTS}


def _names(project):
    """A project's hosts as Apache has them; the first is one without a pattern."""
    names = []
    for host in project["allowed_hosts"]:
        names += [host[1:], f"*{host}"] if host.startswith(".") else [host]
    return names


def _as_text(value):
    return {True: "On", False: "Off"}.get(value, value) if isinstance(value, bool) else value
