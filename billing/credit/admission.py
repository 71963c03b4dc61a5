"""Admission: one Redis script checks epochs, rate limits and credit, and holds the worst case.

A refusal consumes nothing. When the lease is too small but the allowance is not, Postgres grants more and
the script runs again; calls of one process queue for that refill, so that a burst asks once.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from typing import Any
from uuid import UUID

import msgpack
import redis.asyncio
from django.db import connection

from billing.credit import budget_leases, keys, leases, refusals, scripting
from billing.credit.facts import CallFacts
from billing.errors import LeaseUnavailable

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
    """For the x-ratelimit-* headers: the limits with the least left, be they the key's, the plan's or the
    organisation's. None where nobody sets one.
    """

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
        `AllowanceExhausted`, `BudgetExhausted` or `LeaseUnavailable`.
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
    of_budgets = {budget.lease_id: keys.budget(budget.lease_id) for budget in facts.budgets}
    of_period = {limit: need for limit, need in needs.items() if limit not in of_budgets.values()}
    try:
        if of_period:
            leases.refill(facts.period_id, lease_id=facts.lease_id, needs=of_period)
        for lease_id, name in of_budgets.items():
            if name in needs:
                budget_leases.refill(lease_id, need=needs[name])
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
        keys.LEASES,
        keys.BUDGETS,
        *chain.from_iterable(
            (keys.live(rate.holder_id), keys.bucket(rate.holder_id)) for rate in facts.rates
        ),
        *(keys.budget(budget.lease_id) for budget in facts.budgets),
        *(name for name, _ in facts.epochs),
    ]
    args: list[Any] = [
        facts.lease_id.hex,
        request_id.hex,
        int(facts.period_ends * 1000),
        int(hold_seconds * 1000),
        worst.get("input_tokens", 0) + worst.get("output_tokens", 0),
        pack(facts, *call),
        int(worst.get("output_tokens", 0) > 0),
        len(facts.rates),
        len(facts.budgets),
    ]
    for rate in facts.rates:
        args += [rate.requests_per_minute, rate.tokens_per_minute, rate.concurrent_requests]
    args += [budget.ends_ms for budget in facts.budgets]
    args += [value for _, value in facts.epochs]
    for component in facts.components:
        args += [component.meter, worst.get(component.meter, 0)]
    return script_keys, args


def pack(facts: CallFacts, endpoint: str, streamed: bool) -> bytes:
    """The part of the usage event that is known now, in the order of `metering.events.KnownFacts`."""
    identities: Iterable[UUID | None] = (
        facts.organisation_id, facts.provider_id, facts.subscription_id, facts.listing_id, facts.version_id,
        facts.plan_version_id, facts.period_id, facts.lease_id, facts.key_id,
    )  # fmt: skip
    known = [identity and identity.hex for identity in identities]
    packed: bytes = msgpack.packb([*known, endpoint, streamed, facts.currency, facts.demo, _day(facts)])
    return packed


def _day(facts: CallFacts) -> int | None:
    """The day in whose budgets the call counts. Held to their windows: it is Redis that says when one has
    ended, and its clock may differ from ours.
    """
    if not facts.budgets:
        return None
    day = int(time.time()) // 86_400
    for budget in facts.budgets:
        day = min(max(day, budget.first_day), budget.last_day)
    return day


def _read(answer: Sequence[Any], facts: CallFacts) -> Admitted:
    if answer[0] != b"admitted":
        raise refusals.read(answer, facts)
    return Admitted(_window(answer[1:4]), _window(answer[4:7]))


def _window(measured: Sequence[int]) -> Window | None:
    limit, remaining, reset_ms = measured
    return Window(limit, remaining, reset_ms / 1000) if limit else None
