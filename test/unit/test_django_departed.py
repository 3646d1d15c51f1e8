"""Projects that are not in the pillar any more: what of them is ended, and what is said of it."""

import django_departed
import django_firewall
import django_monitor
import django_server_haproxy
import django_server_nfs
import django_service
import pytest

WEB = "shop.web.0123456789ab-0123456789ab"
JOBS = "shop.jobs.0123456789ab-0123456789ab"
FAILED = "shop.mail.0123456789ab-0123456789ab"


class Manager:
    """A process manager whose programs end when they are told to, but for those at work."""

    def __init__(self, *running, failed=(), at_work=()):
        self.found = {name: {"pid": 1, "leaving": False} for name in running}
        self.found |= {name: {"pid": 0, "leaving": False} for name in failed}
        self.at_work = at_work

    def programs(self):
        return dict(self.found)

    def dismiss(self, name):
        self.found[name] = {"pid": int(name in self.at_work), "leaving": True}

    def stop(self, name, timeout):
        del self.found[name]


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.setattr(django_departed, "CRON", tmp_path)
    monkeypatch.setattr(django_departed, "LEAVE_SECONDS", 0.1)


def test_only_projects_with_a_folder_that_are_not_known(tmp_path):
    for name in ("shop/instances", "blog/instances", "lost+found"):
        (tmp_path / name).mkdir(parents=True)
    assert django_departed.find(tmp_path, {"blog": {}}) == ["shop"]
    assert django_departed.find(tmp_path / "none", {}) == []


def test_programs_of_all_managers_and_timers_end(tmp_path):
    (tmp_path / "django-shop").write_text("* * * * * root true\n")
    managers = Manager(WEB, failed=[FAILED]), Manager(JOBS)
    wanted = {"stopped": sorted([WEB, FAILED, JOBS]), "timers": [str(tmp_path / "django-shop")]}
    assert django_departed.stop("shop", managers, test=True) == (wanted, [])
    assert (tmp_path / "django-shop").exists() and managers[0].found
    assert django_departed.stop("shop", managers) == (wanted, [])
    assert not any(manager.found for manager in managers)
    assert not (tmp_path / "django-shop").exists()
    assert django_departed.stop("shop", managers) == ({}, [])


def test_program_at_work_is_forgotten_by_a_later_run():
    manager = Manager(JOBS, at_work=[JOBS])
    assert django_departed.stop("shop", [manager]) == ({"stopped": [JOBS]}, [JOBS])
    assert django_departed.stop("shop", [manager]) == ({}, [JOBS])
    manager.found[JOBS]["pid"] = 0
    assert django_departed.stop("shop", [manager], test=True) == ({"ended": [JOBS]}, [])
    assert django_departed.stop("shop", [manager]) == ({"ended": [JOBS]}, [])
    assert manager.found == {}


def test_units_of_others_are_left_alone():
    manager = Manager("dbus.org.freedesktop", "shop.web")
    assert django_departed.stop("dbus", [manager]) == ({}, [])
    assert django_departed.stop("shop", [manager]) == ({}, [])
    assert len(manager.found) == 2


def test_caches_that_no_project_asks_for(tmp_path, monkeypatch):
    wants = tmp_path / "multi-user.target.wants"
    wants.mkdir()
    for name in ("varnish@shop", "varnish@blog", "memcached@gone", "redis-server@gone"):
        (wants / f"{name}.service").touch()
    for name in ("memcached-old", "memcached-ended", "varnishncsa"):
        (tmp_path / name).touch()
    monkeypatch.setattr(django_service, "UNITS", tmp_path)
    monkeypatch.setattr(django_service, "SCRIPTS", tmp_path)
    ended = {"running": False, "enabled": False}
    monkeypatch.setattr(
        django_service,
        "look",
        lambda name: ended if name == "memcached-ended" else {**ended, "enabled": True},
    )
    config = {**nothing(), "varnish": {"instances": [{"service": "varnish@shop"}]}}
    found = django_departed.services(config)
    assert found == ["memcached-old", "memcached@gone", "varnish@blog"]


def nothing():
    """What a host has that has none of the servers that end by themselves."""
    kinds = ("firewall", "haproxy", "keepalived", "memcached", "nfs", "varnish")
    kinds += ("monitor", "exporter")
    return {**dict.fromkeys(kinds, {}), "rivals": []}


def test_firewall_that_left_the_pillar(tmp_path, monkeypatch):
    monkeypatch.setattr(django_firewall, "RULES", str(tmp_path / "firewall.nft"))
    runs = {"there": True, "running": True, "enabled": True}
    monkeypatch.setattr(django_service, "look", lambda name: runs)
    config = nothing()
    assert django_departed.services(config) == []
    (tmp_path / "firewall.nft").touch()
    assert django_departed.services(config) == ["django-firewall"]
    assert django_departed.services({**config, "firewall": {"rules": []}}) == []


def test_balancer_that_left_the_map(tmp_path, monkeypatch):
    monkeypatch.setattr(django_server_haproxy, "CONFIG", str(tmp_path / "haproxy.cfg"))
    runs = {"there": True, "running": True, "enabled": True}
    monkeypatch.setattr(django_service, "look", lambda name: runs)
    config = nothing()
    (tmp_path / "haproxy.cfg").write_text("# Somebody's own.\n")
    assert django_departed.services(config) == []
    (tmp_path / "haproxy.cfg").write_text(f"{django_service.HEADER} the next run replaces.\n")
    assert django_departed.services(config) == ["haproxy"]
    assert django_departed.services({**config, "haproxy": {"port": 80}}) == []
    # Where another balancer takes its ports it ends just before that, and not here.
    rival = {"service": "haproxy", "configured": "/etc/haproxy/haproxy.cfg"}
    assert django_departed.services({**config, "rivals": [rival]}) == []


def test_media_server_that_left_the_map(tmp_path, monkeypatch):
    monkeypatch.setattr(django_server_nfs, "CONFIG", str(tmp_path / "ganesha.conf"))
    runs = {"there": True, "running": True, "enabled": True}
    monkeypatch.setattr(django_service, "look", lambda name: runs)
    config = nothing()
    (tmp_path / "ganesha.conf").write_text(f"{django_service.HEADER} the next run replaces.\n")
    assert django_departed.services(config) == ["nfs-ganesha"]
    assert django_departed.services({**config, "nfs": {"port": 2049}}) == []


def test_pulls_that_left_the_pillar(tmp_path, monkeypatch):
    """Their timer and its files go; somebody else's file of that name stays."""
    told = []
    monkeypatch.setattr(django_service, "act", lambda name, verb: told.append((verb, name)))
    monkeypatch.setattr(django_service, "booted", lambda: True)
    paths = [str(tmp_path / name) for name in ("timer", "service", "cron", "rotate", "program")]
    monkeypatch.setattr(django_departed, "PULL_FILES", tuple(paths))
    monkeypatch.setattr(django_departed.django_pull_note, "SETTINGS", tmp_path / "pull.json")
    assert django_departed.end_pulls() == [] == told
    for path in (*paths[:3], str(tmp_path / "pull.json")):
        with open(path, "w") as file:
            file.write(f"{django_service.HEADER} the next run replaces changes.\n")
    with open(paths[4], "w") as file:
        file.write("#!/bin/sh\n")
    found = [*paths[:3], str(tmp_path / "pull.json")]
    assert django_departed.end_pulls(test=True) == found
    assert told == [] and (tmp_path / "timer").exists()
    assert django_departed.end_pulls() == found
    assert told == [("stop", "django-pull.timer"), ("disable", "django-pull.timer")]
    assert [path.name for path in tmp_path.iterdir()] == ["program"]
    assert django_departed.end_pulls() == []


def test_exporter_of_a_map_without_a_monitor(tmp_path, monkeypatch):
    path = tmp_path / "prometheus-node-exporter"
    services = [("exporter", "prometheus-node-exporter", str(path))]
    monkeypatch.setattr(django_monitor, "SERVICES", services)
    runs = {"there": True, "running": True, "enabled": True}
    monkeypatch.setattr(django_service, "look", lambda name: runs)
    path.write_text('ARGS=""\n')
    assert django_departed.services(nothing()) == [], "somebody's own"
    path.write_text(f"{django_service.HEADER} the next run replaces.\n")
    assert django_departed.services(nothing()) == ["prometheus-node-exporter"]
    assert django_departed.services({**nothing(), "exporter": {"listen": "10.0.0.1:9100"}}) == []
