"""The Nginx of a host: its settings and its sites."""


def configuration(fleet, host, projects, system):
    """What Nginx's files say (dict). system: data of the operating system."""
    given = fleet["nginx"]
    settings = {
        "worker_processes": host["cores"],
        "worker_connections": given["worker_connections"],
        "worker_rlimit_nofile": given["worker_connections"] * 4,
    }
    settings.update(given["settings"])
    return {
        "user": system["nginx"]["user"],
        "port": given["port"],
        "tls_port": given["tls_port"],
        "access_log": given["access_log"],
        "settings": dict(sorted(settings.items())),
        "sites": sorted(projects),
    }
