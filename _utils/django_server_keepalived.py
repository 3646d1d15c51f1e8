"""
The address that several balancers have between them: Keepalived moves it to another one when the
balancer that has it does not serve any more.
"""

CONFIG = "/etc/keepalived/keepalived.conf"
SERVICE = "keepalived"
FIRST_PRIORITY = 200


def configuration(fleet, host, hosts):
    """
    What Keepalived's file says (dict); empty where the pillar names no floating address.

    Returns ``address``, ``interface``, ``router`` (1 to 255), ``priority`` (the first balancer by
    name has the highest), ``source`` (this host's address), ``peers`` (those of the other
    balancers) and ``port``, at which this balancer has to answer to be given the address.
    """
    floating = fleet["balancer"]["floating"]
    if not floating:
        return {}
    balancers = [name for name, item in sorted(hosts.items()) if "balancer" in item["roles"]]
    return {
        "address": floating["address"],
        "interface": floating["interface"] or host["interfaces"].get(host["address"]),
        "router": floating["router"],
        "priority": FIRST_PRIORITY - balancers.index(host["name"]),
        "source": host["address"],
        "peers": [hosts[name]["address"] for name in balancers if name != host["name"]],
        "port": fleet["haproxy"]["port"],
    }


def problems(fleet, host, hosts):
    """What is wrong with the floating address of a pillar, as messages (list of str)."""
    floating, messages = fleet["balancer"]["floating"], []
    if not floating:
        return messages
    path = "django:balancer:floating"
    balancers = [name for name, item in hosts.items() if "balancer" in item["roles"]]
    if len(balancers) < 2:
        told = ", ".join(balancers) or "none"
        messages.append(f"{path}: expected two hosts with the role balancer, got {told}")
    owners = {item["address"]: name for name, item in hosts.items()}
    if floating["address"] in owners:
        text = f"expected an address of its own, {floating['address']} is that of"
        messages.append(f"{path}:address: {text} {owners[floating['address']]}")
    own = not floating["interface"] and "balancer" in host["roles"]
    if own and host["address"] not in host["interfaces"]:
        text = "expected the interface of the balancers, since no interface of this host has"
        messages.append(f"{path}:interface: {text} {host['address']}")
    return messages
