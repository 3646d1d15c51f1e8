"""The resolver: pillar, facts about this host and parameters -> the host's configuration.

Pure: no file is read and the system is not asked. The configuration is plain data; test/unit/golden
shows it whole. Everything in it is sorted or in the order of the pillar, so that
the same input always gives the same output, and adding a project does not renumber another.

Units: sizes are bytes, durations seconds, memory MiB.

Secrets are named in ``config['projects'][NAME]['secret_specs']``, each ``{'value': …, 'export':
bool}`` or ``{'generate': length, 'format': letters|hex|urlsafe, 'export': bool}``:

- names of the pillar's ``secrets`` as they are, and always ``SECRET_KEY``
- ``database.ALIAS.password`` (``database.default.password`` for ``database``)
- ``cache.password``, ``superuser.password``, ``source.deploy_key``
- ``python.index_url``, ``python.extra_index_urls`` (joined by spaces)

Everything else in the configuration may be shown once :func:`public` has gone over it.
"""

import copy
import ipaddress
import re
from collections.abc import Mapping

import django_checks
import django_project
import django_schema
import django_tuning
import yaml

ROLES = ("app", "web", "worker", "database", "cache")
PATHS = django_project.PATHS
NAMES_SHOWN = 8
INNER_INTERFACES = ("docker", "br-", "virbr", "veth", "lxc", "cni", "flannel")  # not reachable


def load(pillar, grains, read_file):
    """The configuration, with the parameters read by ``read_file(name) -> text or None``.

    Names are relative to the folder of the parameters: ``schema.yaml``, ``os/Debian.yaml``,
    ``os/Debian-12.yaml``. Returns the same as :func:`resolve`.
    """
    found = facts(grains)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

    def read(name):
        text = read_file(name)
        return None if text is None else yaml.load(text, Loader=loader)  # noqa: S506

    system = found["os"]
    parameters = {
        "schema": read("schema.yaml")["pillar"],
        "os": read("os/Debian.yaml"),
        "release": read(f"os/{system['name']}-{system['release']}.yaml"),
    }
    return resolve(pillar, found, parameters)


def facts(grains):
    """What the resolver needs to know of a host, out of Salt's grains.

    Returns ``{id, hostname, fqdn, cores, memory (MiB), addresses, init: systemd|sysv, os: {family,
    name, release}}``. Grains that are missing or odd get harmless values.
    """
    inner = set()
    for grain in ("ip4_interfaces", "ip6_interfaces"):
        for interface, items in (grains.get(grain) or {}).items():
            if interface.startswith(INNER_INTERFACES):
                inner.update(_addresses(items))
    addresses = _addresses([*(grains.get("ipv4") or []), *(grains.get("ipv6") or [])])
    addresses = sorted(addresses, key=lambda item: (item in inner, item.version, int(item)))
    name = str(grains.get("os") or "unknown")
    release = str(grains.get("osrelease") or "")
    if name == "Debian":
        release = str(grains.get("osmajorrelease") or release.split(".")[0])
    hostname = str(grains.get("host") or "localhost").lower()
    return {
        "id": str(grains.get("id") or hostname),
        "hostname": hostname,
        "fqdn": str(grains.get("fqdn") or hostname).lower(),
        "cores": _number(grains.get("num_cpus"), 1),
        "memory": _number(grains.get("mem_total"), 1024),
        "addresses": [str(item) for item in addresses],
        "init": "systemd" if grains.get("init") == "systemd" else "sysv",
        "os": {
            "family": str(grains.get("os_family") or "unknown"),
            "name": name,
            "release": release,
        },
    }


def resolve(pillar, facts, parameters):
    """The configuration of this host. Never raises for a wrong pillar.

    pillar: the whole pillar (its key ``django`` counts). facts: see :func:`facts`.
    parameters: ``{schema, os, release}``: the schema of the pillar, what the supported systems have
    in common, and what this one differs in (None: not supported).

    Returns the configuration with its secrets; see :func:`public` for one to show. An invalid
    pillar gives ``valid: False``, every error, and nothing to do.
    """
    host = _host(facts)
    given = pillar.get("django") if isinstance(pillar, Mapping) else None
    errors = []
    if not isinstance(given, Mapping):
        errors.append(
            f"django: expected a map with the key projects, got {django_schema.got(given, True)}"
        )
        return _nothing(host, errors)
    fleet, errors = django_schema.validate(parameters["schema"], given, "django")
    if errors:
        errors += _mistakes_beside(errors, given, facts, parameters)
    elif parameters["release"] is None:
        system = host["os"]
        errors.append(
            f"this host: expected one of {', '.join(parameters['os']['supported'])},"
            f" got {system['name']} {system['release']}"
        )
    if errors:
        return _nothing(host, errors)
    system = _merge(parameters["os"], parameters["release"])
    hosts, problems = _fleet(fleet, host)
    errors += problems
    if errors:
        return _nothing(host, errors)
    projects = fleet["projects"]
    errors += django_checks.pillar(fleet, hosts, host)
    if errors:
        return _nothing(host, errors)
    resolved = {
        name: django_project.resolve(name, projects[name], fleet, host, len(projects))
        for name in sorted(projects)
    }
    errors += django_checks.resolved(resolved, fleet, host, _needing(hosts))
    if errors:
        return _nothing(host, errors)
    config = _config(fleet, host, hosts, resolved, system)
    config["warnings"] = django_checks.warnings(projects)
    return config


def _mistakes_beside(errors, given, facts, parameters):
    """Mistakes between the projects and sections of a pillar that have none of their own."""

    def is_well(path):
        return not any(error.startswith(f"{path}:") for error in errors)

    projects = given.get("projects")
    if not isinstance(projects, Mapping) or not is_well("django:hosts"):
        return []
    rest = {
        key: value for key, value in given.items() if key == "projects" or is_well(f"django:{key}")
    }
    rest["projects"] = {
        name: project
        for name, project in projects.items()
        if is_well(django_schema.join_path("django:projects", name))
    }
    if not rest["projects"] or (rest == given):
        return []
    return resolve({"django": rest}, facts, parameters)["errors"]


def public(config):
    """A copy of the configuration in which secrets are masked.

    Masked are the values in ``secret_specs``, the content of files, variables whose name sounds
    like a secret's, and credentials in URLs.
    """
    config = copy.deepcopy(config)
    for project in config["projects"].values():
        for spec in project["secret_specs"].values():
            if "value" in spec:
                spec["value"] = django_schema.MASK
        for entry in project["files"]:
            entry["content"] = django_schema.MASK
        for environment in _environments(project):
            for name, value in environment.items():
                if value is None:
                    continue
                if django_checks.SECRET_NAME.search(name) and not value.startswith("@{"):
                    environment[name] = django_schema.MASK
                else:
                    environment[name] = django_schema.mask_url(value)
    return config


def _host(facts):
    addresses = list(facts["addresses"])
    return {
        "name": facts["id"],
        "hostname": facts["hostname"],
        "fqdn": facts["fqdn"],
        "roles": list(ROLES),
        "address": addresses[0] if addresses else "127.0.0.1",
        "addresses": addresses,
        "cores": facts["cores"],
        "memory": facts["memory"],
        "init": facts["init"],
        "os": dict(facts["os"]),
    }


def _nothing(host, errors):
    """The configuration for an invalid pillar: it says what is wrong and does nothing."""
    return {
        "valid": False,
        "errors": list(errors),
        "warnings": [],
        "tiers": ["django.valid"],
        "host": host,
        "packages": [],
        "paths": dict(PATHS),
        "supervisord": {},
        "postgresql": {},
        "redis": {},
        "nginx": {},
        "projects": {},
    }


def _fleet(fleet, host):
    """The hosts by name (this one alone if the pillar names none), and what is wrong with them.

    Puts this host's roles and address into ``host``, and the servers of the tiers into ``fleet``.
    """
    errors = []
    if not fleet["hosts"]:
        fleet["database_host"] = fleet["cache_host"] = None
        return {host["name"]: {"roles": list(ROLES), "address": host["address"]}}, errors
    hosts = {name: fleet["hosts"][name] for name in sorted(fleet["hosts"])}
    own = hosts.get(host["name"])
    if own is None:
        shown = ", ".join(list(hosts)[:NAMES_SHOWN]) + (", …" if len(hosts) > NAMES_SHOWN else "")
        errors.append(
            f"django:hosts: expected an entry for this minion, {host['name']}; got {shown}"
            f"{django_schema.suggest(host['name'], hosts)}"
        )
    else:
        host["roles"] = [role for role in ROLES if role in own["roles"]]
        host["address"] = own["address"]
    seen = {}
    for name, item in hosts.items():
        if item["address"] in seen:
            errors.append(
                f"django:hosts:{name}:address: expected an address of its own,"
                f" {item['address']} is that of {seen[item['address']]}"
            )
        seen.setdefault(item["address"], name)
        if "web" in item["roles"] and "app" not in item["roles"]:
            errors.append(f"django:hosts:{name}:roles: expected app beside web on the same host")
    needs = {
        "app": True,
        "database": any(_managed(item, "postgresql") for item in fleet["projects"].values()),
        "cache": any(_managed_cache(item) for item in fleet["projects"].values()),
    }
    for role, needed in needs.items():
        having = [name for name, item in hosts.items() if role in item["roles"]]
        if needed and not having:
            errors.append(f"django:hosts: expected a host with the role {role}, got none")
        if role != "app":
            if len(having) > 1:
                errors.append(
                    f"django:hosts: expected one host with the role {role}, got {', '.join(having)}"
                )
            server = {"name": having[0], "address": hosts[having[0]]["address"]} if having else None
            fleet[f"{role}_host"] = server
    return hosts, errors


def _managed(project, engine):
    entries = [project["database"], *project["databases"].values()]
    return any(entry["engine"] == engine and not entry["host"] for entry in entries)


def _managed_cache(project):
    return project["cache"]["engine"] == "redis" and not project["cache"]["host"]


def _has_redis(project):
    return project["cache"]["engine"] == "redis" and project["cache"]["managed"]


def _needing(hosts):
    """Function from a resolved project and a secret's name to the hosts that need the secret."""

    def having(*roles):
        return [name for name, item in hosts.items() if set(roles) & set(item["roles"])]

    def needing(project, name):
        if name.startswith("database.") and project["databases"][name.split(".")[1]]["managed"]:
            return having("app", "worker", "database")
        if name == "cache.password" and project["cache"]["managed"]:
            return having("app", "worker", "cache")
        if name == "superuser.password":
            return having("app")[:1]
        return having("app", "worker")

    return needing


def _config(fleet, host, hosts, projects, system):
    """The configuration of a valid pillar."""
    roles = set(host["roles"])
    runs = roles & {"app", "worker", "web"}
    workers = sorted(name for name, item in hosts.items() if "worker" in item["roles"])
    first_worker = workers[:1] == [host["name"]]
    for project in projects.values():
        project["processes"] = {
            name: item
            for name, item in project["processes"].items()
            if "worker" in roles and (first_worker or not item["single"])
        }
        if not first_worker:
            project["timers"] = {}
        if not runs:
            project["secret_specs"] = {
                name: spec
                for name, spec in project["secret_specs"].items()
                if name.startswith(("database.", "cache."))
            }
    config = {
        "valid": True,
        "errors": [],
        "warnings": [],
        "tiers": [],
        "host": host,
        "packages": [],
        "paths": dict(PATHS),
        "supervisord": {},
        "postgresql": {},
        "redis": {},
        "nginx": {},
        "projects": projects,
    }
    if "database" in roles:
        config["postgresql"] = _postgresql(fleet, host, hosts, projects, system)
    if "cache" in roles:
        config["redis"] = _redis(fleet, host, hosts, projects)
    if "web" in roles:
        config["nginx"] = _nginx(fleet, host, projects, system)
    managers = {project["process_manager"] for project in projects.values()}
    if roles & {"app", "worker"} and "supervisord" in managers:
        config["supervisord"] = {
            "log_level": fleet["supervisord"]["log_level"],
            "socket": "/run/supervisor.sock",
            "config": "/etc/supervisor/supervisord.conf",
            "include": "/etc/supervisor/conf.d",
        }
    config["packages"] = _packages(config, fleet, system)
    tiers = {
        "django.valid": True,
        "django.host": True,
        "django.database.postgresql": config["postgresql"],
        "django.cache.redis": config["redis"],
        "django.process.supervisord": config["supervisord"],
        "django.app.project": runs,
        "django.web.nginx": config["nginx"],
    }
    config["tiers"] = [name for name, present in tiers.items() if present]
    return config


def _postgresql(fleet, host, hosts, projects, system):
    given = fleet["postgresql"]
    databases, hba = [], [_hba_line(line) for line in given["hba"]]
    clients = sorted(
        item["address"]
        for name, item in hosts.items()
        if name != host["name"] and {"app", "worker"} & set(item["roles"])
    )
    addresses = ["127.0.0.1/32", "::1/128"] + [_single(address) for address in clients]
    for name, project in projects.items():
        for alias, database in project["databases"].items():
            if not database["managed"]:
                continue
            databases.append(
                {
                    "project": name,
                    "alias": alias,
                    "name": database["name"],
                    "owner": database["user"],
                    "encoding": database["encoding"],
                    "locale": database["locale"],
                    "template": database["template"],
                    "extensions": list(database["extensions"]),
                }
            )
            for address in addresses:
                hba.append(
                    {
                        "type": "host",
                        "database": database["name"],
                        "user": database["user"],
                        "address": address,
                        "method": "scram-sha-256",
                        "options": "",
                    }
                )
    if not databases:
        return {}
    version = given["version"] or system["postgresql"]["version"]
    connections = given["max_connections"] or _connections(projects, len(clients))
    shared = set(host["roles"]) != {"database"}
    share = django_tuning.memory_share(given["memory_share"], shared, 50, 90)
    settings = {
        "listen_addresses": ",".join(["localhost", host["address"]] if clients else ["localhost"]),
        "port": given["port"],
        "max_connections": connections,
        "password_encryption": "scram-sha-256",
    }
    memory = host["memory"] * share // 100
    settings.update(django_tuning.postgresql(host["cores"], memory, connections))
    settings.update(given["settings"])
    return {
        "version": version,
        "packages": [item.format(version=version) for item in system["packages"]["postgresql"]],
        "service": system["postgresql"]["service"],
        "port": given["port"],
        "config_dir": system["postgresql"]["config_dir"].format(version=version),
        "settings": dict(sorted(settings.items())),
        "hba": hba,
        "databases": databases,
    }


def _connections(projects, clients):
    """Connections that the projects' processes can hold at once and some more; at least 100."""
    need = 0
    for project in projects.values():
        app = project["app"]
        need += app["workers"] * (app["threads"] if app["worker_class"] == "gthread" else 1)
        need += sum(process["count"] for process in project["processes"].values())
    return max(100, -(-(need * max(clients, 1) + 20) // 10) * 10)


def _hba_line(line):
    words = line.split()
    rest = words[3:]
    address = ""
    if words[0] != "local":
        address = rest.pop(0) if rest else ""
        if rest and re.fullmatch(r"[0-9.]+", rest[0]):
            address = f"{address} {rest.pop(0)}"
    return {
        "type": words[0],
        "database": words[1] if len(words) > 1 else "",
        "user": words[2] if len(words) > 2 else "",
        "address": address,
        "method": rest[0] if rest else "",
        "options": " ".join(rest[1:]),
    }


def _redis(fleet, host, hosts, projects):
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


def _nginx(fleet, host, projects, system):
    given = fleet["nginx"]
    settings = {
        "worker_processes": host["cores"],
        "worker_connections": given["worker_connections"],
        "worker_rlimit_nofile": given["worker_connections"] * 4,
    }
    settings.update(given["settings"])
    return {
        "user": system["nginx"]["user"],
        "port": given["port"],
        "tls_port": given["tls_port"],
        "access_log": given["access_log"],
        "settings": dict(sorted(settings.items())),
        "sites": sorted(projects),
    }


def _packages(config, fleet, system):
    """All Debian packages that this host needs, sorted."""
    names = system["packages"]
    packages = {*names["base"], *fleet["packages"]}
    if config["nginx"]:
        packages.update(names["nginx"])
    if config["redis"]:
        packages.update(names["redis"])
    packages.update(config["postgresql"].get("packages", []))
    if set(config["host"]["roles"]) & {"app", "worker"}:
        for project in config["projects"].values():
            for key in ("build", "run"):
                packages.update(project["system_packages"][key])
            if project["source"]["kind"] == "git":
                packages.update(names["git"])
                if not re.match(r"(https?|file|git)://|/", project["source"]["location"]):
                    packages.update(names["ssh"])
            if project["timers"]:
                packages.update(names["timers"])
    return sorted(packages)


def _environments(project):
    yield project["environment"]
    yield project["python"]["environment"]
    yield project["app"]["environment"]
    for kind in ("processes", "timers"):
        for entry in project[kind].values():
            yield entry["environment"]
    for step in (*project["build"], *project["tasks"]):
        yield step["environment"]


def _single(address):
    return f"{address}/{128 if ':' in address else 32}"


def _merge(base, over):
    """Two maps as one, the second's values over the first's, in depth."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both else value
    return result


def _addresses(items):
    """The addresses that others can reach, as a set; anything else is passed over."""
    result = set()
    for item in items:
        try:
            address = ipaddress.ip_address(item)
        except ValueError:
            continue
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            result.add(address)
    return result


def _number(value, default):
    try:
        return max(1, int(value))
    except (TypeError, ValueError):
        return default
