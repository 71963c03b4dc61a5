"""Listings as the catalogue shows them: with prices from their open plans and how they stand."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.core.cache import cache
from django.db.models import Prefetch, QuerySet

from marketplace import catalogue
from marketplace.models import Figures, Listing, Plan, PlanVersion, PriceComponent
from portal.dashboard import serving
from portal.dashboard.serving import Standing

FACET_SECONDS = 60
MOST_FACETS = 12
# Counting every listing's would keep one visitor a minute waiting, the longer the more there are.
MOST_COUNTED = 2_000


@dataclass(frozen=True, slots=True)
class Item:
    """A card. `kinds` are those of its open plans; `components` the cheapest priced plan's. `figures` say
    what its calls were like; a draft has none.
    """

    listing: Listing
    standing: Standing | None
    kinds: Sequence[str]
    cheapest: PlanVersion | None
    components: Sequence[PriceComponent]
    figures: Figures | None


def items(listings: QuerySet[Listing]) -> list[Item]:
    """The cards of a page of listings, in a fixed number of queries."""
    plans = (
        Plan.objects.filter(archived_at=None)
        .order_by("created_at")
        .prefetch_related(
            Prefetch("versions", PlanVersion.objects.order_by("-number").prefetch_related("components"))
        )
    )
    found = list(listings.prefetch_related("figures", Prefetch("plans", plans, to_attr="open_plans")))
    standings = serving.standings(each.current_version_id for each in found if each.current_version_id)
    return [
        _item(each, standings[each.current_version_id] if each.current_version_id else None) for each in found
    ]


def _item(listing: Listing, standing: Standing | None) -> Item:
    plans: list[Plan] = getattr(listing, "open_plans", [])
    latest = (next(iter(plan.versions.all()), None) for plan in plans)
    offers = [version for version in latest if version]
    cheapest = min((offer for offer in offers if _priced(offer)), key=_dearness, default=None)
    components = _priced(cheapest) if cheapest else []
    return Item(
        listing,
        standing,
        sorted({plan.kind for plan in plans}),
        cheapest,
        components,
        getattr(listing, "figures", None),
    )


def _priced(version: PlanVersion) -> list[PriceComponent]:
    return [component for component in version.components.all() if component.amount]


def _dearness(version: PlanVersion) -> tuple[int, int]:
    return version.monthly_fee, sum((each.amount or 0) * 10**9 // each.per for each in _priced(version))


def licences() -> Iterable[str]:
    """The licences most in use among the newest listings, a minute old at most."""
    found: list[str] | None = cache.get("catalogue:licences")
    if found is None:
        newest = catalogue.live().order_by("-published_at", "-id").values_list("licence", flat=True)
        counted = Counter(licence for licence in newest[:MOST_COUNTED] if licence)
        found = [licence for licence, _count in counted.most_common(MOST_FACETS)]
        cache.set("catalogue:licences", found, FACET_SECONDS)
    return found
