"""Monitoring: what Prometheus is told of a map, and who may come to the exporters."""

import django_monitor
import pytest
from pillars import SOURCE

HOSTS = {
    "lb1": {"address": "10.0.0.5", "roles": ["balancer"]},
    "web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker"]},
    "db1": {"address": "fd00::21", "roles": ["database"]},
    "mon1": {"address": "10.0.0.41", "roles": ["monitor"]},
}
PROJECT = {
    "source": SOURCE,
    "domains": ["shop.example.org"],
    "secrets": {"SECRET_KEY": "k" * 50},
    "database": {"password": "database-pass"},
    "cache": {"engine": "none"},
    "health": {"path": "/health/", "status": [200]},
}


@pytest.fixture
def fleet(resolve):
    """Function from a host to its configuration, of this map."""

    def call(name, project=None, hosts=HOSTS, **keys):
        projects = {"shop": {**PROJECT, **(project or {})}}
        config = resolve({"hosts": hosts, "projects": projects, **keys}, id=name)
        assert config["errors"] == []
        return config

    return call


def jobs(config):
    return {job["job_name"]: job for job in config["monitor"]["prometheus"]["scrape_configs"]}


def test_every_host_answers_the_monitor_and_nobody_else(fleet):
    for name, item in HOSTS.items():
        config = fleet(name, firewall={})
        address = f"[{item['address']}]" if ":" in item["address"] else item["address"]
        assert config["exporter"]["listen"] == f"{address}:9100"
        assert "prometheus-node-exporter" in config["packages"]
        rules = {rule["for"]: rule for rule in config["firewall"]["rules"]}
        if name == "mon1":
            assert "monitor" not in rules
        else:
            assert (rules["monitor"]["ports"], rules["monitor"]["from"]) == ([9100], ["10.0.0.41"])


def test_the_monitor_knows_all_hosts_and_the_doors(fleet):
    config = fleet("mon1")
    assert {"prometheus", "prometheus-blackbox-exporter"} <= set(config["packages"])
    assert config["monitor"]["listen"] == "127.0.0.1:9090"
    found = jobs(config)
    hosts = {
        each["labels"]["instance"]: each["targets"] for each in found["hosts"]["static_configs"]
    }
    assert hosts["db1"] == ["[fd00::21]:9100"] and set(hosts) == set(HOSTS)
    (door,) = found["site shop"]["static_configs"]
    assert door["targets"] == ["http://10.0.0.5:80/health/"]
    assert door["labels"] == {"project": "shop", "instance": "lb1"}
    module = config["monitor"]["blackbox"]["modules"]["shop"]["http"]
    assert module["headers"] == {"Host": "shop.example.org"}
    assert module["valid_status_codes"] == [200]
    assert config["projects"]["shop"]["secret_specs"] == {}


def test_a_project_without_domains_is_asked_by_a_name_that_it_knows(fleet):
    hosts = {name: item for name, item in HOSTS.items() if name != "lb1"}
    config = fleet("mon1", {"domains": []}, hosts)
    module = config["monitor"]["blackbox"]["modules"]["shop"]["http"]
    assert module["headers"] == {"Host": "localhost"}


def test_without_a_balancer_each_web_host_is_asked_by_tls_where_it_has_it(fleet):
    hosts = {name: item for name, item in HOSTS.items() if name != "lb1"}
    tls = {"certificate": "/etc/ssl/shop.pem", "key": "/etc/ssl/shop.key"}
    config = fleet("mon1", {"web": {"tls": tls}}, hosts)
    (door,) = jobs(config)["site shop"]["static_configs"]
    assert door["targets"] == ["https://10.0.0.11:443/health/"]
    module = config["monitor"]["blackbox"]["modules"]["shop"]["http"]
    assert module["tls_config"] == {"server_name": "shop.example.org"}


def test_alerts_go_where_the_pillar_says(fleet):
    config = fleet("mon1", monitor={"alertmanagers": ["10.0.0.9:9093"], "rules": ["/etc/more.yml"]})
    prometheus = config["monitor"]["prometheus"]
    (manager,) = prometheus["alerting"]["alertmanagers"]
    assert manager["static_configs"] == [{"targets": ["10.0.0.9:9093"]}]
    assert prometheus["rule_files"] == [django_monitor.RULES, "/etc/more.yml"]
    assert "alerting" not in fleet("mon1")["monitor"]["prometheus"]


def test_no_monitor_no_exporter(fleet, resolve):
    hosts = {name: item for name, item in HOSTS.items() if name != "mon1"}
    config = fleet("web1", hosts=hosts)
    assert config["exporter"] == config["monitor"] == {}
    assert not [name for name in config["packages"] if name.startswith("prometheus")]
    alone = resolve({"projects": {"shop": {"source": SOURCE}}})
    assert alone["exporter"] == alone["monitor"] == {}
