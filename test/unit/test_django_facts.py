"""Facts about a host, from grains."""

import django_facts


def test_facts_of_odd_grains_are_harmless():
    facts = django_facts.facts({"num_cpus": "many", "ipv4": ["10.0.0.300", "10.0.0.1"]})
    assert facts["cores"] == 1 and facts["memory"] == 1024
    assert facts["addresses"] == ["10.0.0.1"]
    assert facts["init"] == "sysv"
    assert facts["id"] == "localhost"


def test_facts_put_addresses_of_containers_last():
    grains = {
        "ipv4": ["127.0.0.1", "172.17.0.1", "192.168.1.5"],
        "ip4_interfaces": {"eth0": ["192.168.1.5"], "docker0": ["172.17.0.1"], "lo": ["127.0.0.1"]},
    }
    assert django_facts.facts(grains)["addresses"] == ["192.168.1.5", "172.17.0.1"]
