"""Admission: one Redis script checks epochs, rate limits and credit, and holds the worst case.

A refusal consumes nothing. When the lease is too small but the allowance is not, Postgres grants more and
the script runs again; calls of one process queue for that refill, so that a burst asks once.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgpack
import redis.asyncio
from django.db import connection

from billing.credit import keys, leases, scripting
from billing.credit.facts import CallFacts
from billing.errors import AllowanceExhausted, LeaseUnavailable, RateLimited, StaleFacts

_REFILLS = 100
_REFILL_THREADS = 4


@dataclass(frozen=True, slots=True)
class Window:
    """A rate limit after this call: per minute, what remains, and seconds until it is full again."""

    limit: int
    remaining: int
    reset_seconds: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """For the x-ratelimit-* headers; None where the plan sets no limit."""

    requests: Window | None
    tokens: Window | None


class Admission:
    """The gateway's door to credit. One per event loop; `close` it with the loop."""

    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(_REFILL_THREADS, thread_name_prefix="refill")
        self._refilling: dict[UUID, asyncio.Lock] = {}

    async def admit(
        self,
        facts: CallFacts,
        *,
        request_id: UUID,
        worst: Mapping[str, int],
        endpoint: str,
        streamed: bool,
        hold_seconds: float,
    ) -> Admitted:
        """Hold the most units that the call can use of each meter; one request is added unless `worst` says so.

        What a call uses beyond its worst case, or of a meter not in it, is never charged. A repeated
        `request_id` is held once. Raises `StaleFacts` (load the facts again, retry once), `RateLimited`,
        `AllowanceExhausted` or `LeaseUnavailable`.
        """
        script_keys, args = _arguments(
            facts, request_id, {"requests": 1, **worst}, (endpoint, streamed), hold_seconds
        )
        answer = await scripting.run_async(self._client, "admission", script_keys, args)
        if answer[0] == b"short":
            answer = await self._admit_after_refill(facts, script_keys, args)
        return _read(answer, facts)

    async def renew(self, request_ids: Sequence[UUID], hold_seconds: float) -> list[UUID]:
        """Extend live holds. Answers those that have none left: their calls are over for billing."""
        if not request_ids:
            return []
        args = [int(hold_seconds * 1000), *(request_id.hex for request_id in request_ids)]
        gone = await scripting.run_async(self._client, "renewing", [keys.HOLDS], args)
        return [UUID(request.decode()) for request in gone]

    def close(self) -> None:
        """Stop the threads that wait for Postgres."""
        self._threads.shutdown(cancel_futures=True)

    async def _admit_after_refill(self, facts: CallFacts, script_keys: list[str], args: list[Any]) -> Any:
        lock = self._refilling.setdefault(facts.period_id, asyncio.Lock())
        try:
            async with lock:
                for _ in range(_REFILLS):
                    answer = await scripting.run_async(self._client, "admission", script_keys, args)
                    if answer[0] != b"short":
                        return answer
                    await self._refill(facts, _pairs(answer[1:]))
        finally:
            if not lock.locked():
                self._refilling.pop(facts.period_id, None)
        raise LeaseUnavailable

    async def _refill(self, facts: CallFacts, needs: Mapping[str, int]) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, _refill, facts, needs)


def _refill(facts: CallFacts, needs: Mapping[str, int]) -> None:
    try:
        leases.refill(facts.period_id, lease_id=facts.lease_id, needs=needs)
    finally:
        # Refills are rare, and this thread may be idle for hours.
        connection.close()


def _pairs(flat: Sequence[Any]) -> dict[str, int]:
    return {name.decode(): int(value) for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _arguments(
    facts: CallFacts, request_id: UUID, worst: Mapping[str, int], call: tuple[str, bool], hold_seconds: float
) -> tuple[list[str], list[Any]]:
    script_keys = [
        keys.lease(facts.period_id),
        keys.hold(request_id),
        keys.HOLDS,
        keys.live(facts.subscription_id),
        keys.bucket(facts.subscription_id),
        keys.LEASES,
        *(name for name, _ in facts.epochs),
    ]
    args: list[Any] = [
        facts.lease_id.hex,
        request_id.hex,
        int(facts.period_ends * 1000),
        int(hold_seconds * 1000),
        facts.requests_per_minute,
        facts.tokens_per_minute,
        facts.concurrent_requests,
        worst.get("input_tokens", 0) + worst.get("output_tokens", 0),
        _pack(facts, *call),
        int(worst.get("output_tokens", 0) > 0),
        *(value for _, value in facts.epochs),
    ]
    for component in facts.components:
        args += [component.meter, worst.get(component.meter, 0)]
    return script_keys, args


def _pack(facts: CallFacts, endpoint: str, streamed: bool) -> bytes:
    """The part of the usage event that is known now, in the order of `metering.events.KnownFacts`."""
    identities: Iterable[UUID | None] = (
        facts.organisation_id, facts.provider_id, facts.subscription_id, facts.listing_id, facts.version_id,
        facts.plan_version_id, facts.period_id, facts.lease_id, facts.key_id,
    )  # fmt: skip
    known = [identity and identity.hex for identity in identities]
    packed: bytes = msgpack.packb([*known, endpoint, streamed, facts.currency, facts.demo])
    return packed


def _read(answer: Sequence[Any], facts: CallFacts) -> Admitted:
    verdict = answer[0]
    if verdict == b"admitted":
        return Admitted(
            _window(facts.requests_per_minute, answer[1:3]), _window(facts.tokens_per_minute, answer[3:5])
        )
    if verdict == b"limited":
        _, scope, limit, remaining, wait_ms = answer
        raise RateLimited(scope=scope.decode(), limit=limit, remaining=remaining, retry_after=wait_ms / 1000)
    if verdict == b"exhausted":
        _, meter, left, needed = answer
        raise AllowanceExhausted(meter=meter.decode(), left=left, needed=needed, resets_at=facts.period_ends)
    raise StaleFacts(reason=answer[1].decode())


def _window(limit: int, measured: Sequence[int]) -> Window | None:
    return Window(limit, measured[0], measured[1] / 1000) if limit else None
