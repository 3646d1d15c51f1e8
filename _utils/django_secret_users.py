"""Which hosts of the map need which secret of a project; no other is told it."""

import django_namespace
import django_references


def needing(hosts):
    """Function from a resolved project and a secret's name to the hosts that need the secret."""

    def having(roles):
        return [name for name, item in hosts.items() if roles & set(item["roles"])]

    def call(project, name):
        if name == "flower.password":
            return having({"worker"})[:1]
        return having(_users_of(project, name))

    return call


def _users_of(project, name):
    """Roles (set) whose hosts need a secret of a project."""
    roles = {"app", "worker"}
    if project["static_site"] and name in _of_static_hosts(project):
        roles.add("static")
    is_redis = name in ("cache.password", "broker.password")
    if is_redis and project[name.split(".")[0]]["managed"]:
        roles.add("cache")
    if name.startswith("database."):
        roles |= {"backup"} if project["backup"]["database"] else set()
        if project["databases"][name.split(".")[1]]["managed"]:
            roles |= {"database", "replica"}  # which may be promoted
    return roles


def _of_static_hosts(project):
    """
    Names (set of str) of the secrets that a host needs to collect a project's static files: what
    the settings read, and what a release is made of. It reaches neither database nor cache.
    """
    made = [entry["content"] for entry in project["files"] if entry["where"] == "release"]
    made += [step["environment"] for step in project["build"]]
    made.append(project["python"]["environment"])
    found = {django_namespace.secret_of(name) for name in django_references.find(made)}
    sources = ("source.", "python.", "cdn.")
    found |= {name for name in project["secret_specs"] if name.startswith(sources)}
    return found | set(project["secrets"])
