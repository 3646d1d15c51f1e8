"""A host's grains and the parameters of the repository, for tests of the resolver."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PARAMETERS = ROOT / "salt/django/parameters"
GRAINS = {
    "id": "web1",
    "host": "web1",
    "fqdn": "web1.example.org",
    "os": "Debian",
    "os_family": "Debian",
    "osrelease": "12",
    "osmajorrelease": 12,
    "num_cpus": 2,
    "mem_total": 4096,
    "init": "systemd",
    "ipv4": ["127.0.0.1", "10.0.0.11"],
    "ipv6": ["::1"],
}


def read_parameters(name):
    """The text of a parameter file, or None: what the resolver is given to read with."""
    path = PARAMETERS / name
    return path.read_text() if path.exists() else None


SOURCE = {"path": "/srv/src"}
# the claimed systems, each with what its grains have that GRAINS has not
SYSTEMS = {
    "Debian-12": {},
    "Debian-13": {
        "osrelease": "13",
        "osmajorrelease": 13,
        "init": "unknown",
        "num_cpus": 1,
        "mem_total": 1024,
    },
    "Ubuntu-22.04": {"os": "Ubuntu", "osrelease": "22.04", "osmajorrelease": 22, "num_cpus": 8},
    "Ubuntu-24.04": {
        "os": "Ubuntu",
        "osrelease": "24.04",
        "osmajorrelease": 24,
        "num_cpus": 16,
        "mem_total": 65536,
    },
}


def assert_nothing_to_do(config):
    """An invalid pillar changes nothing: the configuration has only its errors."""
    assert config["valid"] is False
    assert config["tiers"] == ["django.valid"]
    for key in (
        "projects",
        "postgresql",
        "mariadb",
        "redis",
        "memcached",
        "varnish",
        "nginx",
        "apache",
        "supervisord",
    ):
        assert config[key] == {}
    assert config["packages"] == []
