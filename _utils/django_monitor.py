"""
Monitoring: Prometheus on the host with the role monitor, what it asks of the others of the map, and
the exporters by which they answer.
"""

import django_address

ROLE = "monitor"
PROMETHEUS, BLACKBOX, EXPORTER = (
    "prometheus",
    "prometheus-blackbox-exporter",
    "prometheus-node-exporter",
)
DEFAULTS = "/etc/default/{}"
SERVICES = (  # section of the configuration, service, a file of ours
    ("monitor", PROMETHEUS, DEFAULTS.format(PROMETHEUS)),
    ("monitor", BLACKBOX, DEFAULTS.format(BLACKBOX)),
    ("exporter", EXPORTER, DEFAULTS.format(EXPORTER)),
)
EXPORTER_PORT, BLACKBOX_PORT = 9100, 9115
RULES = "/etc/prometheus/rules/django.yml"
EVERY = "15s"
PROBE_TIMEOUT = "10s"


def addresses(hosts, host):
    """Addresses (list of str) of other hosts with the role monitor."""
    return [
        item["address"]
        for name, item in hosts.items()
        if ROLE in item["roles"] and name != host["name"]
    ]


def exporter(host, hosts):
    """Where this host answers the monitor (dict); empty in a map that has none."""
    if not any(ROLE in item["roles"] for item in hosts.values()):
        return {}
    return {
        "service": EXPORTER,
        "listen": f"{django_address.bracketed(host['address'])}:{EXPORTER_PORT}",
    }


def configuration(fleet, host, hosts, projects):
    """
    What this host's Prometheus is told (dict); empty without the role: ``listen``, ``retention`` in
    seconds, and ``prometheus`` and ``blackbox``, their own configurations as data.
    """
    if ROLE not in host["roles"]:
        return {}
    given = fleet["monitor"]
    listen = f"127.0.0.1:{given['port']}"
    doors = [name for name, item in hosts.items() if "balancer" in item["roles"]]
    doors = doors or [name for name, item in hosts.items() if "web" in item["roles"]]
    jobs = [
        {"job_name": "prometheus", "static_configs": [{"targets": [listen]}]},
        {"job_name": "hosts", "static_configs": [_host(name, hosts[name]) for name in hosts]},
    ]
    jobs += [
        _site(fleet, project, {door: hosts[door] for door in doors})
        for _, project in sorted(projects.items())
        if doors
    ]
    prometheus = {
        "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
        "rule_files": [RULES, *given["rules"]],
        "scrape_configs": jobs,
    }
    if given["alertmanagers"]:
        prometheus["alerting"] = {
            "alertmanagers": [{"static_configs": [{"targets": list(given["alertmanagers"])}]}]
        }
    modules = {name: _module(fleet, project) for name, project in sorted(projects.items())}
    return {
        "listen": listen,
        "probes": f"127.0.0.1:{BLACKBOX_PORT}",
        "retention": given["retention"],
        "prometheus": prometheus,
        "blackbox": {"modules": modules},
    }


def _host(name, item):
    target = f"{django_address.bracketed(item['address'])}:{EXPORTER_PORT}"
    return {"targets": [target], "labels": {"instance": name}}


def _is_encrypted(fleet, name):
    """Whether the doors of this map end TLS for a project; another balancer's is not theirs."""
    return bool(fleet["projects"][name]["web"]["tls"])


def _site(fleet, project, doors):
    """The health page of a project, asked for at each door that visitors come in by."""
    name, path = project["name"], project["health"]["path"]
    scheme = "https" if _is_encrypted(fleet, name) else "http"
    front = fleet["haproxy"] if fleet["balancers"] else fleet[project["web"]["server"]]
    port = front["tls_port" if scheme == "https" else "port"]
    return {
        "job_name": f"site {name}",
        "metrics_path": "/probe",
        "params": {"module": [name]},
        "static_configs": [
            {
                "targets": [f"{scheme}://{django_address.bracketed(item['address'])}:{port}{path}"],
                "labels": {"project": name, "instance": door},
            }
            for door, item in doors.items()
        ],
        "relabel_configs": [
            {"source_labels": ["__address__"], "target_label": "__param_target"},
            {"target_label": "__address__", "replacement": f"127.0.0.1:{BLACKBOX_PORT}"},
        ],
    }


def _module(fleet, project):
    """How the health page of a project is asked for."""
    domain = project["health"]["host"]
    http = {
        "headers": {"Host": domain},
        "follow_redirects": False,
        "valid_status_codes": list(project["health"]["status"]),
    }
    if _is_encrypted(fleet, project["name"]):
        http["tls_config"] = {"server_name": domain}
    return {"prober": "http", "timeout": PROBE_TIMEOUT, "http": http}
