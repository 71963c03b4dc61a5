"""Usage events without the calls that they stand for."""

from typing import Any

from billing.credit import leases
from billing.events import Event, KnownFacts
from portal.kit import clock, ids
from tests.billing.shop import Shop, open_shop


def make_event(shop: Shop | None = None, **changes: Any) -> Event:
    """A succeeded call of the shop that cost nothing, finished now."""
    shop = shop or open_shop()
    lease = leases.open_for(shop.subscription, clock.now())
    known = KnownFacts(
        organisation=shop.consumer.pk.hex, provider=shop.provider.pk.hex, subscription=shop.subscription.pk.hex,
        listing=shop.listing.pk.hex, version=shop.version.pk.hex, plan_version=shop.plan_version.pk.hex,
        period=lease.period.pk.hex, lease=lease.lease_id.hex, key=None, endpoint="chat.completions",
        streamed=False, currency="USD", demo=False,
    )  # fmt: skip
    event = Event(
        id=ids.uuid7().hex, known=known, outcome="succeeded", finished_ms=int(clock.now().timestamp() * 1000),
        units={"requests": 1, "input_tokens": 5, "output_tokens": 7}, rated=(), charge=0,
        extra={"worker": "tab\there \\ and\nthere", "finish_reason": "stop", "latency_ms": 12},
    )  # fmt: skip
    return event._replace(**changes)
