"""Answers and predictions in Redis, bounded in bytes per organisation and in all; the oldest go first."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redis.asyncio import Redis

# Where Redis has no limit of its own.
TOTAL_BYTES, ORGANISATION_BYTES = 256 * 2**20, 64 * 2**20
# Else no more than these parts of it.
TOTAL_PART, ORGANISATION_PART = 8, 32
# What an entry takes beside its value, roughly: its name four times, and two scores.
ENTRY_BYTES = 1024

AGES = "inference:kept:ages"
OWNERS = "inference:kept:owners"
SUMS = "inference:kept:bytes"

_PUT = (Path(__file__).with_name("scripts") / "putting.lua").read_text()


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes that may be kept: of one organisation, and of all."""

    organisation: int
    total: int


def limits(memory_bytes: int = 0) -> Limits:
    """For a Redis that may hold so much; 0 is without limit."""
    own = min(ORGANISATION_BYTES, memory_bytes // ORGANISATION_PART or ORGANISATION_BYTES)
    return Limits(own, min(TOTAL_BYTES, memory_bytes // TOTAL_PART or TOTAL_BYTES))


class Kept:
    """Values by their Redis keys. Raises `redis.RedisError`."""

    def __init__(self, client: "Redis", *, most: Limits | None = None) -> None:
        self._client: Any = client
        self.limits = most or limits()

    async def put(self, name: str, value: bytes, *, organisation: str, seconds: int) -> bool:
        """Keep a value; False if it is too large for that. `organisation` is its owner's id in hex."""
        keys = (name, AGES, _ages_of(organisation), OWNERS, SUMS)
        kept = await self._client.eval(
            _PUT, len(keys), *keys, value, organisation, seconds, self.limits.organisation, self.limits.total,
            ENTRY_BYTES, _ages_of(""),
        )  # fmt: skip
        return bool(kept)

    async def get(self, name: str) -> bytes | None:
        """None if it has expired or was dropped for others."""
        value: bytes | None = await self._client.get(name)
        return value


def _ages_of(organisation: str) -> str:
    return f"{AGES}:{organisation}"
