"""The Nginx of a host, as its front door or as a balancer: its settings and its sites."""

FRONT_DOOR = "salt://django/web/files/etc/nginx/django.d/project.conf.j2"
STATIC = "salt://django/web/files/etc/nginx/django.d/static.conf.j2"
BALANCER = "salt://django/balancer/files/etc/nginx/django.d/project.conf.j2"


def static_name(project):
    """Name (str) of the site for a project's static files alone; no project's name has a dot."""
    return f"{project}.static"


def configuration(fleet, host, projects, system):
    """
    What Nginx's files say (dict) of a front door.

    system
        Data of the operating system.

    ``sites`` are by the projects' names, with ``.static`` after those for static files alone: dicts
    of ``project``, ``source`` (a template), ``tls`` (``certificate`` and ``key``, or empty) and
    ``cache``, whether Varnish stands behind it.
    """
    sites = {}
    for name, project in sorted(projects.items()):
        if "web" in host["roles"]:
            web = project["web"]
            sites[name] = _site(name, FRONT_DOOR, web["tls"], bool(web["cache"]))
        if "static" in host["roles"] and project["static_site"]:
            sites[static_name(name)] = _site(name, STATIC, project["static_site"]["tls"], False)
    given = fleet["nginx"]
    return _nginx(given, host, system, sites, given["port"], given["tls_port"])


def balancer(fleet, host, pool, system):
    """
    The same of a balancer.

    pool
        What it has to know of the projects, see :mod:`django_server_haproxy`.
    """
    sites = {
        each["name"]: _site(each["name"], BALANCER, each["tls"], False) for each in pool["projects"]
    }
    given = {**fleet["nginx"], "worker_connections": pool["connections"]}
    return _nginx(given, host, system, sites, pool["port"], pool["tls_port"])


def _nginx(given, host, system, sites, port, tls_port):
    settings = {
        "worker_processes": host["cores"],
        "worker_connections": given["worker_connections"],
        "worker_rlimit_nofile": given["worker_connections"] * 4,
    }
    settings.update(given["settings"])
    return {
        "user": system["nginx"]["user"],
        "port": port,
        "tls_port": tls_port,
        "access_log": given["access_log"],
        "settings": dict(sorted(settings.items())),
        "sites": sites,
    }


def _site(project, source, tls, cache):
    files = {key: tls[key] for key in ("certificate", "key")} if tls else {}
    return {"project": project, "source": source, "tls": files, "cache": cache}
