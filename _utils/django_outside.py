"""Taking a host away from a balancer of somebody else for a while, and giving it back."""

import http.client
import ssl
import time

import django_drained
import django_schema
import django_targets
import django_told

LOCK = "backends"  # of whoever looks at the list of backends and changes it
POLL_SECONDS = 0.5
HEALTH_TIMEOUT = 5


class OutsideError(Exception):
    """The balancer goes on as it did; the message says why."""


class Keeper:
    """
    What this host has to say about the backends of the balancer.

    config
        The configuration, with its secrets; it has an external balancer.
    read_file
        Function from a ``salt://`` URL to the file's text.
    """

    def __init__(self, config, read_file):
        self._external, self._backends = config["external"], config["backends"]
        self._own = config["host"]["name"]
        self._tells = bool(self._external["hook"].get("here"))
        self._targets = self._external["targets"] and django_targets.Groups(config, read_file)

    def knows(self):
        """Names (list) of the hosts of which this one knows whether they are drained."""
        if self._tells:
            return list(self._external["members"])
        return [self._own] if self._targets else []

    def drained(self):
        """Those of them (list) that are drained."""
        listed = django_drained.load()
        return [name for name in self.knows() if name in listed]

    def member(self, host):
        """The name (str) of a host that this one can drain."""
        names = self._external["members"]
        if str(host) not in names:
            hint = django_schema.suggest(host, names) or f"; there are: {', '.join(names)}"
            raise OutsideError(f"No host {str(host)!r} is behind the balancer{hint}")
        if str(host) not in self.knows():
            hook, ways = self._external["hook"], []
            ways += [f"on {hook['host']}, which tells the balancer"] if hook else []
            ways += [f"on {host} itself"] if self._targets else []
            where = " and ".join(ways) or "at the balancer, of which the pillar says neither hook"
            where += "" if ways else " nor aws"
            raise OutsideError(
                f"{host} is drained {where}; salt-run django.drain does where it can"
            )
        return str(host)

    def drain(self, host, timeout, test=False):
        """
        Let the balancer pass no new requests to a host. Returns what changed (dict), and of target
        groups what they say of it after at most ``timeout`` seconds (dict).
        """
        listed = django_drained.load()
        self._refuse_the_last(host, listed)
        changes = {} if host in listed else {host: {"old": "ready", "new": "drained"}}
        if not test and host not in listed:
            listed[host] = django_drained.now()
            django_drained.save(listed)
        changes.update(self._tell([*listed, host], test))
        states = {}
        if self._targets and host == self._own:
            changes.update(self._targets.settle(True, test)[0])
            states = {} if test else self._targets.wait(["gone"], timeout)
        return changes, states

    def undrain(self, host, timeout, test=False):
        """The same, back: this host itself is asked for its health first."""
        listed = django_drained.load()
        problem = self._problem(timeout) if host == self._own else None
        if problem:
            raise OutsideError(f"{host} stays drained, since it is not healthy. {problem}")
        changes = {host: {"old": "drained", "new": "ready"}} if host in listed else {}
        if listed.pop(host, None) and not test:
            django_drained.save(listed)
        changes.update(self._tell(list(listed), test))
        states = {}
        if self._targets and host == self._own:
            changes.update(self._targets.settle(False, test)[0])
            states = {} if test else self._targets.wait(django_targets.WELL, timeout)
        return changes, states

    def _tell(self, drained, test):
        if not self._tells:
            return {}
        return django_told.tell(self._external, self._backends, drained, test)

    def _refuse_the_last(self, host, listed):
        if host in listed:
            return
        others = [name for name in self._external["members"] if name != host and name not in listed]
        if self._tells and not others:
            raise OutsideError(f"Without {host} no host would serve. Nothing was changed.")
        if self._targets and host == self._own:
            self._targets.refuse_the_last()

    def _problem(self, timeout):
        """Why the front door of this host is not well (str), or None."""
        deadline = time.monotonic() + timeout
        while True:
            found = (_ask(self._own, name, entry) for name, entry in self._backends.items())
            problem = next((reason for reason in found if reason), None)
            if problem is None or time.monotonic() > deadline:
                return problem
            time.sleep(POLL_SECONDS)


def _ask(own, name, entry):
    """Why a project is not well at this host's own front door (str), or None."""
    (server,) = (each for each in entry["servers"] if each["name"] == own)
    health = entry["health"]
    host = health["host"] or server["address"]
    asked = f"{name}: GET {health['path']} with Host {host}"
    connection = http.client.HTTPConnection("127.0.0.1", server["port"], timeout=HEALTH_TIMEOUT)
    try:
        connection.connect()
        if server["scheme"] == "https":
            connection.sock = _secured(connection.sock, host)
        connection.request("GET", health["path"], headers={"Host": host, "Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{asked} got no answer from this host: {error}"
    finally:
        connection.close()
    expected = ", ".join(map(str, health["status"]))
    return None if status in health["status"] else f"{asked} answered {status}, not {expected}"


def _secured(sock, host):
    """A socket with TLS to this host itself, whose certificate needs no proof."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(sock, server_hostname=host)
