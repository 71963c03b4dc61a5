"""What is known of the calls with an `Idempotency-Key`, in Redis for minutes: answers are in no database row.

An entry is made before its call runs, renewed while that runs and kept for a quarter of an hour after its
end. One that nobody renews is not taken over: its call may have been charged.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack

from inference.gateway.retrying.errors import (
    AnswerTooLarge,
    FirstStillRuns,
    FirstWasInterrupted,
    KeyForAnotherCall,
)
from portal.kit.redis import EVEN_IF_FULL

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEEP_SECONDS = 900
LEASE_SECONDS = 15.0
RETRY_SECONDS = 1.0
MOST_BYTES = 4 * 2**20

# KEYS: entry. ARGV: digest, lease (ms), keep (s). Answers nothing if the entry is made now, else what it says.
_CLAIM = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', KEYS[1], 'digest', 'until', 'answer')
if known[1] then return {known[1], tonumber(known[2]) > now and 1 or 0, known[3]} end
redis.call('HSET', KEYS[1], 'digest', ARGV[1], 'until', now + ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
_RENEW = f"""{EVEN_IF_FULL}
if redis.call('EXISTS', KEYS[1]) == 0 then return end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'until', time[1] * 1000 + ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""
_KEEP = f"""{EVEN_IF_FULL}
redis.call('HSET', KEYS[1], 'answer', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. Headers as ASGI has them."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Attempts:
    """The entries of one key of one organisation. Raises `redis.RedisError`."""

    def __init__(self, client: "Redis", organisation_id: UUID, *, key: str) -> None:
        self._client: Any = client
        named = hashlib.sha256(key.encode()).hexdigest()
        self._entry = f"inference:idempotency:{organisation_id.hex}:{named}"

    async def claim(self, digest: bytes) -> Answer | None:
        """None if the call is the first with its key and so to be run; else the first one's answer.

        Raises `KeyForAnotherCall`, `FirstStillRuns`, `FirstWasInterrupted` or `AnswerTooLarge`.
        """
        known = await self._client.eval(
            _CLAIM, 1, self._entry, digest, int(LEASE_SECONDS * 1000), KEEP_SECONDS
        )
        if known is None:
            return None
        if known[0] != digest:
            raise KeyForAnotherCall
        # A missing last value ends a script's answer early.
        packed = known[2] if len(known) > 2 else None
        if packed is None:
            if known[1]:
                raise FirstStillRuns(retry_after=RETRY_SECONDS)
            raise FirstWasInterrupted
        if not packed:
            raise AnswerTooLarge
        status, headers, body = msgpack.unpackb(packed)
        return Answer(status, [(name, value) for name, value in headers], body)

    async def renew(self) -> None:
        """The call still runs."""
        await self._client.eval(_RENEW, 1, self._entry, int(LEASE_SECONDS * 1000), KEEP_SECONDS)

    async def keep(self, answer: Answer) -> None:
        """The call was answered."""
        packed = msgpack.packb([answer.status, list(answer.headers), answer.body])
        kept = packed if len(packed) <= MOST_BYTES else b""
        await self._client.eval(_KEEP, 1, self._entry, kept, KEEP_SECONDS)

    async def forget(self) -> None:
        """The call failed and cost nothing, so that it may be tried again."""
        await self._client.delete(self._entry)
