"""The resolver: pillar, facts about this host and parameters -> the host's configuration.

Pure: no file is read and the system is not asked. The configuration is plain data; test/unit/golden
shows it whole. Everything in it is sorted or in the order of the pillar, so that
the same input always gives the same output, and adding a project does not renumber another.

Units: sizes are bytes, durations seconds, memory MiB.

Secrets are named in ``config['projects'][NAME]['secret_specs']``, each ``{'value': …, 'export':
bool}`` or ``{'generate': length, 'format': letters|hex|urlsafe, 'export': bool}``:

- names of the pillar's ``secrets`` as they are, and always ``SECRET_KEY``
- ``database.ALIAS.password`` (``database.default.password`` for ``database``)
- ``cache.password``, ``broker.password``, ``superuser.password``, ``flower.password``,
  ``source.deploy_key``
- ``python.index_url``, ``python.extra_index_urls`` (joined by spaces)

The replicas' password is ``config['postgresql']['replication']['password']``. Everything else in
the configuration may be shown once :func:`public` has gone over it.
"""

import copy
import re
from collections.abc import Mapping

import django_backends
import django_backup
import django_checks
import django_facts
import django_firewall
import django_memory
import django_mistakes
import django_monitor
import django_project
import django_project_broker
import django_project_steps
import django_pull
import django_queue
import django_schema
import django_secret_users
import django_server_apache
import django_server_haproxy
import django_server_keepalived
import django_server_mariadb
import django_server_memcached
import django_server_nfs
import django_server_nginx
import django_server_postgresql
import django_server_redis
import django_server_varnish
import django_varnish
import yaml

# Of a server that is alone.
ROLES = ("app", "web", "worker", "static", "database", "cache", "backup")
FLEET_ROLES = ("balancer", "media", *ROLES[:-1], "replica", "backup", "monitor")
# Servers whose packages are those of the system's data.
SERVERS = (
    "firewall",
    "nginx",
    "apache",
    "varnish",
    "redis",
    "memcached",
    "haproxy",
    "keepalived",
    "nfs",
    "exporter",
    "monitor",
)
PATHS = django_project.PATHS
NAMES_SHOWN = 8


def load(pillar, grains, read_file):
    """The configuration, with the parameters read by ``read_file(name) -> text or None``.

    Names are relative to the folder of the parameters: ``schema.yaml``, ``os/Debian.yaml``,
    ``os/Debian-12.yaml``. Returns the same as :func:`resolve`.
    """
    found = django_facts.facts(grains)
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


def resolve(pillar, facts, parameters, lacking=frozenset()):
    """The configuration of this host. Never raises for a wrong pillar.

    pillar: the whole pillar (its key ``django`` counts). facts: see :func:`facts`.
    parameters: ``{schema, os, release}``: the schema of the pillar, what the supported systems have
    in common, and what this one differs in (None: not supported).
    lacking: keys (set of str) below ``django`` that are left out, or have something left out, for
    mistakes in it; nothing is said that may only be so because of that.

    Returns the configuration with its secrets; see :func:`public` for one to show. An invalid
    pillar gives ``valid: False``, every error, and nothing to do.
    """
    host = _host(facts)
    given = pillar.get("django") if isinstance(pillar, Mapping) else None
    errors = _unread(pillar)
    if errors:
        return _nothing(host, errors)
    if not isinstance(given, Mapping):
        told = f"expected a map with the key projects, got {django_schema.got(given, True)}"
        errors.append(f"django: {told}{_misplaced(pillar)}")
        return _nothing(host, errors)
    fleet, errors = django_schema.validate(parameters["schema"], given, "django")
    if errors:
        errors += _mistakes_beside(errors, given, facts, parameters, lacking)
    elif parameters["release"] is None:
        system = host["os"]
        errors.append(
            f"this host: expected one of {', '.join(parameters['os']['supported'])},"
            f" got {system['name']} {system['release']}"
        )
    if errors:
        return _nothing(host, errors)
    django_backends.trust(fleet)
    system = _merge(parameters["os"], parameters["release"])
    hosts, problems = _fleet(fleet, host)
    errors += problems
    projects = fleet["projects"]
    errors += django_checks.pillar(fleet, host)
    if "hosts" not in lacking:
        errors += django_server_keepalived.problems(fleet, host, hosts)
        errors += django_backends.problems(fleet, hosts)
        errors += django_checks.placed(fleet, hosts, host, lacking)
    if not {"hosts", "backup"} & lacking:
        errors += django_backup.problems(fleet, hosts, host)
    errors += django_checks.system(projects, system)
    errors += django_pull.problems(fleet["pull"], host["init"])
    if errors:
        errors += _mistakes_beside(errors, given, facts, parameters, lacking)
        return _nothing(host, errors)
    resolved = {
        name: django_project.resolve(name, projects[name], fleet, host, len(projects))
        for name in sorted(projects)
    }
    hosts_of = django_secret_users.needing(hosts)
    errors += django_checks.resolved(resolved, fleet, host, hosts_of)
    if errors:
        return _nothing(host, errors)
    config = _config(fleet, host, hosts, hosts_of, resolved, system)
    config["warnings"] += django_checks.warnings(projects)
    config["warnings"] += django_backup.doubts(fleet, host, resolved)
    return config


def _unread(pillar):
    """What Salt could not read of the pillar, as messages without the lines of its files."""
    found = pillar.get("_errors") if isinstance(pillar, Mapping) else None
    texts = [" ".join(str(error).split("\n---\n")[0].split()) for error in found or ()]
    for words, ours in (
        (" on the salt master", ""),
        ("Please see master log for details.", "Salt's log says where."),
    ):
        texts = [text.replace(words, ours) for text in texts]
    return [f"pillar: {text}" for text in texts]


def _misplaced(pillar):
    """A hint where a pillar without the key django has what was meant by it, or the empty text."""
    if not isinstance(pillar, Mapping) or "django" in pillar:
        return ""
    if "projects" in pillar:
        return " (the key projects belongs below it)"
    meant = [key for key in pillar if django_schema.nearest(key, ["django"])]
    return f" (did you mean it by {django_schema.got(meant[0])}?)" if meant else ""


def _mistakes_beside(errors, given, facts, parameters, lacking):
    """
    Mistakes in what a pillar has besides what is wrong in it: its other keys, its other projects,
    the other sections of wrong projects, and those of one project that another one has, too.
    """

    def is_well(path):
        return not any(error.startswith(f"{path}:") for error in errors)

    def look(projects, lacking):
        pillar = {"django": {**rest, "projects": projects}}
        return resolve(pillar, facts, parameters, lacking)["errors"]

    projects = given.get("projects")
    if not isinstance(projects, Mapping):
        return []
    schema = parameters["schema"]["keys"]
    known = lacking | django_mistakes.keys(errors, schema)
    rest = {
        key: value for key, value in given.items() if key == "projects" or is_well(f"django:{key}")
    }
    well = {
        name: project
        for name, project in projects.items()
        if is_well(django_schema.join_path("django:projects", name))
    }
    found, every = [], {"projects"} if len(well) < len(projects) else set()
    if well and ({**rest, "projects": well} != given or known != lacking):
        found += look(well, known | every)
    sections = schema["projects"]["value"]["keys"]
    partly, missing = {}, set()
    for name in [name for name in projects if name not in well]:
        wrong = django_mistakes.sections(name, errors)
        partly[name] = django_mistakes.without(projects[name], wrong, sections)
        if partly[name]:
            more = look({name: partly[name]}, known | every)
            found += django_mistakes.worth_telling(name, wrong, more)
            missing |= wrong
    together = {name: well.get(name) or partly[name] for name in projects}
    together = {name: project for name, project in together.items() if project}
    if missing and len(together) > 1:
        more = look(together, known | every)
        for name in together:
            found += django_mistakes.worth_telling(name, missing, more)
    return [error for error in dict.fromkeys(found) if error not in errors]


def public(config):
    """A copy of the configuration in which secrets are masked.

    Masked are the values in ``secret_specs``, the replicas' password, the content of files,
    variables whose name sounds like a secret's, and credentials in URLs.
    """
    config = copy.deepcopy(config)
    replication = config["postgresql"].get("replication")
    if replication:
        replication["password"] = django_schema.MASK
    for source in config["pull"].get("sources", {}).values():
        source["deploy_key"] = source["deploy_key"] and django_schema.MASK
    backup = config["backup"]
    for keys, name in (
        (backup, "password"),
        (backup.get("s3"), "secret_key"),
        (backup.get("ssh"), "private_key"),
        (config["haproxy"].get("statistics"), "password"),
        (config["external"].get("targets"), "secret_key"),
    ):
        if keys and keys[name]:
            keys[name] = django_schema.MASK
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
        "interfaces": dict(facts["interfaces"]),
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
        "firewall": {},
        "pull": {},
        "backup": {},
        "exporter": {},
        "monitor": {},
        "supervisord": {},
        "postgresql": {},
        "mariadb": {},
        "redis": {},
        "memcached": {},
        "varnish": {},
        "nginx": {},
        "apache": {},
        "balancer": {},
        "haproxy": {},
        "nfs": {},
        "keepalived": {},
        "rivals": [],
        "external": {},
        "probes": {},
        "backends": {},
        "projects": {},
        "released": [],
    }


def _fleet(fleet, host):
    """The hosts by name (this one alone if the pillar names none), and what is wrong with them.

    Puts this host's roles and address into ``host``, and the servers of the tiers into ``fleet``.
    """
    errors = []
    if not fleet["hosts"]:
        fleet["database_host"] = fleet["cache_host"] = fleet["media_host"] = None
        fleet["balancers"] = []
        fleet["backup_host"] = None
        return {host["name"]: {"roles": list(ROLES), "address": host["address"]}}, errors
    hosts = {name: fleet["hosts"][name] for name in sorted(fleet["hosts"])}
    own = hosts.get(host["name"])
    if own is None:
        host["roles"] = []
        shown = ", ".join(list(hosts)[:NAMES_SHOWN]) + (", …" if len(hosts) > NAMES_SHOWN else "")
        errors.append(
            f"django:hosts: expected an entry for this minion, {host['name']}; got {shown}"
            f"{django_schema.suggest(host['name'], hosts)}"
        )
    else:
        host["roles"] = [role for role in FLEET_ROLES if role in own["roles"]]
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
        for role in ("web", "static"):
            if {"balancer", role} <= set(item["roles"]):
                text = f"expected balancer on another host than {role}, since both want its ports"
                errors.append(f"django:hosts:{name}:roles: {text}")
        if "media" in item["roles"] and {"app", "worker"} & set(item["roles"]):
            text = "expected media on another host than app and worker, which mount its drive"
            errors.append(f"django:hosts:{name}:roles: {text}")
    if "media" in host["roles"] and host["init"] != "systemd":
        text = "expected media on a host that systemd runs, since its package has no init script"
        errors.append(f"django:hosts:{host['name']}:roles: {text}")
    balancers = [item["address"] for item in hosts.values() if "balancer" in item["roles"]]
    fleet["balancers"] = balancers
    needs = {
        "app": True,
        "web": bool(balancers),
        "database": any(_managed(item) for item in fleet["projects"].values()),
        "cache": any(_managed_cache(item) for item in fleet["projects"].values()),
        "media": False,
        "backup": bool(fleet["backup"]),
    }
    for role, needed in needs.items():
        having = [name for name, item in hosts.items() if role in item["roles"]]
        if needed and not having:
            errors.append(f"django:hosts: expected a host with the role {role}, got none")
        if role not in ("app", "web"):
            if len(having) > 1:
                errors.append(
                    f"django:hosts: expected one host with the role {role}, got {', '.join(having)}"
                )
            server = {"name": having[0], "address": hosts[having[0]]["address"]} if having else None
            fleet[f"{role}_host"] = server
    return hosts, errors


def _managed(project):
    entries = [project["database"], *project["databases"].values()]
    return any(
        entry["engine"] in ("postgresql", "mysql") and not entry["host"] for entry in entries
    )


def _managed_cache(project):
    cache = project["cache"]
    own_cache = cache["engine"] in ("redis", "memcached") and not cache["host"]
    return own_cache or django_project_broker.is_managed(project)


def _static_only(project):
    """Let a resolved project be one of which this host serves the static files and nothing else."""
    project["static_only"] = True
    # It has no programs, and its packages no supervisord.
    project["process_manager"] = "systemd"
    project["media"] = {**project["media"], "mount": {}, "folders": []}
    project["aws"] = bool(project["cdn"].get("distribution"))


def _config(fleet, host, hosts, hosts_of, projects, system):
    """The configuration of a valid pillar."""
    roles = set(host["roles"])
    runs = roles & {"app", "worker", "web"}
    released = [
        name
        for name, project in projects.items()
        if runs or ("static" in roles and project["static_site"])
    ]
    for name in released if not runs else ():
        _static_only(projects[name])
    workers = sorted(name for name, item in hosts.items() if "worker" in item["roles"])
    first_worker = workers[:1] == [host["name"]]
    held = django_server_postgresql.most_held(projects, hosts)
    for project in projects.values():
        project["processes"] = {
            name: item
            for name, item in project["processes"].items()
            if "worker" in roles and (first_worker or not item["single"])
        }
        if not first_worker:
            project["timers"] = {}
        project["web"]["locations"].update(
            django_queue.flower_locations(project["processes"], project["paths"]["run"])
        )
        project["steps"] = django_project_steps.steps(project)
        if "web" not in roles:
            project["web"]["cache"] = {}
        project["secret_specs"] = {
            name: spec
            for name, spec in project["secret_specs"].items()
            if host["name"] in hosts_of(project, name)
        }
    config = {
        **_nothing(host, []),
        "valid": True,
        "external": django_backends.configuration(fleet, host, hosts, projects),
        "probes": django_backends.probes(fleet, projects),
        "projects": projects,
        "released": released,
    }
    config["backends"] = django_backends.backends(hosts, projects, config["probes"])
    if roles & {"database", "replica"}:
        config["postgresql"] = django_server_postgresql.configuration(
            fleet, host, hosts, projects, system, held
        )
        if config["postgresql"]:
            config["warnings"] += django_server_postgresql.doubts(fleet, host, projects, held)
    if "database" in roles:
        config["mariadb"] = django_server_mariadb.configuration(
            fleet, host, hosts, projects, system, held
        )
    if "cache" in roles:
        config["redis"] = django_server_redis.configuration(fleet, host, hosts, projects)
        config["memcached"] = django_server_memcached.configuration(fleet, host, projects)
    fronts = {project["web"]["server"] for project in projects.values()}
    if "web" in roles and "nginx" in fronts:
        config["varnish"] = django_server_varnish.configuration(fleet, host, projects, system)
        config["nginx"] = django_server_nginx.configuration(fleet, host, projects, system)
    elif "web" not in roles and "static" in roles:
        config["nginx"] = django_server_nginx.configuration(fleet, host, projects, system)
        config["probes"] = {}
    if "web" in roles and "apache" in fronts:
        config["apache"] = django_server_apache.configuration(fleet, host, projects, system)
    if "balancer" in roles:
        config["balancer"] = pool = django_server_haproxy.configuration(fleet, hosts, projects)
        kind = fleet["balancer"]["server"]
        if kind == "haproxy":
            config["haproxy"] = pool
        elif kind == "nginx":
            config["nginx"] = django_server_nginx.balancer(fleet, host, pool, system)
        else:
            config["varnish"] = django_server_varnish.balancer(host, pool, system)
        config["keepalived"] = django_server_keepalived.configuration(fleet, host, hosts)
    if "media" in roles:
        config["nfs"] = django_server_nfs.configuration(fleet, host, hosts, projects)
    config["rivals"] = _rivals(config)
    managers = {project["process_manager"] for project in projects.values()}
    if roles & {"app", "worker"} and "supervisord" in managers:
        config["supervisord"] = {
            "log_level": fleet["supervisord"]["log_level"],
            "socket": "/run/supervisor.sock",
            "config": "/etc/supervisor/supervisord.conf",
            "include": "/etc/supervisor/conf.d",
        }
    config["warnings"] += django_memory.doubts(config, held)
    config["exporter"] = django_monitor.exporter(host, hosts)
    config["monitor"] = django_monitor.configuration(fleet, host, hosts, projects)
    config["firewall"] = django_firewall.configuration(fleet, host, hosts, config)
    config["pull"] = django_pull.configuration(fleet["pull"])
    config["backup"] = django_backup.configuration(fleet, host, projects, system)
    config["packages"] = _packages(config, fleet, system)
    tiers = {
        "django.valid": True,
        "django.host": True,
        "django.database.postgresql": config["postgresql"],
        "django.database.replication": config["postgresql"].get("replication"),
        "django.database.mariadb": config["mariadb"],
        "django.cache.redis": config["redis"],
        "django.cache.memcached": config["memcached"],
        "django.media.nfs": config["nfs"],
        "django.process.supervisord": config["supervisord"],
        "django.app.project": released,
        "django.backup.restic": config["backup"],
        "django.monitor.exporter": config["exporter"],
        "django.monitor.prometheus": config["monitor"],
        "django.web.varnish": config["varnish"],
        "django.web.nginx": config["nginx"],
        "django.web.apache": config["apache"],
        "django.balancer.haproxy": config["haproxy"],
        "django.balancer.varnish": config["balancer"] and config["varnish"],
        "django.balancer.keepalived": config["keepalived"],
        "django.balancer.external": config["external"],
        "django.host.firewall": config["firewall"],
        "django.host.pull": config["pull"],
        "django.app.departed": True,
    }
    config["tiers"] = [name for name, present in tiers.items() if present]
    return config


def _rivals(config):
    """
    Servers (list of dict) that the formula may have run before at the ports of this host's front
    door or balancer; none where it has neither.
    """
    if not any(config[kind] for kind in ("nginx", "apache", "balancer")):
        return []
    varnish = django_varnish.service(django_server_varnish.BALANCER, config["host"]["init"])
    known = {
        "nginx": ("nginx", "/etc/nginx/nginx.conf"),
        "apache": ("apache2", "/etc/apache2/apache2.conf"),
        "haproxy": (django_server_haproxy.SERVICE, django_server_haproxy.CONFIG),
        "varnish": (varnish, f"/etc/varnish/{django_server_varnish.BALANCER}.vcl"),
    }
    return [
        {"service": service, "configured": path}
        for kind, (service, path) in known.items()
        if not config[kind] or (kind == "varnish" and not config["balancer"])
    ]


def _packages(config, fleet, system):
    """All Debian packages that this host needs, sorted."""
    names = system["packages"]
    packages = {*names["base"], *fleet["packages"]}
    packages |= django_pull.packages(config["pull"], names, config["host"]["init"])
    for server in SERVERS:
        if config[server]:
            packages.update(names[server])
    if any(project["app"]["server"] == "mod_wsgi" for project in config["projects"].values()):
        packages.update(names["mod_wsgi"] if config["apache"] else [])
    for server in ("postgresql", "mariadb", "backup"):
        packages.update(config[server].get("packages", []))
    if set(config["host"]["roles"]) & {"app", "worker", "static"}:
        for name in config["released"]:
            project = config["projects"][name]
            for key in ("build", "run"):
                packages.update(project["system_packages"][key])
            if project["source"]["kind"] == "git":
                packages.update(names["git"])
                if not re.match(r"(https?|file|git)://|/", project["source"]["location"]):
                    packages.update(names["ssh"])
            share = project["media"]["mount"]
            packages.update(system["shares"].get(share["type"], []) if share else [])
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


def _merge(base, over):
    """Two maps as one, the second's values over the first's, in depth."""
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merge(result[key], value) if both else value
    return result
