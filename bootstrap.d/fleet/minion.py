"""A server becomes a minion of a Salt master whose key's fingerprint is known beforehand."""

import os
import pathlib
import time

import django_keys
import django_service
from masterless import registration
from session import DONE, FAILED, Refused, tell

from . import configuration, master, service

PORTS = (4505, 4506)


def run(options, screen):
    """Make this server a minion, or say what that would do; returns the exit status."""
    test = options.mode == "test"
    programs = os.path.dirname(os.path.realpath(options.salt_call))
    known = configuration.read(configuration.MINION) or {}
    fingerprint = options.fingerprint or known.get("master_finger")
    wanted = configuration.minion(
        options.master,
        django_keys.normal(fingerprint) if fingerprint else None,
        options.id or known.get("id"),
        registration.has_systemd(),
    )
    problems = [
        *configuration.conflicts(
            "minion", configuration.others("minion", configuration.MINION), wanted
        ),
        *wrong_master(pki() / "minion_master.pub", wanted.get("master_finger"), options.master),
        *unreachable(options.master),
    ]
    if problems:
        raise Refused(*problems)
    daemon = service.Service("minion", programs, configuration.MINION)
    done = []
    try:
        done += write(wanted, test)
        for text in daemon.needs(test):
            done.append(text)
        if not test:
            key = ready()
    except django_service.ServiceError as error:
        tell(screen, ["", *master.failed(error, done, options.log)])
        return FAILED
    if test:
        tell(screen, ["", *master.predicted(done)])
        return DONE
    took = time.time() - options.since
    tell(screen, ["", *master.concluded(done, took), *told(key, options)])
    return DONE


def settings():
    """The options (dict) of this server's minion as Salt reads them."""
    import salt.config

    return salt.config.minion_config(str(registration.SALT / "minion"), cache_minion_id=False)


def pki():
    """The folder (Path) of this server's keys."""
    return pathlib.Path(settings()["pki_dir"])


def wrong_master(path, fingerprint, address):
    """
    Sentences (list) about the key of a master that this server has, if it is not the one that was
    named.

    path
        Where the key is once a master has accepted this server, or an operator has put it there.
    fingerprint
        The one that was named; None where the key is to be believed.
    address
        The master's.
    """
    try:
        found = django_keys.fingerprint(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    except (OSError, ValueError, django_keys.KeyRefused) as error:
        return [f"{path} is to be the key of a master: {error}"]
    if fingerprint in (None, found):
        return []
    return [
        f"this server was shown another master's key: {path} has the fingerprint {found}, and not"
        f" {fingerprint}. Compare with what ./bootstrap --master prints on {address}. If it is the"
        f" one that you named, {path} is of another master: remove it, and run this again"
    ]


def unreachable(address):
    """Sentences (list) about ports of the master at which nobody answers."""
    closed = [str(port) for port in PORTS if not master.answers(address, port)]
    if not closed:
        return []
    return [
        f"nobody answers at {address}, port {' and '.join(closed)}. Is this the master's address,"
        " does salt-master run there (sudo ./bootstrap --master), do firewalls let this server in?"
    ]


def write(wanted, test):
    """Write the configuration; returns sentences (list) about what was written."""
    done = []
    if registration.differs(configuration.MINION, registration.render(wanted), 0o644):
        if not test:
            configuration.MINION.parent.mkdir(parents=True, exist_ok=True)
            registration.write(configuration.MINION, registration.render(wanted), 0o644)
        done.append(f"{configuration.MINION} is written")
    alone = registration.SALT / "minion.d" / registration.OURS
    if alone.exists():
        if not test:
            alone.unlink()
        done.append(f"{alone} is removed: this server had no master")
    return done


def ready():
    """
    The fingerprint of this server's key, once there is one.

    Raises :class:`django_service.ServiceError` when none comes.
    """
    key = pki() / "minion.pub"
    if not service.wait_for(key.exists):
        raise django_service.ServiceError(
            f"salt-minion has made no key; its log is {settings()['log_file']}"
        )
    return django_keys.fingerprint(key.read_text(encoding="utf-8"))


def told(key, options):
    """What an operator has to know and to type next (list of lines)."""
    name = settings()["id"]
    return [
        "",
        f"This server is {name}, a minion of the Salt master at {options.master}.",
        f"  its fingerprint  {key}",
        "",
        "Next, on the master:",
        f"  sudo salt-run django.accept {name} {key}",
        f"  sudo salt {name} state.apply",
        f"Log of this run: {options.log}",
    ]
