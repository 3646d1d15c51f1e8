"""What is known of a host, out of its grains."""

import ipaddress

INNER_INTERFACES = ("docker", "br-", "virbr", "veth", "lxc", "cni", "flannel")  # not reachable


def facts(grains):
    """What the resolver needs to know of a host, out of Salt's grains.

    Returns ``{id, hostname, fqdn, cores, memory (MiB), addresses, interfaces: {address: name},
    init: systemd|sysv, os: {family, name, release}}``. Grains that are missing or odd get harmless
    values.
    """
    inner, interfaces = set(), {}
    for grain in ("ip4_interfaces", "ip6_interfaces"):
        for interface, items in (grains.get(grain) or {}).items():
            found = _addresses(items)
            interfaces.update({str(address): interface for address in found})
            if interface.startswith(INNER_INTERFACES):
                inner.update(found)
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
        "interfaces": dict(sorted(interfaces.items())),
        "init": "systemd" if grains.get("init") == "systemd" else "sysv",
        "os": {
            "family": str(grains.get("os_family") or "unknown"),
            "name": name,
            "release": release,
        },
    }


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
