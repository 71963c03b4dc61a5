"""Listings as the catalogue shows them: with prices from their open plans and how they stand."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.core.cache import cache
from django.db.models import OuterRef, QuerySet, Subquery

from marketplace import catalogue
from marketplace import figures as pricing_figures
from marketplace.models import Figures, Listing, PlanVersion
from portal.dashboard import serving
from portal.dashboard.serving import Standing

FACET_SECONDS = 60
MOST_FACETS = 12
# Counting every listing's would keep one visitor a minute waiting, the longer the more there are.
MOST_COUNTED = 2_000


@dataclass(frozen=True, slots=True)
class Item:
    """A card. `kinds` are those of its open plans; `cheapest` the one by whose price listings are sorted. `figures` say
    what its calls were like; a draft has none.
    """

    listing: Listing
    standing: Standing | None
    kinds: Sequence[str]
    cheapest: PlanVersion | None
    figures: Figures | None


def items(listings: QuerySet[Listing]) -> list[Item]:
    """The cards of a page of listings, in a fixed number of queries."""
    found = list(listings.prefetch_related("figures"))
    offers = _offers(found)
    standings = serving.standings(each.current_version for each in found if each.current_version)
    return [
        _item(each, offers[each.pk], standings[each.current_version_id] if each.current_version_id else None)
        for each in found
    ]


def _offers(listings: Iterable[Listing]) -> Mapping[UUID, list[PlanVersion]]:
    """The latest versions of each listing's open plans, in the order of the plans."""
    latest = PlanVersion.objects.filter(plan=OuterRef("plan")).order_by("-number").values("pk")[:1]
    plans = {"plan__listing__in": [each.pk for each in listings], "plan__archived_at": None}
    offers = PlanVersion.objects.filter(**plans, pk=Subquery(latest)).order_by("plan__created_at")
    found: dict[UUID, list[PlanVersion]] = defaultdict(list)
    for offer in offers.select_related("plan").prefetch_related("components"):
        found[offer.plan.listing_id].append(offer)
    return found


def _item(listing: Listing, offers: Sequence[PlanVersion], standing: Standing | None) -> Item:
    return Item(
        listing=listing,
        standing=standing,
        kinds=sorted({offer.plan.kind for offer in offers}),
        cheapest=pricing_figures.cheapest(offers),
        figures=getattr(listing, "figures", None),
    )


def licences() -> Iterable[str]:
    """The licences most in use among the newest listings, a minute old at most."""
    found: list[str] | None = cache.get("catalogue:licences")
    if found is None:
        newest = catalogue.live().order_by("-published_at", "-id").values_list("licence", flat=True)
        counted = Counter(licence for licence in newest[:MOST_COUNTED] if licence)
        found = [licence for licence, _count in counted.most_common(MOST_FACETS)]
        cache.set("catalogue:licences", found, FACET_SECONDS)
    return found
