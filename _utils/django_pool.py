"""The pool of a balancer: which hosts get requests, and how one leaves it and comes back."""

import http.client
import pathlib
import time

import django_drained
import django_haproxy
import django_layout
import django_schema
import django_server_haproxy
import django_service

POLL_SECONDS = 0.2
HEALTH_TIMEOUT = 5
READY_SECONDS = 5  # a new HAProxy takes to be the one that answers, after a reload


class PoolError(Exception):
    """The pool stays as it is; the message says why."""


def member(config, host):
    """The name (str) of a host in the pool; PoolError with a hint where there is none such."""
    names = members(config)
    if str(host) not in names:
        known = ", ".join(names)
        hint = django_schema.suggest(host, names) or f"; there are: {known}"
        raise PoolError(f"No host {str(host)!r} is behind this balancer{hint}")
    return str(host)


def members(config):
    """Names (list of str) of the hosts behind the balancer. config: that of HAProxy."""
    return list(_addresses(config))


def _addresses(config):
    return {
        each["name"]: each["address"]
        for project in config["projects"]
        for each in project["members"]
    }


def look(config):
    """
    The pool of each project: ``{project: {host: {state, drained, requests}}}``, with ``since``
    where it is drained. Requests (int) are all that are on their way to the host.
    """
    listed, states = django_drained.load(), django_haproxy.servers()
    found = {}
    for project in config["projects"]:
        found[project["name"]] = pool = {}
        for each in project["members"]:
            name = each["name"]
            pool[name] = {
                "state": states.get(project["name"], {}).get(name, "unknown"),
                "drained": name in listed,
                "requests": _requests(each["address"]),
            }
            pool[name].update({"since": listed[name]} if name in listed else {})
    return found


def _requests(address):
    host, port = _parts(address)
    return django_haproxy.connections(host, port)


def _parts(address):
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def drain(config, host, timeout, test=False):
    """
    Let a host get no new requests, and wait until it has answered those that it has, at most for
    ``timeout`` seconds. Returns what changed (dict) and how many are left (int).

    The list comes first, then HAProxy's file, then HAProxy: whatever ends this in the middle, the
    next run goes on from the list.
    """
    listed, states = django_drained.load(), django_haproxy.servers()
    changes = {}
    if host not in listed:
        _refuse_the_last(config, host, listed, states)
    if host not in listed or not _file_agrees(listed) or _lagging(config, [host], states):
        changes = {host: {"old": words(config, host, states), "new": "drained"}}
    if test:
        return changes, _requests(_addresses(config)[host])
    if host not in listed:
        listed[host] = django_drained.now()
        django_drained.save(listed)
    return changes, _wait(config, host, list(listed), timeout)


def _having(config, host):
    """Projects (list of dict) that have a host behind them."""
    return [
        project
        for project in config["projects"]
        if host in [each["name"] for each in project["members"]]
    ]


def _refuse_the_last(config, host, listed, states):
    for project in _having(config, host):
        names = [each["name"] for each in project["members"]]
        others = {
            name: "drained" if name in listed else states.get(project["name"], {}).get(name, "new")
            for name in names
            if name != host
        }
        if not any(django_haproxy.serves(state) for state in others.values()):
            left = ", ".join(f"{name} is {state}" for name, state in others.items())
            raise PoolError(
                f"Without {host} no host would serve {project['name']}"
                f" ({left or 'there is no other'}). Nothing was changed."
            )


def words(config, host, states):
    """What HAProxy says of a host (str), each state once."""
    found = [states.get(each["name"], {}).get(host, "unknown") for each in _having(config, host)]
    return ", ".join(dict.fromkeys(found))


def _wait(config, host, listed, timeout):
    """How many requests (int) a host has left, once there are none or the time is over."""
    deadline, address = time.monotonic() + timeout, _addresses(config)[host]
    idle = False
    while True:
        # A reload that was under way may have started with what the file said before.
        settle(config, listed)
        left = _requests(address)
        if (idle and not left) or time.monotonic() > deadline:
            return left
        idle = not left
        time.sleep(POLL_SECONDS)


def undrain(config, host, timeout, test=False):
    """
    Let a host that answers as it should get requests again; a PoolError where it does not within
    ``timeout`` seconds. Returns what changed (dict).
    """
    listed, states = django_drained.load(), django_haproxy.servers()
    if host not in listed and not _outs(config, host, states):
        return {}
    problem = _problem(config, host, timeout)
    if problem:
        raise PoolError(f"{host} stays drained, since it is not healthy. {problem}")
    changes = {host: {"old": "drained", "new": "ready"}}
    if test:
        return changes
    if listed.pop(host, None):
        django_drained.save(listed)
    deadline = time.monotonic() + READY_SECONDS
    while True:
        settle(config, list(listed), [host])
        if not _outs(config, host, django_haproxy.servers()):
            return changes
        if time.monotonic() > deadline:
            raise PoolError(f"HAProxy keeps {host} out after it was told to take it in")
        time.sleep(POLL_SECONDS)


def _outs(config, host, states):
    """Projects (list of str) that have a host kept out."""
    names = [project["name"] for project in _having(config, host)]
    return [
        name for name in names if django_haproxy.is_out(states.get(name, {}).get(host, "unknown"))
    ]


def _problem(config, host, timeout):
    """Why a host is not healthy (str), for one project at least; None where it is."""
    deadline = time.monotonic() + timeout
    while True:
        found = (_ask(project, host) for project in _having(config, host))
        problem = next((reason for reason in found if reason), None)
        if problem is None or time.monotonic() > deadline:
            return problem
        time.sleep(POLL_SECONDS)


def _ask(project, host):
    """One question for a host's health, as HAProxy asks; why it is not well (str), or None."""
    name, port = _parts(_addresses({"projects": [project]})[host])
    connection = http.client.HTTPConnection(name, port, timeout=HEALTH_TIMEOUT)
    headers = {
        "Host": project["host"],
        "X-Forwarded-Proto": project["scheme"],
        "User-Agent": "django-formula",
        "Connection": "close",
    }
    asked = f"{project['name']}: GET {project['path']} with Host {project['host']}"
    try:
        connection.request("GET", project["path"], headers=headers)
        status = str(connection.getresponse().status)
    except (OSError, http.client.HTTPException) as error:
        return f"{asked} got no answer from {name} port {port}: {error}"
    finally:
        connection.close()
    wanted = project["status"].split(",")
    return None if status in wanted else f"{asked} answered {status}, expected {project['status']}"


def settle(config, drained, freed=()):
    """
    Let HAProxy and its file have just these hosts (lists of names) as drained; those that it does
    not know yet come with its next file.
    """
    _settle_file(drained)
    states = django_haproxy.servers()
    for project in config["projects"]:
        known = states.get(project["name"], {})
        for names, state, wanted in ((drained, "maint", True), (freed, "ready", False)):
            for name in names:
                if name in known and django_haproxy.is_out(known[name]) != wanted:
                    django_haproxy.set_state(project["name"], name, state)


def _lagging(config, names, states):
    """Those of the hosts (list of str) that HAProxy should keep out and does not."""
    known = [states.get(project["name"], {}) for project in config["projects"]]
    return [
        name
        for name in names
        if any(name in each and not django_haproxy.is_out(each[name]) for each in known)
    ]


def _file_agrees(listed):
    """Whether HAProxy's file has just the hosts on the list as drained."""
    text = _file()
    return text == django_drained.mark(text, listed)


def _file():
    try:
        return pathlib.Path(django_server_haproxy.CONFIG).read_text(encoding="utf-8")
    except OSError:
        return ""


def _settle_file(drained):
    """Let HAProxy's file say what HAProxy is told, without a reload; nothing else of it changes."""
    path, service = django_server_haproxy.CONFIG, django_server_haproxy.SERVICE
    text = _file()
    wanted = django_drained.mark(text, drained)
    if text == wanted:
        return
    is_read = not django_service.unread(service, [path])
    django_layout.write_atomic(path, wanted)
    if is_read:
        django_service.note_read(service)


def keep(config, test=False):
    """
    Let the pool be as the list says, from which hosts are dropped that left the map. Returns what
    changed (dict) and what an operator has to know (list of str).
    """
    listed, known = django_drained.load(), members(config)
    kept = {name: since for name, since in listed.items() if name in known}
    changes = {"forgotten": sorted(set(listed) - set(kept))} if len(kept) < len(listed) else {}
    told = django_drained.told(kept)
    try:
        states = _after_a_reload(config, kept, test)
    except django_haproxy.HAProxyError:
        if not test:
            raise
        return changes, told  # the run starts it, by its file
    # In a test, what the file lacks comes with the file.
    lagging = _lagging(config, kept, states) if not test or _file_agrees(kept) else []
    changes.update({"drained": lagging} if lagging else {})
    if changes and not test:
        django_drained.save(kept)
        settle(config, list(kept))
    return changes, [
        *told,
        *(
            f"{name} gets no requests, as somebody told HAProxy; back into the pool:"
            f" salt-call django.undrain {name}"
            for name in _kept_out_by_hand(config, kept, states)
        ),
    ]


def _kept_out_by_hand(config, listed, states):
    return [name for name in members(config) if name not in listed and _outs(config, name, states)]


def _after_a_reload(config, listed, test):
    """The states of the servers, once the HAProxy that answers is the one with the new file."""
    while True:
        states = django_haproxy.servers()
        is_fresh = django_service.read_ago(django_server_haproxy.SERVICE) < READY_SECONDS
        differs = _lagging(config, listed, states) or _kept_out_by_hand(config, listed, states)
        if test or not differs or not is_fresh:
            return states
        time.sleep(POLL_SECONDS)
