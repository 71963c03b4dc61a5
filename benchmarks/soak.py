"""A steady load for long: does memory, do connections, do Redis' keys grow? Slopes by least squares, per hour.

The first fifth is dropped: caches fill in it.
"""

import argparse
import json
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import psutil
import psycopg
import redis

from benchmarks.chaos import killing, market
from benchmarks.chaos.calling import Load
from benchmarks.chaos.market import Market
from benchmarks.results import at_most, row

COMMAND = "make bench ONLY=soak"
SAMPLE_SECONDS = 5.0
DROPPED_PART = 0.2
MIB = 2**20
# What a figure may grow in an hour: beyond it, a month of this load would end the process.
MEMORY_GOAL_MIB = 32
COUNT_GOAL = 20

Series = Mapping[str, Sequence[tuple[float, float]]]


def run(quick: bool, *, minutes: float | None = None) -> list[dict[str, Any]]:
    """One row for each figure."""
    seconds = 60 * (minutes or (2.0 if quick else 30.0))
    with market.opened() as site:
        load = Load(site.stack.url, site.consumers, seed=1)
        thread = threading.Thread(target=load.run, name="load", daemon=True)
        thread.start()
        try:
            series = _sample(site, seconds)
        finally:
            load.stop.set()
            thread.join(120)
    return [_row(name, points) for name, points in sorted(series.items())]


def find_slope(points: Sequence[tuple[float, float]]) -> float:
    """Growth per unit of the first coordinate, by least squares. 0 for fewer than two points."""
    if len(points) < 2:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


def _row(name: str, points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    kept = points[int(len(points) * DROPPED_PART) :]
    slope = find_slope([(seconds / 3600, value) for seconds, value in kept])
    is_memory = name.endswith("memory")
    print(f"  {name:<24} {kept[0][1]:>10.1f} .. {kept[-1][1]:>10.1f}  {slope:>+10.2f} per hour", flush=True)
    goal = at_most(MEMORY_GOAL_MIB if is_memory else COUNT_GOAL)
    unit = "MiB/h" if is_memory else "1/h"
    return row(f"soak.{name}", slope, unit, command=COMMAND, better="lower", goal=goal)


def _sample(site: Market, seconds: float) -> Series:
    series: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    client = redis.Redis.from_url(site.services.redis_url)
    began = time.monotonic()
    with psycopg.connect(site.services.database_url, autocommit=True) as database:
        while (elapsed := time.monotonic() - began) < seconds:
            for name, value in _look(site, client, database).items():
                series[name].append((elapsed, value))
            time.sleep(SAMPLE_SECONDS)
    return series


def _look(site: Market, client: Any, database: "psycopg.Connection[Any]") -> dict[str, float]:
    found: dict[str, float] = {}
    for kind in ("web", "worker", "meter"):
        for number, process in enumerate(killing.find(site.stack, kind)):
            try:
                found[f"{kind} {number} memory"] = process.memory_info().rss / MIB
            except psutil.NoSuchProcess:
                continue
    told = client.info()
    counted = database.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    backends = counted.fetchone()
    return found | {
        "redis memory": told["used_memory"] / MIB, "redis connections": told["connected_clients"],
        "redis keys": client.dbsize(), "postgres connections": backends[0] if backends else 0,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=None, help="default: 30, or 2 if quick")
    chosen = parser.parse_args()
    print(json.dumps(run(chosen.quick, minutes=chosen.minutes), indent=1))
