"""The Memcached servers of a host: one for each project that has its cache there."""

import django_tuning

THREADS = 4  # more of them are of no use to it


def configuration(fleet, host, projects):
    """The servers and what their files say (dict); empty where no project has one."""
    used = {
        name: project["cache"]
        for name, project in projects.items()
        if project["cache"]["engine"] == "memcached" and project["cache"]["managed"]
    }
    if not used:
        return {}
    # It serves the projects of its own host, so it is never alone there.
    share = django_tuning.memory_share(fleet["memcached"]["memory_share"], True, 10, 60)
    part = django_tuning.cache_maxmemory(host["memory"], share, len(used), True)
    settings = fleet["memcached"]["settings"]
    return {"instances": [_instance(projects[name], host, part, settings) for name in used]}


def _instance(project, host, part, settings):
    name, cache = project["name"], project["cache"]
    options = {
        "unix-socket": cache["socket"],
        "unix-mask": "0660",
        "udp-port": 0,
        "memory-limit": (cache["maxmemory"] or part) >> 20,
        "threads": min(host["cores"], THREADS),
        "conn-limit": 4096,
        "disable-dumping": True,
        "disable-watch": True,
        **dict(sorted(settings.items())),
    }
    return {
        "project": name,
        "group": project["group"],
        "memory": options["memory-limit"],
        "socket": cache["socket"],
        "options": [_option(key, value) for key, value in options.items() if value is not False],
        "config": f"/etc/default/memcached-{name}",
        "service": f"memcached{'@' if host['init'] == 'systemd' else '-'}{name}",
    }


def _option(name, value):
    return f"--{name}" if value is True else f"--{name}={value}"
