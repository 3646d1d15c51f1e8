"""The Varnish servers of a host: one for each project whose pages are cached there."""

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
    is_service = host["init"] == "systemd" or given["has_init_scripts"]
    return {
        "instances": [_instance(projects[name], host, part) for name in used],
        "packaged": given["packaged"] if is_service else [],
    }


def _instance(project, host, part):
    name, web = project["name"], project["web"]
    cache = web["cache"]
    waits = [web["read_timeout"]]
    waits += [entry.get("read_timeout", 0) for entry in web["locations"].values()]
    parameters = {**PARAMETERS, "pipe_timeout": max(waits)}
    memory = (cache["memory"] or part) >> 20
    run = django_varnish.run_directory(name)
    options = [
        f"-n {django_varnish.directory(name)}",
        "-j unix,user=vcache",
        f"-a {django_varnish.socket(name)},user=root,group=www-data,mode=0660",
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
        "backend": project["paths"]["socket"],
        "timeout": max(waits),
        "websocket": web["websocket"],
        "ttl": cache["ttl"],
        "grace": cache["grace"],
        "cookies": "|".join([*ANALYTICS, *map(re.escape, sorted(cache["ignore_cookies"]))]),
    }
