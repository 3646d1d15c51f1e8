"""What the configuration of one server costs in fleets of 10, 100 and 1,000 servers, simulated."""

import json
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT / "_utils"), str(ROOT / "test/unit")]

import django_config  # noqa: E402
from fleets import fleet  # noqa: E402
from pillars import GRAINS, read_parameters  # noqa: E402

SIZES = (10, 100, 1000)
HOSTS = {"web": "host0", "worker": "host3", "database": "db1", "cache": "cache1"}
ROUNDS = 5


def cost(size, host):
    """Milliseconds that the resolver takes, and bytes of what it comes to."""
    pillar, taken = {"django": fleet(size)}, []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        config = django_config.load(pillar, {**GRAINS, "host": host, "id": host}, read_parameters)
        taken.append((time.perf_counter() - began) * 1000)
        assert config["valid"], config["errors"]
    return statistics.median(taken), len(json.dumps(django_config.public(config), default=str))


def report():
    """The table (str): a line for each kind of server, a pair of columns for each size."""
    heads = "".join(f"{f'{size:,} servers':>22}" for size in SIZES)
    lines = [f"{'configuration of a server':<26}{heads}"]
    for kind, host in HOSTS.items():
        pairs = [cost(size, host) for size in SIZES]
        cells = "".join(f"{f'{ms:.0f} ms, {size / 1024:.0f} KiB':>22}" for ms, size in pairs)
        lines.append(f"{kind:<26}{cells}")
    return "\n".join(lines)
