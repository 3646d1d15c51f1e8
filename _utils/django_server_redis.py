"""The Redis servers of a host: for each project one as cache and one as broker, as it needs."""

import django_tuning

LABELS = {"cache": "Redis", "broker": "Redis broker"}


def configuration(fleet, host, hosts, projects):
    """The servers and what their files say (dict); empty where no project has one."""
    used = [
        (name, purpose, project[purpose])
        for name, project in projects.items()
        for purpose in LABELS
        if project[purpose]["engine"] == "redis" and project[purpose]["managed"]
    ]
    if not used:
        return {}
    remote = any(
        name != host["name"] and {"app", "worker"} & set(item["roles"])
        for name, item in hosts.items()
    )
    shared = set(host["roles"]) != {"cache"}
    share = django_tuning.memory_share(fleet["redis"]["memory_share"], shared, 10, 60)
    part = django_tuning.cache_maxmemory(host["memory"], share, len(used), shared)
    instances = []
    for project, purpose, redis in used:
        # An underscore keeps it apart from every project: none has one in its name.
        name = project if purpose == "cache" else f"{project}_{purpose}"
        persistence = redis["persistence"]
        instances.append(
            {
                "project": project,
                "name": name,
                "label": LABELS[purpose],
                "secret": f"{purpose}.password",
                "port": redis["port"],
                "bind": ["127.0.0.1", host["address"]] if remote else ["127.0.0.1"],
                "maxmemory": redis["maxmemory"] or part,
                "policy": redis["policy"],
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
        "uses_packaged": any(
            _is_packaged_redis(project[purpose], host)
            for project in projects.values()
            for purpose in LABELS
        ),
    }


def _is_packaged_redis(redis, host):
    """Whether a project names, as an external Redis, what the package's own server would be."""
    own = {"localhost", "::1", host["name"], host["hostname"], host["fqdn"], *host["addresses"]}
    return (
        redis["engine"] == "redis"
        and not redis["managed"]
        and redis["port"] == 6379
        and (redis["host"] in own or redis["host"].startswith("127."))
    )
