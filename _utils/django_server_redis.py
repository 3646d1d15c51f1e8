"""The Redis servers of a host, one for each project."""

import django_tuning


def configuration(fleet, host, hosts, projects):
    """The servers and what their files say (dict); empty where no project has one."""
    used = {name: project for name, project in projects.items() if _has_redis(project)}
    if not used:
        return {}
    remote = any(
        name != host["name"] and {"app", "worker"} & set(item["roles"])
        for name, item in hosts.items()
    )
    shared = set(host["roles"]) != {"cache"}
    share = django_tuning.memory_share(fleet["redis"]["memory_share"], shared, 10, 60)
    part = django_tuning.redis_maxmemory(host["memory"], share, len(used), shared)
    instances = []
    for name, project in used.items():
        cache = project["cache"]
        persistence = cache["persistence"]
        instances.append(
            {
                "project": name,
                "name": name,
                "port": cache["port"],
                "bind": ["127.0.0.1", host["address"]] if remote else ["127.0.0.1"],
                "maxmemory": cache["maxmemory"] or part,
                "policy": cache["policy"],
                "save": "3600 1 300 100 60 10000" if persistence != "none" else "",
                "appendonly": persistence == "log",
                "config": f"/etc/redis/redis-{name}.conf",
                "directory": f"/var/lib/redis/{name}",
                "service": f"redis-server{'@' if host['init'] == 'systemd' else '-'}{name}",
            }
        )
    return {
        "instances": instances,
        "settings": dict(sorted(fleet["redis"]["settings"].items())),
        "uses_packaged": any(_is_packaged_redis(project, host) for project in projects.values()),
    }


def _is_packaged_redis(project, host):
    """Whether the project names, as an external cache, what the package's own server would be."""
    cache = project["cache"]
    own = {"localhost", "::1", host["name"], host["hostname"], host["fqdn"], *host["addresses"]}
    return (
        cache["engine"] == "redis"
        and not cache["managed"]
        and cache["port"] == 6379
        and (cache["host"] in own or cache["host"].startswith("127."))
    )


def _has_redis(project):
    return project["cache"]["engine"] == "redis" and project["cache"]["managed"]
