"""The firewall: what each host lets in, the script for nftables, who would be locked out."""

import django_firewall
import pytest

HOSTS = {
    "web1": {"address": "10.0.0.11", "roles": ["app", "web"]},
    "web2": {"address": "10.0.0.12", "roles": ["app", "web", "worker"]},
    "db1": {"address": "10.0.0.21", "roles": ["database"]},
    "cache1": {"address": "fd00::22", "roles": ["cache"]},
}
PROJECT = {
    "source": {"path": "/srv/src/shop"},
    "secrets": {"SECRET_KEY": "k" * 50},
    "database": {"password": "database-pass"},
    "cache": {"password": "cache-password"},
    "broker": {"password": "broker-password"},
    "processes": {"jobs": {"celery": "shop"}},
}


@pytest.fixture
def rules(resolve):
    """Function from a host to its rules: ``{title: (ports, from)}``."""

    def call(name, project=PROJECT, **firewall):
        django = {"hosts": HOSTS, "firewall": firewall, "projects": {"shop": project}}
        config = resolve(django, id=name)
        assert config["errors"] == []
        found = config["firewall"]["rules"]
        return {rule["for"]: (rule["ports"], rule["from"]) for rule in found}

    return call


def test_each_host_lets_in_what_its_roles_need(rules):
    everybody, runners = ([22], []), ["10.0.0.11", "10.0.0.12"]
    assert rules("web1") == {"SSH": everybody, "front door": ([80], [])}
    assert rules("db1") == {"SSH": everybody, "PostgreSQL": ([5432], runners)}
    ports, peers = rules("cache1")["Redis"]
    assert (len(ports), peers) == (2, runners), "cache and broker"
    mysql = {**PROJECT, "database": {"engine": "mysql", "password": "database-pass"}}
    assert rules("db1", mysql)["MariaDB"] == ([3306], runners)


def test_pillar_adds_and_limits(rules):
    found = rules(
        "web1",
        ssh={"ports": [2222], "from": ["192.0.2.0/24"]},
        allow=[{"port": 9100, "from": ["10.0.0.9"]}],
    )
    assert found["SSH"] == ([2222], ["192.0.2.0/24"])
    assert found["pillar"] == ([9100], ["10.0.0.9"])


def test_encrypted_front_door_has_two_ports(rules):
    tls = {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/shop.key"}
    project = {**PROJECT, "domains": ["shop.example.org"], "web": {"tls": tls}}
    assert rules("web1", project)["front door"] == ([80, 443], [])


def test_one_server_lets_in_visitors_and_operators_alone(resolve):
    django = {"firewall": {}, "projects": {"shop": {"source": {"path": "/srv/src/shop"}}}}
    config = resolve(django)
    assert [rule["for"] for rule in config["firewall"]["rules"]] == ["SSH", "front door"]
    assert {"nftables", "iproute2"} <= set(config["packages"])
    assert config["tiers"].index("django.host.firewall") > config["tiers"].index("django.host")


def test_without_the_key_no_rule_is_looked_after(resolve):
    config = resolve({"projects": {"shop": {"source": {"path": "/srv/src/shop"}}}})
    assert config["firewall"] == {}
    assert "django.host.firewall" not in config["tiers"]
    assert "nftables" not in config["packages"]


@pytest.mark.parametrize(
    "firewall, message",
    [
        ({"sshh": {}}, "django:firewall:sshh: unknown key (did you mean ssh?)"),
        ({"ssh": {"ports": []}}, "django:firewall:ssh:ports: expected"),
        ({"ssh": {"from": ["here"]}}, "django:firewall:ssh:from:0: expected"),
        ({"allow": [{"from": ["10.0.0.9"]}]}, "django:firewall:allow:0:port: expected"),
        ({"allow": [{"port": 1, "protocol": "tpc"}]}, "django:firewall:allow:0:protocol: expected"),
    ],
)
def test_what_is_wrong_is_told(resolve, firewall, message):
    config = resolve(
        {"firewall": firewall, "projects": {"shop": {"source": {"path": "/srv/src/shop"}}}}
    )
    assert any(text.startswith(message) for text in config["errors"]), config["errors"]


def rule(ports, *networks, protocol="tcp"):
    return {"for": "test", "protocol": protocol, "ports": ports, "from": list(networks)}


def test_script_names_each_family_and_joins_networks():
    found = django_firewall.script(
        [
            rule([80, 443]),
            rule([5432], "10.0.0.12", "10.0.0.13", "fd00::1"),
            rule([53], "10.0.0.0/8", "10.1.0.0/16", protocol="udp"),
        ]
    )
    assert 'tcp dport { 80, 443 } accept comment "test"' in found
    assert "ip saddr 10.0.0.12/31 tcp dport 5432 accept" in found
    assert "ip6 saddr fd00::1 tcp dport 5432 accept" in found
    assert "ip saddr 10.0.0.0/8 udp dport 53 accept" in found
    assert "policy drop" in found
    assert "ct state new tcp flags ack / syn,ack accept" in found, "what was open before stays so"


@pytest.mark.parametrize(
    ("listening", "is_master", "ports"),
    [
        ([("sshd", "*", 22)], False, None),
        ([("salt-master", "127.0.0.1", 4510)], False, None),
        ([("salt-master", "0.0.0.0", 4505), ("sshd", "*", 22)], False, [4505, 4506]),
        ([("salt-master", "0.0.0.0", 4605)], True, [4505, 4506, 4605]),
        ([("sshd", "*", 22)], True, [4505, 4506]),
    ],
    ids=["none", "inside", "running", "own-port", "stopped"],
)
def test_minions_reach_a_master(listening, is_master, ports):
    configuration = {"rules": [rule([22])], "members": ["10.0.0.11"]}
    first, *added = django_firewall.with_salt(configuration, listening, is_master)
    assert first == rule([22])
    assert [(each["ports"], each["from"]) for each in added] == (
        [(ports, ["10.0.0.11"])] if ports else []
    )


def test_nobody_is_locked_out():
    rules = [rule([22], "192.0.2.0/24"), rule([4505], "10.0.0.11")]
    listening = [("sshd", "0.0.0.0", 22), ("sshd", "[::]", 2222), ("sshd", "127.0.0.1", 2200)]
    connected = [
        ("sshd", 22, "192.0.2.7"),
        ("sshd", 22, "[::ffff:192.0.2.8]"),
        ("sshd", 22, "203.0.113.9"),
        ("salt-master", 4505, "10.0.0.11"),
        ("salt-master", 4505, "10.0.0.99"),
        ("salt-master", 4505, "[::ffff:10.0.0.5]"),
        ("nginx", 80, "203.0.113.9"),
    ]
    own = ["127.0.0.1", "10.0.0.5", "fe80::1"]
    assert django_firewall.locked_out(rules, listening, connected, own) == [
        "sshd listens at port 2222, which no rule opens",
        "10.0.0.99 is connected to salt-master (port 4505) and could not come again",
        "203.0.113.9 is connected to sshd (port 22) and could not come again",
    ]


def test_sockets_of_ss():
    """Salt's processes have titles, of which the kernel keeps the beginning as their name."""
    text = (
        '0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=7,fd=3))\n'
        '0 128 [::]:22 [::]:* users:(("sshd",pid=7,fd=4))\n'
        '0 0 10.0.0.5%eth0:4505 10.0.0.11:51000 users:(("/opt/django-for",pid=9,fd=3),'
        '("x",pid=1,fd=1))\n'
        '0 0 0.0.0.0:4506 0.0.0.0:* users:(("salt-master",pid=10,fd=3))\n'
        '0 0 0.0.0.0:80 0.0.0.0:* users:(("nginx",pid=11,fd=3))\n'
        "0 0 127.0.0.1:55008 127.0.0.1:42323\n"
    )
    arguments = {
        9: "/opt/salt/bin/python /opt/salt/bin/salt-master RequestServer MWorkerQueue",
        10: "/usr/bin/python3\0-s\0/usr/bin/salt-master\0--daemon",
        11: "nginx: worker process of /srv/salt-master",
    }
    assert django_firewall.sockets(text, lambda pid: arguments.get(pid, "")) == [
        ("sshd", "0.0.0.0", 22, "0.0.0.0"),
        ("sshd", "[::]", 22, "[::]"),
        ("salt-master", "10.0.0.5%eth0", 4505, "10.0.0.11"),
        ("salt-master", "0.0.0.0", 4506, "0.0.0.0"),
        ("nginx", "0.0.0.0", 80, "0.0.0.0"),
    ]


def test_tables_compare_without_handles():
    listed = {
        "nftables": [
            {"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "django_formula", "handle": 7}},
        ]
    }
    assert django_firewall.normal(listed) == [
        {"table": {"family": "inet", "name": "django_formula"}}
    ]
