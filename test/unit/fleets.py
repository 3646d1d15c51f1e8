"""Fleets of any size, as simulation takes the place of a thousand servers."""

from pillars import SOURCE


def fleet(size):
    """A pillar (dict, below ``django``) of one project on so many hosts, most of them web hosts."""
    hosts = {
        "db1": {"address": "10.1.0.1", "roles": ["database"]},
        "cache1": {"address": "10.1.0.2", "roles": ["cache"]},
    }
    for number in range(size - len(hosts)):
        roles = ["worker"] if number % 4 == 3 else ["app", "web"]
        address = f"10.2.{number // 250}.{number % 250 + 1}"
        hosts[f"host{number}"] = {"address": address, "roles": roles}
    project = {
        "source": SOURCE,
        "domains": ["shop.example.org"],
        "database": {"password": "d" * 20},
        "cache": {"password": "c" * 20},
        "secrets": {"SECRET_KEY": "s" * 50},
    }
    return {"hosts": hosts, "firewall": {}, "projects": {"shop": project}}
