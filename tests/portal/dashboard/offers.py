"""Listings to look at, and calls of them as the meter records them."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from billing import partitions
from billing.models import UsageEvent
from marketplace import pricing, publishing
from marketplace.models import Listing, Version
from marketplace.pricing import Component, TermsFields
from portal.kit import clock, ids
from tests.conftest import Cast

DOLLAR = 100_000_000


def offer(cast: Cast, slug: str, *, kind: str, cents: int | None) -> Listing:
    """A published listing at so many cents per million output tokens; None only includes some."""
    made = publishing.create_listing(
        cast.acme, by=cast.owner, slug=slug, name=slug.title(), task="text-generation"
    )
    made.current_version = Version.objects.create(
        listing=made, number=1, digest=slug.ljust(64, "0"), task=made.task, architecture="llama", context_length=128,
        parameter_count=1000, weight_bytes=4000, memory_bytes=8000, state=Version.State.READY, created_by=cast.owner,
    )  # fmt: skip
    made.save()
    amount = None if cents is None else cents * DOLLAR // 100
    included = 1000 if cents is None else 0
    terms: TermsFields = {
        "components": [Component(meter="output_tokens", included=included, amount=amount, per=1_000_000)]
    }
    pricing.create_plan(made, by=cast.owner, kind=kind, name="Standard", slug="standard", **terms)
    publishing.publish(made, by=cast.owner)
    return made


def record_calls(
    listing: Listing, times: int, *, days_ago: int = 0, minutes_ago: int = 1, **facts: Any
) -> None:
    """So many calls of the current version, begun in the same moment."""
    begun = clock.now() - timedelta(days=days_ago, minutes=minutes_ago)
    partitions.ensure([begun.date()])
    assert listing.current_version_id
    first = ids.first_at(begun).int | ids.uuid7().int & (1 << 79) - 1
    known = dict.fromkeys(("requests", "input_tokens", "cached_tokens", "images", "compute_ms", "charge"), 0)
    other = {name: ids.uuid7() for name in ("subscription_id", "plan_version_id", "period_id", "lease_id")}
    # Of somebody who is neither a party of the test nor the provider, whose own calls are not measured.
    usual = {
        "outcome": "succeeded", "output_tokens": 1, "ttft_ms": 1, "latency_ms": 1, "finish_reason": "stop",
        "organisation_id": ids.uuid7(), "endpoint": "test", "streamed": True, "rated": {}, "demo": False,
    }  # fmt: skip
    UsageEvent.objects.bulk_create(
        UsageEvent(
            id=UUID(int=first + number), finished_at=begun, listing=listing, version_id=listing.current_version_id,
            provider_id=listing.organisation_id, currency="USD", worker="w", **(known | other | usual | facts),
        )
        for number in range(times)
    )  # fmt: skip
