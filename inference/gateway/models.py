"""GET /v1/models: what the caller may call, with its price and how it stands."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from django.db.models import Q
from starlette.requests import Request
from starlette.responses import Response

from inference import availability
from inference.availability import State
from inference.gateway.answering import json_response
from inference.gateway.errors import ModelNotFound
from inference.gateway.lookup import Caller, split_name
from marketplace import entitlement, own_use
from marketplace.models import Listing, PriceComponent, Subscription, Version
from portal.kit.money import Money

if TYPE_CHECKING:
    from inference.gateway.process import GatewayProcess

# OpenRouter's words for prices of one unit, which tools that compare models understand.
_PRICE_NAMES = {
    "input_tokens": "prompt", "output_tokens": "completion", "cached_tokens": "input_cache_read",
    "requests": "request", "images": "image", "compute_ms": "compute_ms",
}  # fmt: skip


async def listed(process: "GatewayProcess", request: Request) -> Response:
    """All listings that the caller's organisation is subscribed to."""
    caller = await process.identifier.fresh_caller(request.headers.get("authorization"))
    described = await process.identifier.in_thread(lambda: describe_all(find_callable(caller)))
    return json_response({"object": "list", "data": described})


async def retrieve(process: "GatewayProcess", request: Request) -> Response:
    """One of them, by `owner/slug` or `owner/slug:number`; the slash may be percent-encoded.

    Raises `ModelNotFound` or `VersionNotReady`.
    """
    caller = await process.identifier.fresh_caller(request.headers.get("authorization"))
    name = str(request.path_params["model"])
    described = await process.identifier.in_thread(lambda: describe_one(*find_one(caller, name)))
    return json_response(described)


def find_callable(caller: Caller, *, path: str | None = None) -> list[Subscription]:
    """Live subscriptions to live listings, and the own use of own ones, with all that `describe` reads. Blocks on
    Postgres.
    """
    own_use.open_all(caller.organisation_id)
    is_live = Q(listing__withdrawn_at=None, listing__published_at__isnull=False)
    found = (
        Subscription.objects.filter(
            is_live | Q(own_use=True), organisation_id=caller.organisation_id, ended_at=None,
            listing__taken_down_at=None, listing__organisation__suspended_at=None,
            listing__current_version__state=Version.State.READY,
        )
        .select_related("listing__organisation", "listing__current_version", "plan_version__plan")
        .prefetch_related("plan_version__components")
        # What was bought of an own listing comes after its own use, and takes its place.
        .order_by("listing__organisation__slug", "listing__slug", "-own_use")
    )  # fmt: skip
    if caller.listing_id is not None:
        found = found.filter(listing_id=caller.listing_id)
    if path is not None:
        owner, _, slug = path.partition("/")
        found = found.filter(listing__organisation__slug=owner, listing__slug=slug)
    return list({each.listing_id: each for each in found}.values())


def find_one(caller: Caller, name: str) -> tuple[Subscription, Version | None]:
    """The subscription that a name is callable by, and the version where the name pins one. Blocks on Postgres.

    Raises `ModelNotFound` or `VersionNotReady`.
    """
    path, number = split_name(name)
    subscription = next(iter(find_callable(caller, path=path)), None)
    if subscription is None:
        raise ModelNotFound(model=name, param="model")
    pinned = None if number is None else entitlement.find_version(subscription.listing, number=number)
    return subscription, pinned


def describe_all(subscriptions: Sequence[Subscription]) -> list[dict[str, Any]]:
    """Each with its current version, and how that stands."""
    current = {each.listing_id: each.listing.current_version for each in subscriptions}
    standings = availability.standings(version for version in current.values() if version)
    return [
        describe(each, version, standings[version.pk].state)
        for each in subscriptions
        if (version := current[each.listing_id])
    ]


def describe_one(subscription: Subscription, pinned: Version | None) -> dict[str, Any]:
    """The same of one, or of the version that its name pins."""
    if pinned is None:
        return describe_all([subscription])[0]
    state = availability.standings([pinned])[pinned.pk].state
    described = describe(subscription, pinned, state)
    return described | {"id": f"{described['id']}:{pinned.number}"}


def describe(subscription: Subscription, version: Version, state: State) -> dict[str, Any]:
    """OpenAI's model object, and what a marketplace adds to it."""
    listing: Listing = subscription.listing
    terms = subscription.plan_version
    return {
        "id": listing.path, "object": "model", "created": int(listing.created_at.timestamp()),
        "owned_by": listing.organisation.slug, "name": listing.name, "description": listing.summary,
        "task": version.task, "version": version.number, "context_length": version.context_length or None,
        "status": state, "plan": {"name": terms.plan.name, "kind": terms.plan.kind},
        "pricing": _pricing(list(terms.components.all()), terms.currency),
    }  # fmt: skip


def _pricing(components: list[PriceComponent], currency: str) -> dict[str, Any]:
    """Decimal strings per unit for reading; `components` has the exact terms in micro-minor units."""
    prices = {_PRICE_NAMES[each.meter]: _per_unit(each, currency) for each in components}
    exact = [
        {"meter": each.meter, "included": each.included, "amount": each.amount, "per": each.per}
        for each in components
    ]
    return {"currency": currency, **prices, "components": exact}


def _per_unit(component: PriceComponent, currency: str) -> str:
    price = Money(component.amount or 0, currency).major() / Decimal(component.per)
    return f"{price.normalize():f}"
