"""Redis connections: one pool per process, made on first use."""

from functools import cache

import redis
import redis.asyncio
from django.conf import settings


@cache
def client() -> "redis.Redis":
    """The blocking client, safe to share between threads. Answers are bytes."""
    return redis.Redis.from_url(settings.REDIS_URL, health_check_interval=30)


def new_async_client() -> "redis.asyncio.Redis":
    """A client for one event loop; its owner closes it."""
    return redis.asyncio.Redis.from_url(settings.REDIS_URL, health_check_interval=30)
