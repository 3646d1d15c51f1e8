"""Memory: what is planned for a small machine fits, or is told with the keys to lower."""

import re

import django_memory
import pytest
from pillars import SOURCE

JOBS = {"jobs": {"celery": {"app": "shop"}}}
BUSY = {
    "cache": {"engine": "memcached"},
    "web": {"cache": "varnish"},
    "processes": JOBS,
}


def warnings(resolve, memory, cores=1, **keys):
    django = {"projects": {"shop": {"source": SOURCE, **keys}}}
    config = resolve(django, num_cpus=cores, mem_total=memory)
    assert config["valid"], config["errors"]
    return config["warnings"]


@pytest.mark.parametrize(
    ("memory", "cores", "keys"),
    [
        (480, 1, {}),
        (980, 1, {}),
        (1960, 2, {"database": {"engine": "mysql"}}),
        (1960, 1, {"processes": JOBS}),
        (1960, 1, BUSY),
    ],
)
def test_what_is_usual_on_a_small_machine_fits(resolve, memory, cores, keys):
    assert warnings(resolve, memory, cores, **keys) == []


@pytest.mark.parametrize("memory", [480, 980])
def test_what_does_not_fit_is_told_with_the_keys_to_lower(resolve, memory):
    (told,) = warnings(resolve, memory, **BUSY)
    need = int(re.search(r"may come to need (\d+) MiB", told).group(1))
    assert need > memory and f"and has {memory}:" in told
    parts = [int(size) for size in re.findall(r" (\d+)(?: \(django:|\. Lower)", told)]
    assert sum(parts) == need
    for key in (
        "postgresql:memory_share",
        "redis:memory_share",
        "memcached:memory_share",
        "varnish:memory_share",
        "projects:shop:app:workers",
        "projects:shop:processes:jobs:celery:concurrency",
    ):
        assert f"(django:{key})" in told


def test_what_the_pillar_lowers_counts(resolve):
    told = warnings(resolve, 980, 4, app={"workers": 6})
    assert len(told) == 1
    assert warnings(resolve, 980, 4, app={"workers": 2}) == []


def test_only_what_a_host_runs_counts(resolve):
    hosts = {
        "db1": {"address": "10.0.0.21", "roles": ["database"]},
        "web1": {"address": "10.0.0.11", "roles": ["app", "web", "worker", "cache"]},
    }
    password = {"password": "x" * 12}
    project = {"source": SOURCE, "database": password, "cache": password, "processes": JOBS}
    project.update(secrets={"SECRET_KEY": "s" * 50}, broker=password)
    config = resolve({"hosts": hosts, "projects": {"shop": project}}, id="db1")
    assert [what for _, what, _ in django_memory.plan(config, 20)] == ["PostgreSQL"]


@pytest.mark.parametrize(
    ("value", "mib"),
    [("128MB", 128), ("1536kB", 1), ("2GB", 2048), ("64M", 64), (33554432, 32), ("on", 0)],
)
def test_settings_are_read_with_their_units(value, mib):
    assert django_memory._mib(value) == mib
