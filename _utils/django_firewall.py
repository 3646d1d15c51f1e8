"""The firewall of a host: what its roles let in, as rules and as a script of nftables."""

import ipaddress
import re

import django_backup
import django_monitor

TABLE = "django_formula"
SERVICE = "django-firewall"
RULES = "/etc/django-formula/firewall.nft"
SALT_PORTS = [4505, 4506]
VRRP = "112"  # the protocol's number: its name is not known on a host without /etc/protocols
MASTER = "salt-master"
GUARDED = ("sshd", MASTER)  # programs of those who must not be locked out
OWNER = re.compile(r'\(\("(.*?)",pid=(\d+)')
WORDS = 3  # of a command line, among which a program's name is: the interpreter's and its options
# The kernel follows connections from the first rule that asks for their state, so what is open then
# is new to it: a minion waits for its master, a worker for its queue. None begins without a SYN.
HEAD = f"""\
#!/usr/sbin/nft -f
# Written by django-formula; the next run replaces changes.

table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
\tchain input {{
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established,related accept
\t\tct state invalid drop
\t\tct state new tcp flags ack / syn,ack accept comment "TCP that began before the rules"
\t\tiif "lo" accept
\t\tmeta l4proto {{ icmp, ipv6-icmp }} accept
\t\tip6 saddr fe80::/10 udp sport 547 udp dport 546 accept comment "DHCPv6"
"""


def configuration(fleet, host, hosts, config):
    """
    What this host lets in (dict); empty where the pillar has no ``firewall``.

    Returns ``{"rules": [{"for", "protocol", "ports", "from"}], "members": [address]}``: rules
    without ``from`` are for anybody, those without ``ports`` for all of a protocol, and members are
    the fleet's other hosts.
    """
    given = fleet["firewall"]
    if given is None:
        return {}
    roles = set(host["roles"])

    def having(*wanted):
        return [
            item["address"]
            for name, item in hosts.items()
            if name != host["name"] and set(wanted) & set(item["roles"])
        ]

    rules = [_rule("SSH", given["ssh"]["ports"], given["ssh"]["from"])]
    if "web" in roles:
        fronts = {project["web"]["server"] for project in config["projects"].values()}
        encrypted = any(
            project["web"]["tls"] or ("static" in roles and project["static_site"].get("tls"))
            for project in config["projects"].values()
        )
        ports = [fleet[front]["port"] for front in sorted(fronts)]
        ports += [fleet[front]["tls_port"] for front in sorted(fronts) if encrypted]
        balancers = fleet["balancers"]
        if not balancers and config["external"].get("from"):
            balancers = [*config["external"]["from"], *django_monitor.addresses(hosts, host)]
        rules.append(_rule("front door", ports, balancers))
    elif config["nginx"] and "static" in roles:
        encrypted = any(site["tls"] for site in config["nginx"]["sites"].values())
        ports = [fleet["nginx"]["port"], *([fleet["nginx"]["tls_port"]] if encrypted else [])]
        rules.append(_rule("static files", ports, fleet["balancers"]))
    if config["balancer"]:
        balancer = config["balancer"]
        encrypted = any(project["tls"] for project in balancer["projects"])
        ports = [balancer["port"], *([balancer["tls_port"]] if encrypted else [])]
        rules.append(_rule("balancer", ports, []))
        statistics = balancer["statistics"]
        if statistics and statistics["from"]:
            rules.append(_rule("statistics", [statistics["port"]], statistics["from"]))
    if config["exporter"] and django_monitor.addresses(hosts, host):
        monitors = django_monitor.addresses(hosts, host)
        rules.append(_rule("monitor", [django_monitor.EXPORTER_PORT], monitors))
    if config["keepalived"]:
        rules.append(_rule("floating address", [], config["keepalived"]["peers"], VRRP))
    runners = having("app", "worker")
    savers = [] if not django_backup.is_needed(fleet) else having("backup")
    copies = [
        peer["address"] for peer in config["postgresql"].get("replication", {}).get("peers", [])
    ]
    servers = [
        ("PostgreSQL", [config["postgresql"]["port"]] if config["postgresql"] else []),
        ("MariaDB", [config["mariadb"]["port"]] if config["mariadb"] else []),
        ("NFS", [config["nfs"]["port"]] if config["nfs"] else []),
        ("Redis", [each["port"] for each in config["redis"].get("instances", [])]),
    ]
    for title, ports in servers:
        users = [*runners, *(copies if title == "PostgreSQL" else [])]
        users += savers if title in ("PostgreSQL", "MariaDB") else []
        users = [*dict.fromkeys(users)]
        rules += [_rule(title, ports, users)] if ports and users else []
    rules += [
        _rule("pillar", [each["port"]], each["from"], each["protocol"]) for each in given["allow"]
    ]
    members = [item["address"] for name, item in hosts.items() if name != host["name"]]
    return {"rules": rules, "members": members}


def _rule(title, ports, networks, protocol="tcp"):
    return {"for": title, "protocol": protocol, "ports": sorted(ports), "from": list(networks)}


def with_salt(configuration, listening, is_master):
    """
    The rules (list) with those for minions, where this host is a master of Salt.

    listening
        Who listens: list of ``(program, address, port)``.
    is_master
        Whether the host has a master's key: one that is stopped for the moment is a master, too.
    """
    rules, members = configuration["rules"], configuration["members"]
    ports = {
        port
        for program, address, port in listening
        if program == MASTER and not _address(address).is_loopback
    }
    if members and (ports or is_master):
        return [*rules, _rule("Salt", ports.union(SALT_PORTS), members)]
    return rules


def script(rules):
    """The script (str) that puts these rules in the place of those before, in one step."""
    lines = [line for rule in rules for line in _lines(rule)]
    return HEAD + "".join(f"\t\t{line}\n" for line in lines) + "\t}\n}\n"


def _lines(rule):
    match = f'meta l4proto {rule["protocol"]} accept comment "{rule["for"]}"'
    if rule["ports"]:
        match = f'{rule["protocol"]} dport {_set(rule["ports"])} accept comment "{rule["for"]}"'
    if not rule["from"]:
        return [match]
    networks = list(ipaddress.collapse_addresses(_networks(rule["from"], 4)))
    networks6 = list(ipaddress.collapse_addresses(_networks(rule["from"], 6)))
    return [
        f"{family} saddr {_set(found)} {match}"
        for family, found in (("ip", networks), ("ip6", networks6))
        if found
    ]


def _networks(items, version):
    networks = (ipaddress.ip_network(item, strict=False) for item in items)
    return [network for network in networks if network.version == version]


def _set(items):
    """Items as nftables writes them; an address without the length of its own."""
    words = [_short(item) for item in items]
    return words[0] if len(words) == 1 else "{ " + ", ".join(words) + " }"


def _short(item):
    """A port or a network, a single address without a length."""
    single = getattr(item, "prefixlen", None) == getattr(item, "max_prefixlen", 0)
    return str(item.network_address if single else item)


def locked_out(rules, listening, connected, own=()):
    """
    Whom these rules would lock out, as messages (list of str): programs that must be reached at
    ports which no rule opens, and those who are connected to one and could not come again.

    listening
        List of ``(program, address, port)``.
    connected
        List of ``(program, port, peer's address)``, those that this host accepted.
    own
        Addresses (list of str) of this host, which reaches itself always.
    """
    connected = [each for each in connected if _address(each[2]) not in set(map(_address, own))]
    told = []
    for program, address, port in sorted(set(listening)):
        if program not in GUARDED or _address(address).is_loopback:
            continue
        if not any(port in rule["ports"] for rule in rules if rule["protocol"] == "tcp"):
            told.append(f"{program} listens at port {port}, which no rule opens")
    for program, port, peer in sorted(set(connected)):
        if program in GUARDED and not is_let_in(rules, port, peer):
            told.append(f"{peer} is connected to {program} (port {port}) and could not come again")
    return told


def is_let_in(rules, port, peer):
    """Whether a peer's address may open a TCP connection to a port."""
    address = _address(peer)
    return address.is_loopback or any(
        port in rule["ports"]
        and (not rule["from"] or any(address in network for network in _all(rule["from"])))
        for rule in rules
        if rule["protocol"] == "tcp"
    )


def _all(items):
    return [ipaddress.ip_network(item, strict=False) for item in items]


def _address(text):
    """An address as ss writes it, with an interface's name or none."""
    plain = text.strip("[]").partition("%")[0]
    address = ipaddress.ip_address("::" if plain == "*" else plain)
    return getattr(address, "ipv4_mapped", None) or address


def sockets(text, arguments):
    """
    What ``ss -Htnp state …`` says: list of ``(program, local address, local port, peer's
    address)``. Sockets of the kernel, which no program has, are left out.

    arguments
        Function: the command line (str) of a process by its id (int). Salt's programs are Python,
        and give their processes titles, so that ss cannot know which they are.
    """
    found = []
    for line in text.splitlines():
        fields = line.split(None, 4)
        owner = OWNER.search(fields[4]) if len(fields) == 5 else None
        if owner:
            words = re.split(r"[\0 ]", arguments(int(owner[2])))[:WORDS]
            is_master = any(word.rpartition("/")[2] == MASTER for word in words)
            address, _, port = fields[2].rpartition(":")
            peer = fields[3].rpartition(":")[0]
            found.append((MASTER if is_master else owner[1], address, int(port), peer))
    return found


def normal(listed):
    """What ``nft -j list table`` says, without what differs from one kernel to the next (list)."""
    plain = []
    for entry in listed["nftables"]:
        ((kind, item),) = entry.items()
        if kind != "metainfo":
            plain.append({kind: {key: value for key, value in item.items() if key != "handle"}})
    return plain
