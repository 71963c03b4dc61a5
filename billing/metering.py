"""Metering: drain the usage stream into Postgres, exactly once.

Entries leave the stream only after the commit of the transaction that recorded them; whoever dies in
between has them read again, and recording ignores what it knows.
"""

import logging
from collections.abc import Sequence
from itertools import chain
from typing import Any

from redis.exceptions import ResponseError

from billing import events, recording
from billing.credit import keys, scripting
from billing.errors import EventUnreadable
from portal.kit import clock, redis
from portal.kit.redis import EVEN_IF_FULL

GROUP = "meter"
# Unreadable entries, kept for the operator; the newest of them.
REJECTED_STREAM = "usage:rejected"
_MOST_REJECTED = 100_000
_DRAIN_SHARD = -1
_DRAIN_BATCH = 1000

# Metering frees memory, so it goes on where there is none.
_JOIN = f"{EVEN_IF_FULL} return redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')"
_REJECT = (
    f"{EVEN_IF_FULL} return redis.call('XADD', KEYS[1], 'MAXLEN', '~', {_MOST_REJECTED}, '*', unpack(ARGV))"
)

_log = logging.getLogger(__name__)

Entries = Sequence[tuple[bytes, dict[bytes, bytes]]]


def join() -> None:
    """Make the consumer group, from the stream's beginning; also after Redis has lost it, or is full."""
    try:
        redis.client().eval(_JOIN, 1, keys.USAGE_STREAM, GROUP)
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


def take(consumer: str, *, count: int, block_ms: int) -> Entries:
    """New entries, waiting up to `block_ms` for the first. Raises `ResponseError` NOGROUP if Redis lost the group."""
    answer: Any = redis.client().xreadgroup(
        GROUP, consumer, {keys.USAGE_STREAM: ">"}, count=count, block=block_ms
    )
    return _first_stream(answer)


def claim(consumer: str, *, idle_ms: int, count: int) -> Entries:
    """Entries that a consumer took and has not recorded for `idle_ms`: it is dead or stuck."""
    answer: Any = redis.client().xautoclaim(
        keys.USAGE_STREAM, GROUP, consumer, min_idle_time=idle_ms, count=count
    )
    return [(entry, fields) for entry, fields in answer[1] if fields]


def record(entries: Entries, *, shard: int) -> int:
    """Record a batch and take it off the stream. Answers how many events were new."""
    if not entries:
        return 0
    readable = []
    for entry, fields in entries:
        try:
            readable.append(events.read(fields))
        except EventUnreadable as error:
            _log.error("usage entry %s set aside: %s", entry.decode(), error)
            redis.client().eval(_REJECT, 1, REJECTED_STREAM, *chain.from_iterable(fields.items()))
    new = recording.record(readable, shard=shard)
    _remove([entry for entry, _ in entries])
    return new


def drain(*, through: bytes) -> int:
    """Record every entry up to the id `through`, whoever else is at it. Answers how many events were new."""
    new = 0
    while True:
        answer: Any = redis.client().xrange(keys.USAGE_STREAM, "-", through, count=_DRAIN_BATCH)
        if not answer:
            return new
        new += record(answer, shard=_DRAIN_SHARD)


def leave(consumer: str) -> None:
    """Forget a consumer, unless it has entries that another one must claim first."""
    scripting.run(redis.client(), "leaving", [keys.USAGE_STREAM], [GROUP, consumer])


def forget_dead(*, idle_ms: int) -> None:
    """Forget consumers that have not asked for entries for `idle_ms` and have none."""
    consumers: Any = redis.client().xinfo_consumers(keys.USAGE_STREAM, GROUP)
    for consumer in consumers:
        if consumer["idle"] > idle_ms:
            leave(consumer["name"].decode())


def sweep(*, older_ms: int) -> int:
    """Record what is still on the stream after `older_ms`, whatever the group believes. Answers how many
    events were new.
    """
    before = int(clock.now().timestamp() * 1000) - older_ms
    return drain(through=str(before).encode())


def _remove(entry_ids: Sequence[bytes]) -> None:
    # No transaction: in one, a Redis that is full would refuse even what frees it.
    pipeline = redis.client().pipeline(transaction=False)
    pipeline.xack(keys.USAGE_STREAM, GROUP, *entry_ids)
    pipeline.xdel(keys.USAGE_STREAM, *entry_ids)
    pipeline.execute()


def _first_stream(answer: Any) -> Entries:
    if not answer:
        return []
    streams = answer.items() if isinstance(answer, dict) else answer
    entries: Entries = next(iter(streams))[1]
    return entries
