"""What a server's configuration costs grows with the fleet as its lines do, and no faster."""

import json
import re
import sys

import pytest
from fleets import fleet

SIZES = (100, 200, 400)
KINDS = ("host0", "db1", "cache1")


def steps(function, *arguments, **named):
    """What a function returns, and how many lines were run for it: time without the clock."""
    count = 0

    def seen(_, event, __):
        nonlocal count
        count += event == "line"
        return seen

    before = sys.gettrace()
    sys.settrace(seen)
    try:
        answer = function(*arguments, **named)
    finally:
        sys.settrace(before)
    return answer, count


@pytest.mark.parametrize("host", KINDS)
def test_work_and_size_grow_with_the_hosts_and_not_with_their_square(resolve, host):
    resolve(fleet(SIZES[0]), host=host, id=host)  # what is remembered from then on, like patterns
    costs, sizes = [], []
    for size in SIZES:
        config, cost = steps(resolve, fleet(size), host=host, id=host)
        assert config["valid"], config["errors"]
        costs.append(cost)
        sizes.append(len(json.dumps(config, default=str)))
    for small, middle, large in (costs, sizes):
        # Twice as many more hosts cost twice as much more; the square would cost four times.
        assert large - middle <= 2.4 * (middle - small)


def test_server_of_a_database_reckons_with_the_processes_of_other_hosts(resolve):
    """It runs none of them itself; of a single one there is one, however many hosts may run it."""
    pillar = fleet(10)  # with six web hosts and two of workers
    shop = pillar["projects"]["shop"]
    shop["app"] = {"workers": 2, "threads": 4}
    clock = {"command": "bin/clock", "single": True}
    processes = {
        "jobs": {"celery": {"app": "shop", "concurrency": 200}},
        "clock": clock,
        "alarm": clock,
    }
    # 6 * 2 * 4 of the web, 2 * 200 of jobs, one of each single one, and 20 to spare
    expected = {(): 100, ("jobs",): 470, ("jobs", "clock", "alarm"): 470}
    for names, connections in expected.items():
        shop["processes"] = {name: processes[name] for name in names}
        shop["broker"] = {"password": "b" * 20} if names else {}
        config = resolve(pillar, host="db1", id="db1")
        assert config["valid"], config["errors"]
        assert config["postgresql"]["settings"]["max_connections"] == connections


def test_more_connections_than_a_machine_has_memory_for_are_told(resolve):
    for size, told in ((10, 0), (400, 1)):
        config = resolve(fleet(size), host="db1", id="db1")
        doubts = [text for text in config["warnings"] if "PgBouncer" in text]
        assert len(doubts) == told
    assert "django:postgresql:max_connections: " in doubts[0]
    assert re.search(r"may hold \d{4} connections", doubts[0])


def test_a_small_server_has_room_for_its_own_connections(resolve_project):
    for memory in (512, 1024, 4096):
        config = resolve_project({"mem_total": memory})
        assert config["warnings"] == []
