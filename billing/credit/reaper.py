"""The reaper: calls whose hold nobody renews end as interrupted, at no charge."""

from datetime import datetime
from uuid import UUID

from billing.credit import keys, settlement
from portal.kit import redis

_AT_ONCE = 500


def reap(now: datetime) -> list[UUID]:
    """End every call whose deadline has passed; their workers are told. Answers the requests ended."""
    client = redis.client()
    by_ms = int(now.timestamp() * 1000)
    lapsed: list[bytes] = client.zrangebyscore(keys.HOLDS, 0, by_ms, start=0, num=_AT_ONCE)  # type: ignore[assignment]
    requests = [UUID(request.decode()) for request in lapsed]
    return [request for request in requests if settlement.lapse(client, request, by_ms=by_ms)]
