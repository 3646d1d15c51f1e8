"""The HAProxy of a balancer: which projects it knows by which names, and who serves them."""

CONFIG = "/etc/haproxy/haproxy.cfg"
SERVICE = "haproxy"


def configuration(fleet, hosts, projects):
    """
    What HAProxy's file says (dict).

    fleet
        The validated pillar.
    hosts
        All hosts by name: ``{roles, address}``.
    projects
        Resolved projects by name.

    Returns ``port``, ``connections`` and ``projects``, a list of dict with ``name``; ``names`` and
    ``suffixes``: a request belongs to the project that has its Host among the names, or one that
    ends in a suffix; ``host``, ``path``, ``status`` and ``scheme`` of the question for a member's
    health; ``trusted`` (networks), ``timeout`` (s) and ``members`` (dicts of ``name, address``).
    """
    return {
        "port": fleet["haproxy"]["port"],
        "connections": fleet["haproxy"]["connections"],
        "projects": [
            _project(project, fleet["projects"][name]["web"]["trusted_proxies"], hosts)
            for name, project in sorted(projects.items())
        ],
    }


def _project(project, trusted, hosts):
    web, health = project["web"], project["health"]
    known = project["allowed_hosts"]
    waits = [web["read_timeout"]]
    waits += [entry.get("read_timeout", 0) for entry in web["locations"].values()]
    return {
        "name": project["name"],
        "names": [name.lstrip(".") for name in known],
        "suffixes": [name for name in known if name.startswith(".")],
        # The front door knows domains alone, whatever the application is asked with elsewhere.
        "host": known[0].lstrip("."),
        "path": health["path"],
        "status": ",".join(map(str, health["status"])),
        "scheme": "https" if web["https"] else "http",
        "trusted": list(trusted),
        "timeout": max(waits) + 5,
        "members": [
            {"name": name, "address": f"{_bracket(host['address'])}:{web['port']}"}
            for name, host in hosts.items()
            if "web" in host["roles"]
        ],
    }


def _bracket(address):
    return f"[{address}]" if ":" in address else address
