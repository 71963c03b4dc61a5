"""Redis connections: one pool per process, made on first use. And what to do when Redis takes no writes."""

import re
from functools import cache

import redis
import redis.asyncio
from django.conf import settings

# The beginning of a script that must pass even where Redis is at its memory limit, since it ends calls or
# keeps them going, and only their ends free memory. Redis refuses a script's first write if that may take
# memory, and no later one (6.2 and 7 alike): so the first one is a write that takes none.
EVEN_IF_FULL = "redis.call('DEL', '')\n"

_PASSING = (
    redis.ConnectionError, redis.TimeoutError, redis.exceptions.OutOfMemoryError, redis.ReadOnlyError,
    redis.exceptions.MasterDownError, redis.exceptions.ClusterDownError, redis.exceptions.TryAgainError,
)  # fmt: skip
# As Redis says them, a script of ours passes them on (Redis 6 puts words of its own before), or a pipeline cites them.
_PASSING_CODES = re.compile(r"(?:^|-|error: |\(')(?:OOM|READONLY|MASTERDOWN|NOREPLICAS|MISCONF|BUSY) ")


def is_passing(answer: object) -> bool:
    """Whether this is an error that will be over by itself: Redis is away, full, a replica, busy, or unable
    to keep what is written.
    """
    if isinstance(answer, _PASSING):
        return True
    return isinstance(answer, redis.RedisError) and bool(_PASSING_CODES.search(str(answer)))


def is_away(error: object) -> bool:
    """Whether the server did not answer at all."""
    return isinstance(error, redis.ConnectionError | redis.TimeoutError)


@cache
def client() -> "redis.Redis":
    """The blocking client, safe to share between threads. Answers are bytes."""
    return redis.Redis.from_url(settings.REDIS_URL, health_check_interval=30)


def new_async_client() -> "redis.asyncio.Redis":
    """A client for one event loop; its owner closes it."""
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, health_check_interval=30)
