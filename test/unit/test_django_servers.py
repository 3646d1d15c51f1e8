"""What the servers of a host are told: ports, memory, connections, who is let in."""

import django_project_broker
import django_project_cache
import django_tuning
import pytest
from pillars import SOURCE


@pytest.mark.parametrize(
    ("address", "port", "used"),
    [
        ("127.0.0.1", None, True),
        ("localhost", 6379, True),
        ("10.0.0.11", None, True),
        ("127.0.0.1", 6500, False),
        ("10.0.0.12", None, False),
    ],
)
def test_packaged_redis_is_kept_where_a_project_names_it(resolve, address, port, used):
    cache = {"host": address, "password": "password", **({"port": port} if port else {})}
    projects = {
        "shop": {"source": SOURCE, "domains": ["a.org"], "cache": cache},
        "blog": {"source": SOURCE, "domains": ["b.org"]},
    }
    config = resolve({"projects": projects})
    assert config["errors"] == []
    assert config["redis"]["uses_packaged"] is used


def test_redis_ports_are_a_function_of_the_name():
    ports = {django_project_cache.redis_port(name) for name in ("shop", "blog", "wiki", "x")}
    assert len(ports) == 4
    assert all(6380 <= port <= 7379 for port in ports)


def test_ports_of_brokers_are_apart_from_those_of_caches():
    ports = {django_project_broker.broker_port(name) for name in ("shop", "blog", "wiki", "x")}
    assert len(ports) == 4
    assert all(7380 <= port <= 7979 for port in ports)


def test_postgresql_lets_every_job_of_a_worker_connect(resolve_project):
    worker = {"celery": {"app": "shop", "concurrency": 200}}
    settings = resolve_project(processes={"w": worker})["postgresql"]["settings"]
    assert settings["max_connections"] > 200


def test_apache_is_the_front_door_where_the_pillar_says_so(resolve):
    shop = {"source": SOURCE, "domains": ["*.a.org", "b.org"], "web": {"server": "apache"}}
    pillar = {"apache": {"port": 8080, "max_request_workers": 100}, "projects": {"shop": shop}}
    config = resolve(pillar)
    assert "django.web.apache" in config["tiers"] and config["nginx"] == {}
    assert "apache2" in config["packages"] and "nginx" not in config["packages"]
    assert config["projects"]["shop"]["url"] == "http://a.org:8080"
    apache = config["apache"]
    assert apache["names"] == {"shop": ["a.org", "*.a.org", "b.org"]}
    assert apache["settings"]["MaxRequestWorkers"] == 128, "whole processes"
    assert apache["settings"]["ServerLimit"] > 2 * 128 // 64, "room for those that end"


@pytest.mark.parametrize(
    ("key", "ports", "text"),
    [
        ("tls_port", {"port": 8080, "tls_port": 8080}, "than that of HTTP"),
        ("probe_port", {"port": 8080, "probe_port": 8080}, "than those of sites"),
    ],
)
def test_ports_of_apache_are_apart(resolve, key, ports, text):
    errors = resolve({"apache": ports, "projects": {"shop": {"source": SOURCE}}})["errors"]
    assert errors == [f"django:apache:{key}: expected another port {text}"]


@pytest.mark.parametrize("interpreter", ["python3", "3.11", "python3.11", "/usr/bin/python3.11"])
def test_mod_wsgi_brings_apache_for_the_system_s_python(resolve, interpreter):
    shop = {"source": SOURCE, "app": {"server": "mod_wsgi"}, "python": {"interpreter": interpreter}}
    config = resolve({"projects": {"shop": shop}})
    assert config["errors"] == []
    assert config["projects"]["shop"]["web"]["server"] == "apache" and config["nginx"] == {}
    assert {"apache2", "libapache2-mod-wsgi-py3"} <= set(config["packages"])
    assert config["apache"]["daemons"]["shop"]["a"].startswith("shop.a display-name=a:shop ")
    assert config["projects"]["shop"]["python"]["packages"] == []


@pytest.mark.parametrize(("memory", "workers"), [(512, 128), (4096, 512), (65536, 1024)])
def test_requests_of_apache_follow_memory(memory, workers):
    assert django_tuning.request_workers(memory) == workers


def test_postgresql_memory_follows_the_machine_and_the_pillar_wins(resolve):
    project = {"shop": {"source": SOURCE}}
    small = resolve({"projects": project}, mem_total=1024)["postgresql"]["settings"]
    large = resolve({"projects": project}, mem_total=65536)["postgresql"]["settings"]
    assert (small["shared_buffers"], large["shared_buffers"]) == ("128MB", "8192MB")
    own = {"settings": {"shared_buffers": "1GB"}, "max_connections": 300, "memory_share": 20}
    given = resolve({"projects": project, "postgresql": own})["postgresql"]["settings"]
    assert (given["shared_buffers"], given["max_connections"]) == ("1GB", 300)
    assert given["effective_cache_size"] == "614MB"


def test_postgresql_and_mariadb_on_one_host_have_their_memory_between_them(resolve):
    one = {"source": SOURCE, "domains": ["one.test"]}
    two = {"source": SOURCE, "domains": ["two.test"], "database": {"engine": "mysql"}}

    def sizes(**projects):
        config = resolve({"projects": projects}, mem_total=8192)
        cache = config["postgresql"].get("settings", {}).get("effective_cache_size", "0MB")
        pool = config["mariadb"].get("settings", {}).get("innodb_buffer_pool_size", "0M")
        return int(cache[:-2]), int(pool[:-1])

    (cache, _), (_, pool) = sizes(one=one), sizes(two=two)
    assert sizes(one=one, two=two) == (cache // 2, pool // 2)


def test_postgresql_memory_stays_within_what_there_is():
    for memory in (1024, 4096, 65536, 524288):
        for connections in (100, 500):
            found = django_tuning.postgresql(8, memory, connections)
            megabytes = int(found["shared_buffers"][:-2])
            each = int(found["work_mem"][:-2]) / 1024
            assert megabytes <= max(memory // 4, 32)
            assert each * connections + megabytes <= memory


def test_enough_connections_for_all_workers(resolve):
    project = {"shop": {"source": SOURCE, "app": {"workers": 60, "threads": 4}}}
    assert resolve({"projects": project})["postgresql"]["settings"]["max_connections"] == 260
    project["shop"]["app"] = {"workers": 60, "asgi": True, "module": "shop.asgi"}
    assert resolve({"projects": project})["postgresql"]["settings"]["max_connections"] == 620


@pytest.mark.parametrize(
    ("memory", "share", "instances", "shared", "mebibytes"),
    [
        (4096, 10, 1, True, 409),
        (65536, 10, 1, True, 512),
        (65536, 60, 2, False, 19660),
        (512, 10, 4, True, 32),
    ],
)
def test_redis_memory(memory, share, instances, shared, mebibytes):
    assert django_tuning.cache_maxmemory(memory, share, instances, shared) == mebibytes * 2**20


def test_hba_lines_are_taken_apart(resolve):
    lines = ["hostssl all backup 10.0.0.9/32 cert clientcert=verify-full", "local all all peer"]
    lines.append("host a,b c 10.0.0.0 255.0.0.0 md5")
    hba = resolve({"postgresql": {"hba": lines}, "projects": {"shop": {"source": SOURCE}}})
    first, second, third = hba["postgresql"]["hba"][:3]
    assert (first["type"], first["address"], first["method"]) == ("hostssl", "10.0.0.9/32", "cert")
    assert first["options"] == "clientcert=verify-full"
    assert (second["address"], second["method"]) == ("", "peer")
    assert (third["address"], third["method"]) == ("10.0.0.0 255.0.0.0", "md5")
