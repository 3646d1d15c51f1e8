"""
A balancer of somebody else before the fleet: what it has to know of the hosts behind it, and what
they have to know of it. Pure.
"""

import django_schema

PROBES = "/-/health/"
ROOT = "django:balancer:external"


def trust(fleet):
    """Let every project (of the validated pillar) believe what the external balancer says."""
    external = fleet["balancer"]["external"]
    for project in fleet["projects"].values() if external else ():
        given = project["web"]["trusted_proxies"]
        project["web"]["trusted_proxies"] = list(dict.fromkeys([*given, *external["from"]]))


def problems(fleet, hosts):
    """What is wrong with the external balancer of a pillar, as messages (list of str)."""
    external, messages = fleet["balancer"]["external"], []
    if not external:
        return messages
    balancers = [name for name, item in hosts.items() if "balancer" in item["roles"]]
    if balancers:
        text = f"expected no host with the role balancer beside it, got {', '.join(balancers)}"
        messages.append(f"{ROOT}: {text}")
    if not members(hosts):
        messages.append(f"{ROOT}: expected a host with the role web behind it, got none")
    aws = external["aws"] or {"access_key": None, "secret_key": None}
    if bool(aws["access_key"]) != bool(aws["secret_key"]):
        missing = "secret_key" if aws["access_key"] else "access_key"
        messages.append(f"{ROOT}:aws:{missing}: expected beside the other key, got nothing")
    if aws["secret_key"] == django_schema.MASK:
        text = "expected the secret itself, got the mask that hides one"
        messages.append(f"{ROOT}:aws:secret_key: {text}")
    wanted = external["hook"] and external["hook"]["host"]
    if wanted and wanted not in hosts:
        hint = django_schema.suggest(wanted, hosts)
        messages.append(f"{ROOT}:hook:host: expected a host of the map, got {wanted!r}{hint}")
    return messages


def members(hosts):
    """Names (list) of the hosts that a balancer passes requests to."""
    return [name for name, item in sorted(hosts.items()) if "web" in item["roles"]]


def configuration(fleet, host, hosts, projects):
    """
    What this host does for the external balancer (dict), empty without one: ``from`` (networks),
    ``members`` (``{name: address}``), ``ports`` of the front door, ``hook`` (``command``, ``host``,
    ``timeout``, and ``here``, whether it is this host that runs it; empty without one) and
    ``targets`` (what the pillar has as ``aws``; empty on a host that is no backend).
    """
    external = fleet["balancer"]["external"]
    if not external:
        return {}
    names = members(hosts)
    hook = dict(external["hook"] or {})
    if hook:
        hook["host"] = hook["host"] or names[0]
        hook["here"] = hook["host"] == host["name"]
    return {
        "from": list(external["from"]),
        "members": {name: hosts[name]["address"] for name in names},
        "ports": _ports(projects),
        "hook": hook,
        "targets": dict(external["aws"] or {}) if host["name"] in names else {},
    }


def probes(fleet, projects):
    """
    How a balancer that knows no Host may ask for a project's health, by project (dict): ``path``,
    at which it asks a host by its address, ``from`` (networks) whence it may, and what answers:
    the front door itself at ``url``, asked for ``host``.

    projects
        Resolved projects by name. One without domains answers to addresses anyway.
    """
    return {
        name: {
            "path": f"{PROBES}{name}",
            "from": list(project["web"]["trusted_proxies"]),
            "url": f"{_scheme(project)}://127.0.0.1:{_port(project)}{project['health']['path']}",
            "host": _host(project),
        }
        for name, project in sorted(projects.items())
        if project["web"]["trusted_proxies"] and not project["catch_all"] and not fleet["balancers"]
    }


def backends(hosts, projects, found):
    """
    The hosts behind a balancer, by project (dict): ``domains``, ``servers`` (list of ``name,
    address, port, scheme``) and ``health``: ``host`` (None: its address), ``path`` and ``status``
    of the question that shows it, and ``by_address``, ``{port, path}`` for a balancer that cannot
    say a host; None where nobody may ask so.

    found
        The :func:`probes`.
    """
    return {
        name: {
            "domains": list(project["domains"]),
            "servers": [
                {
                    "name": each,
                    "address": hosts[each]["address"],
                    "port": _port(project),
                    "scheme": _scheme(project),
                }
                for each in members(hosts)
            ],
            "health": {
                "host": None if project["catch_all"] else _host(project),
                "path": project["health"]["path"],
                "status": list(project["health"]["status"]),
                "by_address": _by_address(project, found.get(name)),
            },
        }
        for name, project in sorted(projects.items())
    }


def _ports(projects):
    webs = [project["web"] for _, project in sorted(projects.items())]
    ports = [web["port"] for web in webs] + [web["tls_port"] for web in webs if web["tls"]]
    return list(dict.fromkeys(ports))


def _by_address(project, probe):
    if project["catch_all"]:
        return {"port": _port(project), "path": project["health"]["path"]}
    return {"port": project["web"]["port"], "path": probe["path"]} if probe else None


def _host(project):
    return project["allowed_hosts"][0].lstrip(".")


def _scheme(project):
    return "https" if project["web"]["tls"] else "http"


def _port(project):
    return project["web"]["tls_port" if project["web"]["tls"] else "port"]
