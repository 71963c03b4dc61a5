"""Ten times more calls than the site can serve: what it still serves, whom, how it refuses, how it recovers.

Arrivals are open-loop: they come at their times, whatever has become of the earlier ones. One organisation
floods; the quiet ones call as often as they could if they were alone.
"""

import argparse
import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil
import redis

from benchmarks.chaos import market
from benchmarks.chaos.market import Consumer, Market
from benchmarks.results import at_least, at_most, row

COMMAND = "python -m benchmarks.overload"
TOKENS = 64
FACTOR = 10
QUIET_SHARE = 0.1
CONCURRENCY = 64
PATIENCE_SECONDS = 30.0
# What the load itself may have open; calls beyond it are not sent and count as unserved.
MOST_OPEN = 4_000


@dataclass
class Tally:
    """Answers of some callers: latencies in seconds of the served, refusals by what they said."""

    served: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        return len(self.served) / max(1, len(self.served) + sum(self.refused.values()))

    def percentile(self, part: float) -> float:
        return sorted(self.served)[int(len(self.served) * part)] if self.served else float("nan")


@dataclass
class Peak:
    """The most that was seen of each."""

    queue: int = 0
    redis_bytes: int = 0
    memory_bytes: int = 0


def run(quick: bool) -> list[dict[str, Any]]:
    """Throughput kept, fairness, recovery, and refusals that do not say when to come back."""
    seconds = 15.0 if quick else 60.0
    with market.opened(consumers=3) as site:
        return asyncio.run(_measure(site, seconds))


async def _measure(site: Market, seconds: float) -> list[dict[str, Any]]:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=site.stack.url, timeout=PATIENCE_SECONDS, limits=limits) as client:
        flooder, *quiet = site.consumers
        for consumer in site.consumers:
            await ask(client, consumer, Tally())
        capacity = await _find_capacity(client, flooder, seconds=min(seconds, 15))
        rate = QUIET_SHARE * capacity / len(quiet)
        alone = Tally()
        await asyncio.gather(*(_arrive(client, one, rate, 10, alone) for one in quiet))
        flood, calm, peak = Tally(), Tally(), Peak()
        watch = asyncio.ensure_future(_watch(site, peak))
        await asyncio.gather(
            _arrive(client, flooder, FACTOR * capacity, seconds, flood),
            *(_arrive(client, one, rate, seconds, calm) for one in quiet),
        )
        recovery = await _recover(client, flooder)
        watch.cancel()
    served = (len(flood.served) + len(calm.served)) / seconds
    print(f"  capacity {capacity:.1f}/s; under {FACTOR}x: {served:.1f}/s; recovery {recovery:.2f} s; {peak}")
    for name, tally in (("alone", alone), ("quiet", calm), ("flood", flood)):
        print(
            f"  {name}: {len(tally.served)} served, share {tally.share:.3f}, p50 {tally.percentile(0.5):.2f} s, "
            f"p95 {tally.percentile(0.95):.2f} s, refused {dict(tally.refused)}"
        )
    dishonest = sum(n for tally in (flood, calm) for what, n in tally.refused.items() if "dishonest" in what)
    return [
        row("load.ratio", served / capacity, "of capacity", command=COMMAND, goal=at_least(0.9)),
        row("load.fairness", calm.share, "of quiet calls", command=COMMAND, goal=at_least(0.95)),
        row("load.recovery_s", recovery, "s", command=COMMAND, better="lower", goal=at_most(5)),
        row("load.dishonest", dishonest, "refusals", command=COMMAND, better="lower", goal=at_most(0)),
    ]


async def _find_capacity(client: httpx.AsyncClient, consumer: Consumer, *, seconds: float) -> float:
    """Answers a second of as many callers as keep the engine full, each of whom waits for his answer."""
    tally, until = Tally(), time.monotonic() + seconds

    async def call_on() -> None:
        while time.monotonic() < until:
            await ask(client, consumer, tally)

    await asyncio.gather(*(call_on() for _ in range(CONCURRENCY)))
    if not tally.served:
        raise RuntimeError(f"nothing was served: {tally.refused}")
    return len(tally.served) / seconds


async def _arrive(
    client: httpx.AsyncClient, consumer: Consumer, rate: float, seconds: float, tally: Tally
) -> None:
    """`rate` calls a second for `seconds`; ends when the last of them has ended."""
    began, tasks = time.monotonic(), set[asyncio.Task[None]]()
    for number in range(int(rate * seconds)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        if time.monotonic() > began + seconds:
            break
        if len(tasks) >= MOST_OPEN:
            tally.refused["not sent"] += 1
            continue
        task = asyncio.ensure_future(ask(client, consumer, tally))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)


async def ask(client: httpx.AsyncClient, consumer: Consumer, tally: Tally) -> None:
    """One call, counted."""
    began = time.monotonic()
    try:
        answer = await client.post(
            "/v1/chat/completions", headers={"Authorization": f"Bearer {consumer.key}"},
            json={"model": consumer.text, "max_tokens": TOKENS, "messages": [{"role": "user", "content": "fox"}]},
        )  # fmt: skip
    except httpx.TransportError as error:
        tally.refused[f"dishonest {type(error).__name__}"] += 1
        return
    if answer.status_code == 200:
        tally.served.append(time.monotonic() - began)
        return
    honest = answer.status_code in (429, 503) and "retry-after" in answer.headers
    tally.refused[
        f"{'' if honest else 'dishonest '}{answer.status_code} {answer.json()['error']['code']}"
    ] += 1


async def _recover(client: httpx.AsyncClient, consumer: Consumer) -> float:
    """Seconds until a fresh call has been served."""
    began, tally = time.monotonic(), Tally()
    while not tally.served and time.monotonic() < began + PATIENCE_SECONDS:
        await ask(client, consumer, tally)
    return time.monotonic() - began


async def _watch(site: Market, peak: Peak) -> None:
    server = redis.Redis.from_url(site.services.redis_url)
    assert site.stack.process is not None
    leader = psutil.Process(site.stack.process.pid)
    while True:
        await asyncio.to_thread(_look, server, leader, peak)
        await asyncio.sleep(1)


def _look(server: Any, leader: psutil.Process, peak: Peak) -> None:
    queues: Sequence[bytes] = list(server.scan_iter("version.*", count=1000))
    peak.queue = max([peak.queue, *(server.llen(queue) for queue in queues)])
    peak.redis_bytes = max(peak.redis_bytes, server.info("memory")["used_memory"])
    memory = 0
    for process in leader.children(recursive=True):
        try:
            memory += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    peak.memory_bytes = max(peak.memory_bytes, memory)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true")
    print(json.dumps(run(parser.parse_args().quick), indent=1))
