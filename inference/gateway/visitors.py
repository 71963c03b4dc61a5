"""How many calls a day who has no account makes: from one address, and all of them together.

Two round trips to Redis that only calls of visitors make. Refused ones are not counted.
"""

import time
from typing import TYPE_CHECKING

from django.conf import settings

from inference.gateway.errors import VisitorQuotaReached

if TYPE_CHECKING:
    from redis.asyncio import Redis

DAY = 86_400
_PREFIX = "inference:visitors"


async def count(client: "Redis", visitor: str) -> None:
    """Count a call of today. Raises `VisitorQuotaReached` beyond the settings' limits, of which 0 is none."""
    now = time.time()
    day = int(now // DAY)
    left = (day + 1) * DAY - now
    # All first: so there are never more addresses in Redis than calls allowed.
    if not await _take(client, f"{_PREFIX}:{day}", settings.ALL_VISITORS_CALLS_PER_DAY):
        reason = "Visitors have made as many calls today as all of them may. Sign up to go on: it is free."
        raise VisitorQuotaReached(reason=reason, retry_after=left)
    if not await _take(client, f"{_PREFIX}:{day}:{visitor}", settings.VISITOR_CALLS_PER_DAY):
        await client.decr(f"{_PREFIX}:{day}")
        most = settings.VISITOR_CALLS_PER_DAY
        reason = f"Without an account {most} calls a day can be made. Sign up to go on: it is free."
        raise VisitorQuotaReached(reason=reason, retry_after=left)


async def _take(client: "Redis", key: str, most: int) -> bool:
    async with client.pipeline(transaction=True) as pipe:
        pipe.incr(key)
        pipe.expire(key, 2 * DAY)
        counted, _ = await pipe.execute()
    if most and counted > most:
        await client.decr(key)
        return False
    return True
