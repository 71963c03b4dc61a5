"""The reaper: calls whose hold nobody renews end as interrupted, at no charge; charges that nobody delivered are
reversed.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from billing.credit import delivery, keys, settlement
from portal.kit import redis

_AT_ONCE = 500


def reap(now: datetime | None = None) -> list[UUID]:
    """End every call whose deadline has passed by `now`; their workers are told. Answers the requests ended.

    Without `now`, by the clock of Redis, which also set the deadlines: hosts may disagree on the time.
    """
    client = redis.client()
    by_ms = int(now.timestamp() * 1000) if now else _redis_ms()
    lapsed: Any = client.zrangebyscore(keys.HOLDS, 0, by_ms, start=0, num=_AT_ONCE)
    requests = [UUID(request.decode()) for request in lapsed]
    ended = [request for request in requests if settlement.lapse(client, request, by_ms=by_ms)]
    delivery.reverse_undelivered(by_ms=by_ms)
    return ended


def _redis_ms() -> int:
    answer: Any = redis.client().time()
    seconds, microseconds = answer
    return int(seconds) * 1000 + int(microseconds) // 1000
