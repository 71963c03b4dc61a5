"""New calls of a made world, as the settlement script would have told them. The same numbers, the same calls."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack
from django.db import connection

from billing.events import Event, KnownFacts, Rated
from portal.kit import clock

SUBSCRIPTIONS = 200
_SUBSCRIBED = """
    SELECT known.organisation_id, provider_id, subscription_id, listing_id, version_id, terms_id, period.id, keys[1],
        tokens_in, tokens_out, price,
        coalesce((SELECT units FROM billing_ratedline WHERE period_id = period.id AND meter = 'input_tokens'), 0),
        coalesce((SELECT units FROM billing_ratedline WHERE period_id = period.id AND meter = 'output_tokens'), 0)
    FROM scale.known JOIN scale.period ON period.subscription = known.n AND now() >= starts AND now() < ends
    ORDER BY known.n LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription whose calls all use the same; `done_in` and `done_out` are its period's units so far."""

    known: KnownFacts
    tokens_in: int
    tokens_out: int
    price: int
    done_in: int
    done_out: int

    def call(self, number: int, *, at_ms: int, ordinal: int) -> Event:
        """Its `ordinal`th new call, the `number`th of all."""
        rated = (
            Rated("input_tokens", self.done_in + ordinal * self.tokens_in, self.tokens_in, self.tokens_in * self.price),
            Rated(
                "output_tokens", self.done_out + ordinal * self.tokens_out, self.tokens_out,
                self.tokens_out * self.price * 3,
            ),
        ) if self.price else ()  # fmt: skip
        return Event(
            id=_id(at_ms, number), known=self.known, outcome="succeeded", finished_ms=at_ms + 900,
            units={"requests": 1, "input_tokens": self.tokens_in, "output_tokens": self.tokens_out, "compute_ms": 800},
            rated=rated, charge=sum(line.charge for line in rated),
            extra={"worker": "w1", "finish_reason": "stop", "latency_ms": 900, "ttft_ms": 45},
        )  # fmt: skip


def subscribed() -> list[Subscribed]:
    """The busiest of the world's subscriptions, in its running period."""
    with connection.cursor() as cursor:
        cursor.execute(_SUBSCRIBED, [SUBSCRIPTIONS])
        return [_read(row) for row in cursor.fetchall()]


def make(callers: Sequence[Subscribed], numbers: Iterator[int], *, at_ms: int) -> list[Event]:
    """A thousand calls a millisecond at most, from `at_ms` on."""
    count = len(callers)
    return [callers[n % count].call(n, at_ms=at_ms + n // 1000, ordinal=n // count) for n in numbers]


def entry(event: Event) -> dict[str, Any]:
    """The event's entry on the usage stream."""
    rated = ",".join(f"{line.meter} {line.position} {line.units} {line.charge}" for line in event.rated)
    return {
        "i": str(uuid.UUID(event.id)), "f": msgpack.packb(tuple(event.known)), "x": msgpack.packb(event.extra), "o": event.outcome,
        "t": event.finished_ms, "q": msgpack.packb(event.units), "r": rated, "c": event.charge,
    }  # fmt: skip


def now_ms() -> int:
    return int(clock.now().timestamp() * 1000)


def _id(at_ms: int, number: int) -> str:
    return f"{at_ms:012x}7000{0x8000000000000000 | number * 0x9E3779B97F4A7C15 & 0x3FFFFFFFFFFFFFFF:016x}"


def _read(row: Sequence[Any]) -> Subscribed:
    *ids, key, tokens_in, tokens_out, price, done_in, done_out = row
    organisation, provider, subscription, listing, version, terms, period = (each.hex for each in ids)
    known = KnownFacts(
        organisation=organisation, provider=provider, subscription=subscription, listing=listing, version=version,
        plan_version=terms, period=period, lease=period, key=key.hex, endpoint="chat.completions", streamed=True,
        currency="USD", demo=False,
    )  # fmt: skip
    return Subscribed(known, tokens_in, tokens_out, price, done_in, done_out)
