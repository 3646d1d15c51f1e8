"""A server becomes a Salt master: configuration, pillar of all, service, and what comes next."""

import os
import pathlib
import socket
import time

import django_keys
import django_service
import session
from masterless import registration
from masterless.engine import Engine
from session import DONE, FAILED, Refused, tell

from . import configuration, service

NAMES_SHOWN = 12
EMPTY = (
    "# The pillar of all servers. README.md has the beginning of one, pillar.example and\n"
    "# docs/pillar.md have all that can be in it.\n{}\n"
)


class Guest(registration.Registration):
    """
    A minion that is none, as which the pillar is looked at.

    name
        Its name; None for that of this server.
    """

    def __init__(self, repository, name=None):
        super().__init__(repository, managed="only its pillar is looked at")
        self.name = name

    def minion_id(self):
        """The name (str or None)."""
        return self.name


def run(options, screen):
    """Make this server a master, or say what that would do; returns the exit status."""
    test = options.mode == "test"
    programs = os.path.dirname(os.path.realpath(options.salt_call))
    folder = pillar_folder(options.repository, options.pillar)
    wanted = configuration.master(options.repository, folder)
    problems = configuration.conflicts(
        "master", configuration.others("master", configuration.MASTER), wanted
    )
    if problems:
        raise Refused(*problems)
    hosts = check_pillar(options.repository, options.pillar) if options.pillar else []
    daemon = service.Service("master", programs, configuration.MASTER)
    done = []
    try:
        done += write(configuration.MASTER, wanted, folder, options.pillar, test)
        for text in daemon.needs(test):
            done.append(text)
        if not test:
            key = ready()
    except django_service.ServiceError as error:
        tell(screen, ["", *failed(error, done, options.log)])
        return FAILED
    if test:
        tell(screen, ["", *predicted(done)])
        return DONE
    took = time.time() - options.since
    tell(screen, ["", *concluded(done, took), *told(key, folder, hosts, programs, options)])
    return DONE


def pillar_folder(repository, given):
    """
    The folder (Path) of the pillar of all: the one that is named, or that the master or salt-ssh
    has already, or that this server has without a master.
    """
    if given:
        return given if given.is_dir() else registration.PILLAR
    for path in (configuration.MASTER, configuration.SSH):
        said = (configuration.read(path) or {}).get("pillar_roots", {}).get("base")
        if said:
            return pathlib.Path(said[0])
    return registration.Registration(repository, registration.managed_by()).pillar_folder()


def check_pillar(repository, pillar):
    """
    The names (list) in the pillar's map of hosts. Raises Refused with all that is wrong with it, as
    the first of them has it; what others have is seen by ``salt '*' django.validate``.
    """
    folder = pillar
    if not pillar.is_dir():
        folder = session.scratch() / "pillar"
        registration.candidate(folder, pillar)
    hosts = names(repository, folder)
    with Engine(Guest(repository, hosts[0] if hosts else None), folder, test=True) as salt:
        salt.check_pillar(pillar)
    return hosts


def names(repository, folder):
    """The names (sorted list) of the map of hosts, as far as there is one to be read."""
    with Engine(Guest(repository), folder, test=True) as salt:
        django = salt.caller.sminion.opts["pillar"].get("django")
    hosts = django.get("hosts") if isinstance(django, dict) else None
    return sorted(map(str, hosts)) if isinstance(hosts, dict) else []


def write(path, wanted, folder, pillar, test):
    """
    Write configuration, to this path, and pillar; returns sentences (list) about what was written.
    """
    files = [(path, registration.render(wanted), 0o644)]
    if folder == registration.PILLAR:
        site, top = folder / "site.sls", folder / "top.sls"
        if pillar or not site.exists():
            files.append((site, pillar.read_bytes() if pillar else EMPTY, 0o600))
        if not top.exists():
            files.append((top, registration.TOP, 0o600))
    changed = [item for item in files if registration.differs(*item)]
    if not test:
        for path, *_ in changed:
            path.parent.mkdir(parents=True, exist_ok=True)
        if folder == registration.PILLAR:
            folder.chmod(0o700)
        for item in changed:
            registration.write(*item)
    return [f"{path} is written" for path, *_ in changed]


def ready():
    """
    The fingerprint of the master's key, once it answers.

    Raises :class:`django_service.ServiceError` when it does not.
    """
    import salt.config

    options = salt.config.master_config(str(registration.SALT / "master"))
    key = pathlib.Path(options["pki_dir"], "master.pub")
    if not service.wait_for(lambda: key.exists() and answers("127.0.0.1", options["ret_port"])):
        raise django_service.ServiceError(
            f"salt-master does not answer at port {options['ret_port']};"
            f" its log is {options['log_file']}"
        )
    return django_keys.fingerprint(key.read_text(encoding="utf-8"))


def answers(address, port, seconds=5):
    """Whether somebody takes a connection (bool)."""
    try:
        socket.create_connection((address, port), timeout=seconds).close()
    except OSError:
        return False
    return True


def own_address():
    """The address (str) at which most others reach this server, or its name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
            return probe.getsockname()[0]
        except OSError:
            return socket.gethostname()


def predicted(done):
    """What ``--test`` says (list of lines)."""
    if not done:
        return ["Nothing would change."]
    return ["This would be done:", *(f"  {text}" for text in done)]


def failed(error, done, log):
    """What went wrong after these things were done (list of lines)."""
    before = ["Done before that:", *(f"  {text}" for text in done)] if done else []
    again = f"Put it right, and run bootstrap again: it goes on from here. Log of this run: {log}"
    return [f"bootstrap: {error}", *before, again]


def concluded(done, took):
    """What was done (list of lines)."""
    seconds = f"{took:.0f} s"
    if not done:
        return [f"No changes in {seconds}: all is as it should be."]
    return [f"Done in {seconds}:", *(f"  {text}" for text in done)]


def shown(hosts):
    """The names of servers, or the first of them, as a text."""
    more = ", …" if len(hosts) > NAMES_SHOWN else ""
    return ", ".join(hosts[:NAMES_SHOWN]) + more


def told(key, folder, hosts, programs, options):
    """What an operator has to know and to type next (list of lines)."""
    which = f" ({shown(hosts)})" if hosts else ""
    salt = service.command("salt", programs)
    return [
        "",
        "This server is a Salt master.",
        f"  pillar of all    {folder}",
        f"  its fingerprint  {key}",
        "",
        "Next, on each server that it is to look after, in a checkout of this repository:",
        f"  sudo ./bootstrap --minion {own_address()} --master-fingerprint {key} --id NAME",
        f"NAME is the server's in django:hosts{which}. That prints the command with which its key",
        "is accepted here. Then, here:",
        f"  {salt} '*' state.apply test=True    # what would change, or is wrong with the pillar",
        f"  {salt} '*' state.apply              # twice for new servers",
        f"Log of this run: {options.log}",
    ]
