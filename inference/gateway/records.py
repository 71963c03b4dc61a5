"""Predictions as they stand, kept in Redis for minutes where there is room: results are in no database row."""

import asyncio
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import redis

from inference import protocol
from inference.gateway.call import Call
from portal.kit import clock, ids
from portal.kit.redis import is_passing

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from inference.gateway.kept import Kept

RESULT_SECONDS = 900
KEEP_AGAIN_SECONDS = 0.5
TOO_LARGE = "The result is too large to be kept. Ask for it with Prefer: wait, or for less of it."
_OVER = frozenset({"succeeded", "failed", "canceled"})


@dataclass(slots=True, kw_only=True)
class Record:
    """`request`, `organisation`, `listing` and `version` are ids in hex; `reply` is the stream of the web
    process that waits for the end.
    """

    request: str
    organisation: str
    listing: str
    version: str
    model: str
    reply: str
    status: str = "processing"
    created_at: str = field(default_factory=lambda: clock.now().isoformat())
    completed_at: str | None = None
    output: Any = None
    error: str | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begun(cls, call: Call, *, model: str, reply: str) -> "Record":
        facts = call.facts
        return cls(
            request=call.hex, organisation=facts.organisation_id.hex, listing=facts.listing_id.hex,
            version=call.version, model=model, reply=reply,
        )  # fmt: skip

    @property
    def is_over(self) -> bool:
        return self.status in _OVER

    def public_id(self, prefix: str) -> str:
        return ids.public(prefix, UUID(hex=self.request))


class Records:
    """Predictions by request id."""

    def __init__(self, client: "Redis", kept: "Kept") -> None:
        self._client = client
        self._kept = kept

    async def keep(self, record: Record) -> None:
        """One that is too large is kept without its output, and says so."""
        if not await self._put(record):
            await self._put(replace(record, output=None, error=TOO_LARGE))

    async def _put(self, record: Record) -> bool:
        return await self._kept.put(
            _key(record.request), protocol.pack(asdict(record)), organisation=record.organisation,
            seconds=RESULT_SECONDS,
        )  # fmt: skip

    async def keep_surely(self, record: Record) -> None:
        """The same, however long Redis is away: what the call came to has been charged."""
        while True:
            try:
                return await self.keep(record)
            except redis.RedisError as error:
                if not is_passing(error):
                    raise
            await asyncio.sleep(KEEP_AGAIN_SECONDS)

    async def find(self, request: str) -> Record | None:
        """The record, or None once it has expired or made room for others. A dead web process leaves a failed one."""
        packed = await self._kept.get(_key(request))
        if packed is None:
            return None
        record = Record(**protocol.unpack(packed))
        if not record.is_over and not await self._client.exists(record.reply):
            record.status, record.error = (
                "failed",
                "The prediction was interrupted. You were not charged for it.",
            )
        return record


def _key(request: str) -> str:
    return f"inference:prediction:{request}"
