"""One meter under measurement: `python -m benchmarks.scale.feed direct|stream COUNT NUMBER OF AT_MS`.

Prepares, says "ready", waits for a line, meters `COUNT` new calls and a tenth of them twice, and prints
`{"seconds", "new"}`. Meter NUMBER of OF makes every OFth call, and repeats calls of its neighbour.
"""

import json
import sys
import time
from collections.abc import Callable

from benchmarks.scale import calls

BATCH = 5000
REPEATED = 10


def main() -> None:
    import django

    django.setup()
    from billing.meter import spare_collector

    how, (count, number, of, at_ms) = sys.argv[1], map(int, sys.argv[2:6])
    sent = _sent(count, number, of, at_ms)
    run = _stream(sent, number) if how == "stream" else _direct(sent, number)
    spare_collector()
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    new = run()
    print(json.dumps({"seconds": time.perf_counter() - started, "new": new}), flush=True)


def _sent(count: int, number: int, of: int, at_ms: int) -> list[calls.Event]:
    """Its own calls, and after every ten of them one of the neighbour's of a while ago."""
    callers = calls.subscribed()
    neighbour = (number + 1) % of
    mine = calls.make(callers, iter(range(number, count * of, of)), at_ms=at_ms)
    again = calls.make(callers, iter(range(neighbour, count * of, of * REPEATED)), at_ms=at_ms)
    sent = []
    for index, each in enumerate(mine):
        sent.append(each)
        if index % REPEATED == REPEATED - 1:
            sent.append(again[index // REPEATED])
    return sent


def _direct(sent: list[calls.Event], shard: int) -> Callable[[], int]:
    from billing import recording

    batches = [sent[start : start + BATCH] for start in range(0, len(sent), BATCH)]
    recording.record(batches[0][:1], shard=shard)  # connects, and makes the day's partition
    return lambda: 1 + sum(recording.record(batch, shard=shard) for batch in batches)


def _stream(sent: list[calls.Event], shard: int) -> Callable[[], int]:
    """The whole way from Redis; every meter drains what all have put there."""
    from billing import metering
    from billing.credit import keys
    from portal.kit import redis

    metering.join()
    pipeline = redis.client().pipeline(transaction=False)
    for event in sent:
        pipeline.xadd(keys.USAGE_STREAM, calls.entry(event))
        if len(pipeline) >= BATCH:
            pipeline.execute()
    pipeline.execute()

    def drain() -> int:
        new = 0
        while taken := metering.take(f"feed{shard}", count=BATCH, block_ms=200):
            new += metering.record(taken, shard=shard)
        return new

    return drain


if __name__ == "__main__":
    main()
