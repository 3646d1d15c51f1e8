"""The network of the hosts: a bridge, a way out through the builder, and traffic that is blocked.

A host's network namespace is made before the host boots, so that its services find the address and
the default route set, as on a server. Names come from the last part of the address.
"""

import json
from pathlib import Path

from .builder import HostError, attempt, command

BRIDGE = "dft0"
GATEWAY = "10.77.0.1"
NETWORK = "10.77.0.0/24"
FIRST, LAST = 2, 254
TABLE = "django_formula_test"


def link(address: str) -> str:
    """The name of a host's interface on the builder, and of its network namespace."""
    return f"dft-{address.rpartition('.')[2]}"


def hardware_address(address: str) -> str:
    """Always the same for an address, so that no neighbour remembers that of an earlier host.

    The bridge has one, too: without, it takes that of a host's cable, another one when hosts come
    and go, and for half a minute all others send what leaves the bridge to where nobody listens.
    """
    return "02:00:" + ":".join(f"{int(part):02x}" for part in address.split("."))


def free_address(taken: set[str]) -> str:
    """The first address that no host has. Raises HostError when all are taken."""
    prefix = GATEWAY.rpartition(".")[0]
    for number in range(FIRST, LAST + 1):
        if (address := f"{prefix}.{number}") not in taken:
            return address
    raise HostError(f"all addresses of {NETWORK} are taken: destroy some hosts")


def uplink_mtu() -> str:
    """The largest packet, in bytes, of the builder's way out; the bridge must not exceed it."""
    routes = json.loads(command("ip", "-json", "route", "show", "default"))
    device = routes[0]["dev"] if routes else "lo"
    return Path(f"/sys/class/net/{device}/mtu").read_text().strip() if routes else "1500"


def set_up() -> None:
    """Make the bridge and the way out, unless they exist. Call with the lock held."""
    if Path(f"/sys/class/net/{BRIDGE}").exists() and attempt("nft", "list", "table", "inet", TABLE):
        return
    attempt("ip", "link", "delete", BRIDGE)
    hardware = ("address", hardware_address(GATEWAY))
    command("ip", "link", "add", BRIDGE, *hardware, "mtu", uplink_mtu(), "type", "bridge")
    command("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    command("ip", "link", "set", BRIDGE, "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    rules = f"""
        table inet {TABLE} {{
            chain postrouting {{
                type nat hook postrouting priority 100;
                ip saddr {NETWORK} ip daddr != {NETWORK} masquerade
            }}
        }}
        """
    command("nft", "-f", "-", input=rules)


def tear_down() -> None:
    """Remove the bridge and its rules. Call with the lock held and no host left."""
    attempt("ip", "link", "delete", BRIDGE)
    attempt("nft", "delete", "table", "inet", TABLE)
    attempt("nft", "delete", "table", "bridge", TABLE)


def attach(address: str) -> None:
    """Make a host's network namespace, with `eth0` on the bridge and its address and route set."""
    detach(address)
    name = link(address)
    mtu = Path(f"/sys/class/net/{BRIDGE}/mtu").read_text().strip()
    command("ip", "netns", "add", name)
    hardware = ("address", hardware_address(address))
    peer = ("peer", "name", "eth0", *hardware, "mtu", mtu, "netns", name)
    command("ip", "link", "add", name, "mtu", mtu, "type", "veth", *peer)
    command("ip", "link", "set", name, "master", BRIDGE, "up")
    inside = f"""
        address add {address}/24 dev eth0
        link set lo up
        link set eth0 up
        route add default via {GATEWAY}
        """
    command("ip", "-n", name, "-batch", "-", input=inside)


def detach(address: str) -> None:
    """Remove a host's network namespace and interface, if there."""
    attempt("ip", "link", "delete", link(address))
    attempt("ip", "netns", "delete", link(address))


def carry(address: str, up: bool) -> None:
    """Plug a host's cable in or out."""
    command("ip", "link", "set", link(address), "up" if up else "down")


def block(blocks: dict[str, list[dict]]) -> None:
    """Drop the traffic that hosts, by address, may not send: [{to: address, port: number or None}].

    Replaces all earlier blocks of all hosts. Lies on the bridge, where no host can undo it.
    """
    rules = []
    for source, targets in blocks.items():
        for target in targets:
            port = f"th dport {target['port']} " if target["port"] else ""
            rules.append(f"ip saddr {source} ip daddr {target['to']} {port}drop")
    chains = "\n".join(
        f"chain {hook} {{ type filter hook {hook} priority 0;\n" + "\n".join(rules) + "\n}"
        for hook in ("input", "forward")
    )
    table = f"table bridge {TABLE}"
    command("nft", "-f", "-", input=f"{table} {{}}\ndelete {table}\n{table} {{\n{chains}\n}}\n")


def nameservers() -> str:
    """The text of a resolv.conf that works in a host: the builder's, or what is behind it."""
    for path in (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf")):
        if path.exists() and "nameserver 127." not in (text := path.read_text()):
            return text
    raise HostError("no name server found that a host could reach")
