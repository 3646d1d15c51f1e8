"""What a server tells a master of itself and of a project, for a release over several servers."""

import django_hold

LAST = ("{}: CDN forgets what changed", "{}: old releases are gone")


def declared(pillar):
    """
    The map of servers and the projects as a pillar has them, though it may be wrong otherwise:
    ``{"hosts": {name: [roles]}, "projects": [name], "static": [name]}``, the last those with
    domains for static files alone.
    """
    django = pillar.get("django")
    django = django if isinstance(django, dict) else {}
    hosts, projects = django.get("hosts"), django.get("projects")
    found = {}
    for name, entry in (hosts if isinstance(hosts, dict) else {}).items():
        roles = entry.get("roles") if isinstance(entry, dict) else None
        roles = roles if isinstance(roles, list) else [roles]
        found[str(name)] = sorted(role for role in roles if isinstance(role, str))
    projects = projects if isinstance(projects, dict) else {}
    static = {
        str(name)
        for name, project in projects.items()
        if isinstance(project, dict)
        and isinstance(project.get("static"), dict)
        and project["static"].get("domains")
    }
    return {
        "hosts": found,
        "projects": sorted(str(name) for name in projects),
        "static": sorted(static),
    }


def outside(external):
    """By whom a balancer of somebody else (dict of the configuration) is told of its backends."""
    tells = external.get("hook", {}).get("host")
    return {"tells": tells, "targets": bool(external.get("targets"))}


def named(source):
    """By what a resolved source (dict) names its release (list of str); empty for a folder."""
    if source["kind"] == "pypi":
        return [source["version"], f"{source['location']}=={source['version']}"]
    if source["kind"] == "git":
        return [source["rev"]] if source.get("rev") else []
    return [source["location"]] if source["kind"] == "archive" else []


def standing(deployment):
    """What serves, what the pillar names, and whether that is held back (dict)."""
    layout = deployment.layout
    hold, live = deployment.hold, layout.live_instance()
    served = [entry for entry in layout.served() if entry["instance"] == live]
    return {
        "release": layout.live_release(),
        "instance": live,
        "since": served[-1]["time"] if served else None,
        "named": named(deployment.project["source"]),
        "held": django_hold.sentence(hold) if hold else None,
    }


def finish(config, project):
    """
    IDs (list of str) of the states that a release leaves to do once it serves on all servers: its
    own last one, timers, and the front door, whose files may say more of it.
    """
    item = config["projects"][project]
    cdn = item["cdn"] and item["cdn"]["distribution"]
    ids = [LAST[0 if cdn else 1]]
    ids.append("{}: timers are set" if item["timers"] else "{}: no timers are set")
    for server, runs in (("nginx", "Nginx runs"), ("apache", "Apache follows its configuration")):
        if config[server]:
            ids.append(runs)
    return ids
