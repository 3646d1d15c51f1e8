"""Test hosts by hand; $DJANGO_FORMULA_TEST_NAMESPACE keeps people on one machine apart."""

import argparse
import os
import subprocess
import sys

from . import images, machine, network, store
from .builder import HostError, prepare
from .host import Host, boot, find, image, namespace, remove, remove_orphans

BY_HAND = "hand"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python3 -m test.hosts", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("boot", help="boot a host and print its address")
    add.add_argument("name")
    add.add_argument("--image", default="bookworm")
    add.add_argument("--no-systemd", dest="systemd", action="store_false")
    add.add_argument("--cores", type=float, help="processor cores it may use, such as 0.5")
    add.add_argument("--memory", help="memory it may use, such as 512M")
    add.add_argument("--disk", help="what it may write, such as 300M")
    add.add_argument("--bind", action="append", default=[], help="a path of the builder to share")
    run = commands.add_parser("run", help="run a command in a host, with its exit status")
    run.add_argument("name")
    run.add_argument("words", nargs="+", metavar="CMD")
    shell = commands.add_parser("shell", help="open a shell in a host")
    shell.add_argument("name")
    commands.add_parser("list", help="list all hosts and images")
    base = commands.add_parser("image", help="make a base image unless it is there")
    base.add_argument("names", nargs="+", choices=images.BASES)
    destroy = commands.add_parser("destroy", help="remove hosts")
    destroy.add_argument("name", nargs="?")
    whose = destroy.add_mutually_exclusive_group()
    whose.add_argument("--all", action="store_true", help="yours, and those whose maker is gone")
    whose.add_argument("--everyone", action="store_true", help="of all people on this machine")
    return parser


def enter(host: Host, command: list[str], env: dict[str, str] | None = None) -> int:
    """Run a command in a host on this terminal and return its exit status."""
    return subprocess.run(host.argv(command, env), cwd="/").returncode


def show() -> None:
    """Print all hosts and images."""
    for record in store.records(store.HOSTS):
        power = "on" if machine.alive(record["nspawn"]) else "off"
        print(f"{record['id']:<30} {record['address']:<12} {power:<4} {record['image']}")
    for record in store.records(store.IMAGES):
        below = ", ".join(record["layers"][1:]) or "-"
        print(f"image {record['name']:<24} {record['key']} on {below}")


def destroy_all(everyone: bool) -> None:
    """Remove this namespace's hosts and orphans, or all; then the network when none is left."""
    for record in store.records(store.HOSTS):
        if everyone or record["namespace"] == namespace():
            remove(record)
            print(f"destroyed {record['id']}")
    for host_id in remove_orphans():
        print(f"destroyed {host_id}")
    with store.lock():
        store.discard_unused_disks()
        if not store.records(store.HOSTS):
            network.tear_down()


def main() -> int:
    """Do what the command line says and return the exit status."""
    options = vars(arguments().parse_args())
    command = options.pop("command")
    os.environ.setdefault("DJANGO_FORMULA_TEST_NAMESPACE", BY_HAND)
    prepare()
    if command == "boot":
        print(boot(**options).address)
    elif command == "run":
        return enter(find(options["name"]), options["words"])
    elif command == "shell":
        return enter(
            find(options["name"]), ["bash", "-l"], {"TERM": os.environ.get("TERM", "dumb")}
        )
    elif command == "list":
        show()
    elif command == "image":
        for name in options["names"]:
            image(name)
    elif options["all"] or options["everyone"]:
        destroy_all(options["everyone"])
    elif options["name"]:
        find(options["name"]).destroy()
    else:
        raise HostError("name a host, or give --all")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except HostError as error:
        sys.exit(f"test.hosts: {error}")
