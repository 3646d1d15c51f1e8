"""The Varnish servers of a host: one for each project whose pages it keeps, or a balancer."""

import re

import django_tuning
import django_varnish

# Cookies that only scripts in the browser read: Google, Matomo, Meta, Hotjar, Microsoft, HubSpot.
ANALYTICS = (
    r"_ga(_[A-Z0-9]+)?",
    r"_gid",
    r"_gat(_[A-Za-z0-9_-]+)?",
    r"_gac_[A-Z0-9-]+",
    r"_gcl_[a-z]+",
    r"__utm[a-z]+",
    r"_pk_[a-z]+[.0-9a-f]*",
    r"_fb[cp]",
    r"_hj[A-Z][A-Za-z]*(_[0-9]+)?",
    r"_cl(ck|sk)",
    r"__hs(tc|sc|src)",
    r"hubspotutk",
)
RULES = "salt://django/web/files/etc/varnish/project.vcl.j2"
BALANCER = "balancer"  # its name among the host's Varnish servers
BALANCER_RULES = "salt://django/balancer/files/etc/varnish/balancer.vcl.j2"
BALANCER_MEMORY = 64  # MiB, for what is on its way: it keeps no page
PARAMETERS = {
    # What Nginx lets through has to find room.
    "http_max_hdr": 128,
    "http_req_hdr_len": "16k",
    "http_req_size": "64k",
    "http_resp_hdr_len": "16k",
    "http_resp_size": "64k",
    "workspace_backend": "192k",
    "workspace_client": "192k",
    "thread_pool_min": 50,
}


def configuration(fleet, host, projects, system):
    """The servers and what their files say (dict); empty where no project has one.

    system: data of the operating system.
    """
    used = [name for name, project in projects.items() if project["web"]["cache"]]
    if not used:
        return {}
    share = django_tuning.memory_share(fleet["varnish"]["memory_share"], True, 10, 10)
    part = django_tuning.cache_maxmemory(host["memory"], share, len(used), True)
    given = system["varnish"]
    return {
        "instances": [_instance(projects[name], host, part) for name in used],
        "packaged": _packaged(host, given),
    }


def balancer(host, pool, system):
    """
    The Varnish of a balancer and what its files say (dict).

    pool
        What it has to know of the projects, see :mod:`django_server_haproxy`.
    """
    waits = [project["timeout"] for project in pool["projects"]]
    listen = [f"-a :{pool['port']},HTTP"]
    parameters = {**PARAMETERS, "pipe_timeout": max(waits, default=60)}
    instance = _server(BALANCER, host, listen, BALANCER_MEMORY, parameters)
    return {
        "instances": [{**instance, "source": BALANCER_RULES, "purged": False}],
        "packaged": _packaged(host, system["varnish"]),
    }


def _packaged(host, given):
    is_service = host["init"] == "systemd" or given["has_init_scripts"]
    return given["packaged"] if is_service else []


def _server(name, host, listen, memory, parameters):
    """What the files of a Varnish say of the program itself (dict). memory: MiB."""
    run = django_varnish.run_directory(name)
    options = [
        f"-n {django_varnish.directory(name)}",
        "-j unix,user=vcache",
        *listen,
        "-T 127.0.0.1:0",
        f"-S {run}/secret",
        f"-f /etc/varnish/{name}.vcl",
        f"-s malloc,{memory}m",
        *(f"-p {key}={value}" for key, value in parameters.items()),
    ]
    return {
        "project": name,
        "run": run,
        "vcl": f"/etc/varnish/{name}.vcl",
        "config": f"/etc/default/varnish-{name}",
        "service": django_varnish.service(name, host["init"]),
        "options": options,
        "memory": memory,
    }


def _instance(project, host, part):
    name, web = project["name"], project["web"]
    cache = web["cache"]
    waits = [web["read_timeout"]]
    waits += [entry.get("read_timeout", 0) for entry in web["locations"].values()]
    parameters = {**PARAMETERS, "pipe_timeout": max(waits)}
    memory = (cache["memory"] or part) >> 20
    listen = [f"-a {django_varnish.socket(name)},user=root,group=www-data,mode=0660"]
    return {
        **_server(name, host, listen, memory, parameters),
        "source": RULES,
        "purged": True,
        "backend": project["paths"]["socket"],
        "timeout": max(waits),
        "websocket": web["websocket"],
        "ttl": cache["ttl"],
        "grace": cache["grace"],
        "cookies": "|".join([*ANALYTICS, *map(re.escape, sorted(cache["ignore_cookies"]))]),
    }
