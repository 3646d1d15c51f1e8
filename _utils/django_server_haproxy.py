"""The HAProxy of a balancer: which projects it knows by which names, and who serves them."""

import hashlib

import django_address
import django_server_nginx

COOKIE_LENGTH = 12  # of what names a host to visitors, who need not know its name
STATIC_TIMEOUT = 60  # seconds that a host may take to say more of a file
CONFIG = "/etc/haproxy/haproxy.cfg"
SERVICE = "haproxy"
STATISTICS = "/etc/haproxy/statistics.auth"  # what a browser says that knows the password
CERTIFICATES = "/etc/haproxy/tls"  # links to the pillar's files, named as HAProxy looks for them


def configuration(fleet, hosts, projects):
    """
    What HAProxy's file says (dict).

    fleet
        The validated pillar.
    hosts
        All hosts by name: ``{roles, address}``.
    projects
        Resolved projects by name.

    Returns ``port``, ``tls_port``, ``connections`` and ``projects``, a list of dict with ``name``
    (one more for a project whose static files have domains of their own, before the others, one of
    which may have all domains of a kind);
    ``names`` and ``suffixes``: a request belongs to the project that has its Host among the names,
    or one that ends in a suffix; ``host``, ``path``, ``status`` and ``scheme`` of the question for
    a member's health; ``trusted`` (networks), ``timeout`` (s), ``members`` (dicts of ``name,
    address, host, port, cookie``; the address with the port), ``known`` (the project's names as
    they are given), ``sticky`` (how its cookie is set, empty for none) and ``tls``: empty, or
    ``certificate`` and ``key`` (files of the pillar), ``link`` (a link to the first; with ``.key``
    to the other), ``server_names``, ``redirect`` and ``hsts`` (s, 0 for none). And ``statistics``:
    empty, or ``port``, ``from`` (networks), ``user`` and ``password`` (None: to be generated).
    """
    return {
        "port": fleet["haproxy"]["port"],
        "tls_port": fleet["haproxy"]["tls_port"],
        "connections": fleet["haproxy"]["connections"],
        "statistics": dict(fleet["haproxy"]["statistics"] or {}),
        "projects": [
            *(
                _static(project, fleet["projects"][name], hosts)
                for name, project in sorted(projects.items())
                if project["static_site"]
            ),
            *(
                _project(project, fleet["projects"][name]["web"], hosts)
                for name, project in sorted(projects.items())
            ),
        ],
    }


def _project(project, given, hosts):
    web, health = project["web"], project["health"]
    known = project["allowed_hosts"]
    waits = [web["read_timeout"]]
    waits += [entry.get("read_timeout", 0) for entry in web["locations"].values()]
    return {
        "name": project["name"],
        "known": list(known),
        "names": [name.lstrip(".") for name in known],
        "suffixes": [name for name in known if name.startswith(".")],
        # The front door knows domains alone, whatever the application is asked with elsewhere.
        "host": known[0].lstrip("."),
        "path": health["path"],
        "status": ",".join(map(str, health["status"])),
        "scheme": "https" if web["https"] else "http",
        "trusted": list(given["trusted_proxies"]),
        "sticky": _sticky(given, web),
        "tls": _tls(project["name"], known, given["tls"], given["headers"]),
        "timeout": max(waits) + 5,
        "members": _members(hosts, "web", web["port"]),
    }


def _static(project, given, hosts):
    """What there is to know of a project's static files, which have domains of their own."""
    site, domains = project["static_site"], project["static_site"]["domains"]
    name = django_server_nginx.static_name(project["name"])
    tls, web = given["static"]["tls"] or given["web"]["tls"], given["web"]
    return {
        "name": name,
        "known": list(domains),
        "names": list(domains),
        "suffixes": [],
        "host": domains[0],
        "path": site["path"],
        "status": "200",
        "scheme": "https" if site["https"] else "http",
        "trusted": list(web["trusted_proxies"]),
        "sticky": "",
        "tls": _tls(name, domains, tls, web["headers"]),
        "timeout": STATIC_TIMEOUT,
        "members": _members(hosts, "static", site["port"]),
    }


def _members(hosts, role, port):
    """The hosts (list of dict) with a role, as a balancer reaches them."""
    return [
        {
            "name": name,
            "address": f"{django_address.bracketed(host['address'])}:{port}",
            "host": host["address"],
            "port": port,
            "cookie": hashlib.sha256(name.encode()).hexdigest()[:COOKIE_LENGTH],
        }
        for name, host in hosts.items()
        if role in host["roles"]
    ]


def _sticky(given, web):
    """How the cookie is set (str) that keeps a visitor at a host; empty without one."""
    if not given["sticky"]:
        return ""
    always = web["https"] and (not given["tls"] or given["tls"]["redirect"])
    secure = " secure" if always else ""
    # Taken off the request again, so that nothing behind has to know it, and pages are not kept
    # with it.
    return f'insert indirect nocache httponly{secure} attr "SameSite=Lax"'


def _tls(project, known, tls, headers):
    """How what has a name in the pool is served by HTTPS (dict), empty where it is not."""
    if not tls:
        return {}
    own = "strict-transport-security" in (header.lower() for header in headers)
    return {
        "certificate": tls["certificate"],
        "key": tls["key"],
        "link": f"{CERTIFICATES}/{project}.pem",
        "server_names": [
            word
            for name in known
            for word in ([f"*{name}", name[1:]] if name.startswith(".") else [name])
        ],
        "redirect": tls["redirect"],
        "hsts": 0 if own else tls["hsts"],
    }
