"""What is known of the calls with an `Idempotency-Key`, in Redis for minutes: answers are in no database row.

An entry is made before its call runs, renewed while that runs, and kept for longer than the answer: as long as it
is there, its call is never run again. Neither is an entry taken over that nobody renews: its call may have been
charged. Answers may be dropped early, for the room that they take; entries are small, and only those older than
was promised make room for others.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack

from inference.gateway.kept import Kept
from inference.gateway.retrying.errors import (
    AnswerDropped,
    AnswerTooLarge,
    FirstStillRuns,
    FirstWasInterrupted,
    KeyForAnotherCall,
    TooManyKeys,
)

if TYPE_CHECKING:
    from redis.asyncio import Redis

# For so long an answer can be had again, if it was not dropped for room; a call is not run again for so long.
KEEP_SECONDS = 900
# An entry stays on for so long where there is room, to say that its answer is gone.
ENTRY_SECONDS = 3600
LEASE_SECONDS = 15.0
RETRY_SECONDS = 1.0
MOST_BYTES = 4 * 2**20
# Entries of an organisation and of all, where Redis has no limit; else such parts of it, at a kilobyte each.
OWN_ENTRIES, ALL_ENTRIES = 100_000, 400_000
OWN_PART, ALL_PART, ENTRY_BYTES = 64, 16, 1024
ENTRIES = "inference:idempotency:entries"

_TEXTS = Path(__file__).with_name("scripts")
_CLAIM, _RENEW = ((_TEXTS / f"{name}.lua").read_text() for name in ("claiming", "renewing"))


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. Headers as ASGI has them."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Limits:
    """How many entries there may be, of one organisation and of all."""

    organisation: int = OWN_ENTRIES
    total: int = ALL_ENTRIES


def limits(memory_bytes: int = 0) -> Limits:
    """For a Redis that may hold so much; 0 is without limit."""
    own, total = (memory_bytes // ENTRY_BYTES // part for part in (OWN_PART, ALL_PART))
    return Limits(min(OWN_ENTRIES, own or OWN_ENTRIES), min(ALL_ENTRIES, total or ALL_ENTRIES))


@dataclass(frozen=True, slots=True)
class First:
    """What an entry says of the first call with its key: of which request it was, and what became of it."""

    digest: bytes
    runs: bool
    became: bytes


class Attempts:
    """The entry of one key of one organisation. Raises `redis.RedisError`."""

    def __init__(
        self, client: "Redis", organisation_id: UUID, *, key: str, kept: Kept, most: Limits | None = None
    ) -> None:
        self._client: Any = client
        self._kept = kept
        self._most = most or Limits()
        self._organisation = organisation_id.hex
        named = f"{self._organisation}:{hashlib.sha256(key.encode()).hexdigest()}"
        self._entry, self._answer = f"inference:idempotency:{named}", f"inference:answer:{named}"
        self._keys = (self._entry, ENTRIES, _entries_of(self._organisation))

    async def claim(self, digest: bytes) -> First | None:
        """None if the call is the first with its key and so to be run. Raises `TooManyKeys`."""
        known = await self._client.eval(
            _CLAIM, len(self._keys), *self._keys, digest, int(LEASE_SECONDS * 1000), ENTRY_SECONDS, KEEP_SECONDS,
            self._most.organisation, self._most.total, _entries_of(""), self._organisation,
        )  # fmt: skip
        if known is None:
            return None
        if known[0] == b"full":
            raise TooManyKeys(seconds=KEEP_SECONDS, retry_after=known[1] / 1000)
        return First(known[0], bool(known[1]), known[2])

    async def answer(self, first: First, digest: bytes) -> Answer:
        """The first call's answer, to another one that says `digest`.

        Raises `KeyForAnotherCall`, `FirstStillRuns`, `FirstWasInterrupted`, `AnswerTooLarge` or `AnswerDropped`.
        """
        if first.digest != digest:
            raise KeyForAnotherCall
        if not first.became:
            if first.runs:
                raise FirstStillRuns(retry_after=RETRY_SECONDS)
            raise FirstWasInterrupted
        if first.became == b"too large":
            raise AnswerTooLarge
        packed = await self._kept.get(self._answer)
        if packed is None:
            raise AnswerDropped
        status, headers, body = msgpack.unpackb(packed)
        return Answer(status, [(name, value) for name, value in headers], body)

    async def renew(self) -> None:
        """The call still runs."""
        await self._renew("")

    async def keep(self, answer: Answer) -> None:
        """The call was answered."""
        packed = msgpack.packb([answer.status, list(answer.headers), answer.body])
        is_kept = len(packed) <= MOST_BYTES and await self._kept.put(
            self._answer, packed, organisation=self._organisation, seconds=KEEP_SECONDS
        )
        await self._renew("kept" if is_kept else "too large")

    async def forget(self) -> None:
        """The call failed and cost nothing, so that it may be tried again."""
        pipeline = self._client.pipeline(transaction=False)
        pipeline.delete(self._entry)
        for entries in self._keys[1:]:
            pipeline.zrem(entries, self._entry)
        await pipeline.execute()

    async def _renew(self, became: str) -> None:
        await self._client.eval(
            _RENEW, len(self._keys), *self._keys, int(LEASE_SECONDS * 1000), ENTRY_SECONDS, became
        )


def _entries_of(organisation: str) -> str:
    return f"{ENTRIES}:{organisation}"
