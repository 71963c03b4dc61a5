"""Ten times the capacity for a minute: one consumer floods a model that four others use moderately.

First the capacity: 64 calls at once with a key of its own, closed loop. Then the four quiet consumers alone, each at a
twentieth of the capacity. Then the same four beside a fifth that sends ten times the capacity, open loop:
calls arrive whatever becomes of those before. A real engine runs everything on one core; the web process
and the load share the other. Every refusal must be a 429 or 503 that says when to come back; queues and
memory must stay bounded; the quiet ones must hardly notice; and when the flood ends, so must its effects.
"""

import argparse
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import redis

from benchmarks import arrivals, buyers, load, site
from benchmarks.arrivals import Storm, Stream
from benchmarks.processes import Target
from benchmarks.results import at_least, at_most, row

COMMAND = "make bench ONLY=overload"
QUIET, FACTOR, PART = 4, 10, 20
PATH = "/v1/chat/completions"
HONEST = {200, 429, 503}


def run(quick: bool) -> list[dict[str, Any]]:
    """Needs two cores."""
    before = os.sched_getaffinity(0)
    server, engine = sorted(before)[:2]
    seconds = 15.0 if quick else 60.0
    os.sched_setaffinity(0, {server})
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            site.shop(_write_model(Path(folder))) as shop,
            site.worker(shop, core=engine),
            site.web(shop, core=server) as target,
        ):
            return _measure(shop, target, seconds=seconds)
    finally:
        os.sched_setaffinity(0, before)


def _write_model(folder: Path) -> Path:
    from tests.tiny_models import write_llama

    return write_llama(folder / "model", layers=6, width=256)


def _measure(shop: site.Shop, target: Target, *, seconds: float) -> list[dict[str, Any]]:
    keys = buyers.add(shop, QUIET)
    body = json.dumps(
        {"model": shop.model, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 48}
    ).encode()
    headers = dict(target.headers)
    load.run(f"{target.url}{PATH}", body, headers=headers, concurrency=64, seconds=5)
    capacity = load.run(f"{target.url}{PATH}", body, headers=headers, concurrency=64, seconds=seconds / 3)
    address = urlsplit(target.url)
    storm = Storm(address.hostname or "", address.port or 0, PATH, body, seconds, patience=120.0)
    alone = _quiet(keys, capacity.per_second)
    arrivals.run(storm, alone)
    beside, flood = _quiet(keys, capacity.per_second), Stream(shop.key, capacity.per_second * FACTOR)
    answered_before = _recorded(shop)
    with watched(shop, target) as most:
        took = arrivals.run(storm, [flood, *beside])
    answered = _recorded(shop) - answered_before
    leaked = _holds_left(shop)
    recovery = _recovery_seconds(target, storm, key=shop.key, normal_ms=2 * capacity.p50_ms)
    served = (flood.answered + sum(stream.answered for stream in beside)) / took
    print(f"flood: {flood.statuses}, quiet: {[stream.statuses for stream in beside]}; on record: {answered}")
    print(f"failures: {[stream.failures for stream in (flood, *beside) if stream.failures]}")
    return _rows(
        capacity.per_second, served, flood, beside, alone, most=most, recovery=recovery, leaked=leaked
    )


def _quiet(keys: list[str], capacity: float) -> list[Stream]:
    return [Stream(key, capacity / PART) for key in keys]


def _rows(
    capacity: float, served: float, flood: Stream, beside: list[Stream], alone: list[Stream], *, most: "Most",
    recovery: float, leaked: int,
) -> list[dict[str, Any]]:  # fmt: skip
    every = [flood, *beside]
    dishonest = sum(
        count for each in every for status, count in each.statuses.items() if status not in HONEST
    )
    dishonest += sum(each.silent for each in every)
    share = sum(each.answered for each in beside) / max(1, sum(each.arrived for each in beside))
    slower = _p50(beside) / _p50(alone)
    made = [
        ("overload.ratio", served / capacity, "of capacity", at_least(0.9)),
        ("overload.capacity", capacity, "calls/s", None),
        ("overload.dishonest_refusals", float(dishonest), "calls", at_most(0)),
        ("overload.fairness", share, "of quiet calls answered", at_least(0.95)),
        ("overload.quiet_slowdown", slower, "x p50 alone", None),
        ("overload.recovery_s", recovery, "s", at_most(5)),
        ("overload.leaked_holds", float(leaked), "holds", at_most(0)),
        ("overload.queue_most", float(most.queue), "calls", at_most(2000)),
        ("overload.redis_mb_most", most.redis / 1e6, "MB", None),
        ("overload.web_growth_mb", (most.web_last - most.web_first) / 1e6, "MB", at_most(200)),
    ]
    return [row(name, value, unit, command=COMMAND, goal=goal) for name, value, unit, goal in made]


def _p50(streams: list[Stream]) -> float:
    return sum(stream.latency_ms(0.5) for stream in streams) / len(streams)


def _recorded(shop: site.Shop) -> int:
    """Entries that were ever added to the usage stream."""
    client = redis.Redis.from_url(shop.environment["REDIS_URL"])
    facts: Any = client.xinfo_stream("usage")
    return int(facts.get("entries-added", facts["length"]))


def _holds_left(shop: site.Shop) -> int:
    """Holds a moment after everything was answered."""
    client = redis.Redis.from_url(shop.environment["REDIS_URL"])
    time.sleep(2.0)
    return int(client.zcard("holds"))  # type: ignore[arg-type]


@dataclass
class Most:
    """The largest that was seen: calls in the queue, bytes in Redis; and the web process' first and last bytes."""

    queue: int = 0
    redis: int = 0
    web_first: int = 0
    web_last: int = 0


@contextmanager
def watched(shop: site.Shop, target: Target) -> Iterator[Most]:
    """Look twice a second while the block runs."""
    most, over = Most(web_first=psutil.Process(target.pid).memory_info().rss), threading.Event()
    client = redis.Redis.from_url(shop.environment["REDIS_URL"])

    def look() -> None:
        while not over.wait(0.5):
            most.queue = max(most.queue, int(client.llen(f"version.{shop.version}")))  # type: ignore[arg-type]
            most.redis = max(most.redis, int(client.info("memory")["used_memory"]))  # type: ignore[index]

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield most
    finally:
        over.set()
        watcher.join()
        most.web_last = psutil.Process(target.pid).memory_info().rss


def _recovery_seconds(target: Target, storm: Storm, *, key: str, normal_ms: float) -> float:
    """How long after the last answer of the flood a call is answered as fast as it should be."""
    started = time.perf_counter()
    while time.perf_counter() - started < 60:
        one = Stream(key, 1.0)
        arrivals.run(Storm(storm.host, storm.port, storm.path, storm.body, 0.5, 30), [one])
        if one.answered and one.latency_ms(0.5) <= normal_ms:
            break
    return time.perf_counter() - started


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))
