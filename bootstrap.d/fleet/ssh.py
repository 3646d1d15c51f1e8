"""
A server becomes an operator's, from which others are looked after over SSH: what salt-ssh is told,
its key, and what comes next. No daemon runs for it.
"""

import os
import pathlib
import shutil
import time

from masterless import registration
from session import DONE, Refused, tell

from . import configuration, master, service

CHAPTER = "Servers over SSH"
ROSTER = registration.SALT / "roster"
ROSTER_TEXT = (
    "# The servers are those of the pillar's django:hosts. Here is what else is to be known of\n"
    "# them, such as web1: {port: 2222}; docs/operations.md tells more.\n"
)
FORWARDED = "agent-forwarding"  # in place of a key's path: whatever key the operator's agent has


def run(options, screen):
    """Make this server an operator's, or say what that would do; returns the exit status."""
    test = options.mode == "test"
    programs = os.path.dirname(os.path.realpath(options.salt_call))
    folder = master.pillar_folder(options.repository, options.pillar)
    wanted = configuration.ssh(options.repository, folder)
    problems = configuration.conflicts(
        "master", configuration.others("master", configuration.SSH), wanted, CHAPTER
    )
    if problems:
        raise Refused(*problems)
    hosts = master.check_pillar(options.repository, options.pillar) if options.pillar else []
    if options.pillar and not hosts:
        raise Refused(
            f"{options.pillar}: expected django:hosts with each server's address and roles: that is"
            " where salt-ssh finds them"
        )
    done = [] if shutil.which("ssh") else ["openssh-client is installed"]
    done += master.write(configuration.SSH, wanted, folder, options.pillar, test)
    done += write_roster(test)
    key = key_path()
    done += make_key(key, test)
    done += make_folder(proc_path(), test)
    if test:
        tell(screen, ["", *master.predicted(done)])
        return DONE
    took = time.time() - options.since
    tell(screen, ["", *master.concluded(done, took), *told(key, folder, hosts, programs, options)])
    return DONE


def write_roster(test):
    """
    Write Salt's own roster where there is none: salt-ssh asks for it by name when a server's is in
    the DNS. Returns sentences (list) about what was written.
    """
    if ROSTER.exists():
        return []
    if not test:
        registration.write(ROSTER, ROSTER_TEXT, 0o644)
    return [f"{ROSTER} is written"]


def key_path():
    """Path of the key by which salt-ssh logs in, or None where it is the operator's own."""
    import salt.config

    options = salt.config.master_config(str(registration.SALT / "master"))
    given = options.get("ssh_priv") or f"{options['pki_dir']}/ssh/salt-ssh.rsa"
    return None if given == FORWARDED else pathlib.Path(given)


def make_key(path, test):
    """Make the key, as salt-ssh itself would at last; returns sentences (list) about it."""
    if path is None or path.exists():
        return []
    if not test:
        import salt.client.ssh.shell

        salt.client.ssh.shell.gen_key(str(path))
    return [f"{path} is made"]


def proc_path():
    """Path of the folder in which salt-run notes what it is at."""
    import salt.config

    options = salt.config.master_config(str(registration.SALT / "master"))
    return pathlib.Path(options["cachedir"], "proc")


def make_folder(path, test):
    """Make a folder that a master's daemon makes, and salt-run needs; returns sentences (list)."""
    if path.exists():
        return []
    if not test:
        path.mkdir(parents=True)
    return [f"{path} is made"]


def told(key, folder, hosts, programs, options):
    """What an operator has to know and to type next (list of lines)."""
    salt_ssh = service.command("salt-ssh", programs)
    lines = ["", "From here others are looked after over SSH.", f"  pillar of all  {folder}"]
    lines += [f"  servers        {master.shown(hosts)}"] if hosts else []
    lines += [f"  its key        {key}.pub"] if key else []
    first = "that key in root's authorized_keys on each server, and " if key else ""
    return [
        *lines,
        "",
        f"Next, {first}each server's",
        f"own key in /root/.ssh/known_hosts here: docs/operations.md, {CHAPTER}. Then:",
        f"  {salt_ssh} '*' test.ping                # whether each is reached, and has a Python",
        f"  {salt_ssh} '*' state.apply test=True    # what would change, or is wrong in the pillar",
        f"  {salt_ssh} '*' state.apply              # twice for new servers",
        f"Log of this run: {options.log}",
    ]
