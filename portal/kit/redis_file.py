"""The append-only file of Redis, rewritten so often that prompts and answers that have expired leave the disk as well.

Redis rewrites it by itself only when it has doubled, which on a quiet site is never.
"""

import logging
from typing import Any

import redis

from portal.kit.redis import client

# How often the schedule asks for it.
REWRITE_SECONDS = 600
_AT_ONCE = 1000
_UNDER_WAY = "already in progress"

log = logging.getLogger(__name__)


def rewrite(server: "redis.Redis | None" = None) -> bool:
    """Begin to write the file anew, from what is in memory now. False where there is none, or the server does not let
    us: then it decides by itself. Raises `redis.RedisError`.
    """
    server = server or client()
    persistence: Any = server.info("persistence")
    if not persistence.get("aof_enabled"):
        return False
    _drop_expired(server)
    try:
        server.bgrewriteaof()
    except redis.ResponseError as error:
        if _UNDER_WAY in str(error):
            return True
        log.warning("expired prompts and answers stay in Redis' append-only file: %s", error)
        return False
    return True


def _drop_expired(server: "redis.Redis") -> None:
    """A rewrite takes along what has expired and was not looked at since; to look at it deletes it."""
    for _ in server.scan_iter(match="inference:*", count=_AT_ONCE):
        pass
