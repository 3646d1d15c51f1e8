"""Another size of machine: what runs on it follows."""

import re

import pytest

pytestmark = pytest.mark.proves(
    "one server",
    "another size of machine",
    "workers and memory settings follow cores and memory",
    on=["Debian 12"],
)

GRAINS = "/etc/salt/grains"
ROOT = "/srv/django/guestbook"


def workers(site):
    """How many workers the live web process is asked to have, and has."""
    _, instance = site.live()
    pids = sorted(site.host.pids(f"bin/gunicorn.*web-{instance}"))
    line = site.run(["ps", "-o", "args=", "-p", str(pids[0])]).stdout
    asked = next(word for word in line.split() if word.startswith("--workers="))
    return int(asked.partition("=")[2]), len(pids) - 1


def shared_buffers(site):
    """What PostgreSQL really uses, in 8 KiB pages."""
    return int(site.psql("SELECT setting FROM pg_settings WHERE name = 'shared_buffers'")[0])


def maxmemory(site):
    """What Redis really limits itself to, in bytes."""
    port = str(site.call("django.config")["redis"]["instances"][0]["port"])
    env = {"REDISCLI_AUTH": site.secret("guestbook", "cache.password")}
    said = site.run(["redis-cli", "-p", port, "info", "memory"], env=env).stdout
    return int(re.search(r"^maxmemory:(\d+)", said, re.M).group(1))


def resize(site, cores, memory):
    """Let the server believe that it has these cores, and this memory in MiB."""
    site.host.write(GRAINS, f"num_cpus: {cores}\nmem_total: {memory}\n")


@pytest.fixture
def measured(site):
    return {"workers": workers, "buffers": shared_buffers, "redis": maxmemory}


def test_server_grows_and_shrinks(site, measured):
    resize(site, 2, 4096)
    site.apply()
    small = {name: measure(site) for name, measure in measured.items()}
    release = site.live()[0]

    resize(site, 8, 32768)
    site.assert_mended("guestbook: release is live")
    large = {name: measure(site) for name, measure in measured.items()}
    assert large["workers"][0] == large["workers"][1] > small["workers"][0]
    assert large["buffers"] > 4 * small["buffers"]
    assert large["redis"] > small["redis"]
    assert site.live()[0] == release, "another size is no new release"

    resize(site, 2, 4096)
    site.assert_mended("guestbook: release is live")
    assert {name: measure(site) for name, measure in measured.items()} == small


def test_pillar_wins_over_the_machine(site):
    resize(site, 8, 32768)
    pillar = site.host.read("/etc/django-formula/pillar/site.sls").rstrip()
    site.pillar(
        pillar + "\n      app: {workers: 3}\n  postgresql: {settings: {shared_buffers: 64MB}}\n"
    )
    site.apply()
    assert workers(site) == (3, 3)
    assert shared_buffers(site) == 64 * 128
    site.assert_settled()
