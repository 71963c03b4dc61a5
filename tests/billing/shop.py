"""A provider's listing, a consumer's subscription to it, and calls that really go through Redis."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import redis.asyncio

from billing.credit import facts, settlement
from billing.credit.admission import Admission, Admitted
from billing.credit.facts import CallFacts
from marketplace.models import Listing, Plan, PlanVersion, PriceComponent, Subscription, Version
from portal.accounts.models import ApiKey, Organisation, User
from portal.kit import clock, ids
from portal.kit import redis as kit_redis

_numbers = itertools.count()


@dataclass(frozen=True)
class Shop:
    """One listing on one plan, and its one subscriber."""

    provider: Organisation
    consumer: Organisation
    listing: Listing
    version: Version
    plan_version: PlanVersion
    subscription: Subscription

    def facts(self, **changes: Any) -> CallFacts:
        """Facts of a call by the subscriber now."""
        return facts.load(self.subscription, self.version, **{"key_id": None, "epochs": (), **changes})


def make_key(shop: Shop, **limits: Any) -> ApiKey:
    """A key of the shop's consumer, with limits and budgets of its own."""
    buyer = shop.subscription.created_by
    return ApiKey.objects.create(
        organisation=shop.consumer, created_by=buyer, holder=buyer, name="app", secret_hash=b"",
        scopes=["inference"], **limits,
    )  # fmt: skip


def open_shop(
    *,
    components: Mapping[str, tuple[int, int | None, int]] | None = None,
    spend_cap: int = 10**12,
    monthly_fee: int = 0,
    provider: Organisation | None = None,
    consumer: Organisation | None = None,
    slug: str = "model",
    **limits: int,
) -> Shop:
    """Components map a meter to (included, amount, per)."""
    number = next(_numbers)
    user = User.objects.create_user(f"seller{number}@example.com", "correct horse battery")
    provider = provider or Organisation.objects.create(slug=f"seller{number}", name="Seller")
    consumer = consumer or Organisation.objects.create(slug=f"buyer{number}", name="Buyer")
    listing = Listing.objects.create(
        organisation=provider, slug=slug, name="Model", task="text-generation", created_by=user
    )
    version = Version.objects.create(
        listing=listing, number=1, digest=f"{number:064x}", task="text-generation", architecture="Llama",
        weight_bytes=1, memory_bytes=1, state="ready", created_by=user,
    )  # fmt: skip
    plan = Plan.objects.create(listing=listing, slug="plan", name="Plan", kind="mixed")
    plan_version = PlanVersion.objects.create(plan=plan, number=1, monthly_fee=monthly_fee, **limits)
    for meter, (included, amount, per) in (components or {}).items():
        PriceComponent.objects.create(
            plan_version=plan_version, meter=meter, included=included, amount=amount, per=per
        )
    subscription = Subscription.objects.create(
        organisation=consumer,
        listing=listing,
        plan_version=plan_version,
        spend_cap=spend_cap,
        created_by=user,
    )
    return Shop(provider, consumer, listing, version, plan_version, subscription)


@dataclass
class Caller:
    """Admits and finishes calls of one shop."""

    admission: Admission
    facts: CallFacts
    admitted: list[UUID] = field(default_factory=list)

    async def admit(self, request_id: UUID | None = None, **worst: int) -> tuple[UUID, Admitted]:
        request_id = request_id or ids.uuid7()
        answer = await self.admission.admit(
            self.facts, request_id=request_id, worst=worst, endpoint="chat.completions", streamed=True,
            hold_seconds=60,
        )  # fmt: skip
        self.admitted.append(request_id)
        return request_id, answer


def finish(
    request_id: UUID, outcome: Any = "succeeded", *, reply: str | None = None, **units: int
) -> tuple[int, str]:
    """Settle a call as a worker does. (charge, outcome)."""
    charge, how = settlement.finish(
        kit_redis.client(), request_id=request_id, outcome=outcome, quantities=units, reply=reply,
        final=b"final", facts_extra={"latency_ms": 12, "worker": "w1", "finish_reason": "stop"},
    )  # fmt: skip
    return charge, how.decode()


def new_admission() -> tuple[Admission, "redis.asyncio.Redis"]:
    client = kit_redis.new_async_client()
    return Admission(client), client


def now_facts(shop: Shop) -> CallFacts:
    return shop.facts(at=clock.now())
