"""The catalogue: finding listings by words, filters and name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVectorExact, SearchVectorField
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.db.models.expressions import OrderBy, RawSQL

from marketplace.models import Listing, Plan
from portal.accounts.models import Organisation
from portal.kit.errors import NotFound

Sort = Literal["relevance", "newest", "name", "smallest", "price", "popular", "throughput", "latency"]
SORTS: tuple[Sort, ...] = get_args(Sort)
# Each order has an index of its own, so that a page costs as much with a million listings as with a hundred.
# Ids of listings are in the order of their making.
_NEWEST = ("-published_at", "-id")
_ORDERS: Mapping[Sort, Sequence[str | OrderBy]] = {
    "relevance": _NEWEST,
    "newest": _NEWEST,
    "name": ("name", "id"),
    "smallest": ("figures__parameter_count", "figures__listing_id"),
    "price": (
        F("figures__monthly_fee").asc(nulls_last=True),
        F("figures__unit_price").asc(nulls_last=True),
        "-figures__listing_id",
    ),
    "popular": ("-figures__calls", "-figures__listing_id"),
    "throughput": (F("figures__tokens_per_1000_s").desc(nulls_last=True), "-figures__listing_id"),
    "latency": (F("figures__ttft_ms").asc(nulls_last=True), "-figures__listing_id"),
}
# So many matches are ranked, all there are of them; of a word that more listings have, as many of any and those among
# so many of the newest and the most called.
MOST_RANKED = 500
MAX_WORDS = 8
MAX_WORD_LENGTH = 64
# All that is known of a listing, and what it is called and said to be without its card, which lies in the row itself.
_WHOLE = RawSQL('"marketplace_listing"."search"', [], output_field=SearchVectorField())
_HEADLINE = RawSQL('"marketplace_listing"."headline"', [], output_field=SearchVectorField())


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to keep; empty keeps all. `provider` is an organisation's slug, `largest` a parameter count."""

    task: str = ""
    plan_kind: str = ""
    licence: str = ""
    language: str = ""
    tag: str = ""
    provider: str = ""
    largest: int | None = None


def live() -> QuerySet[Listing]:
    """What everyone sees, with owner and current version loaded and the card left behind."""
    return (
        Listing.objects.filter(published_at__isnull=False, withdrawn_at=None)
        .select_related("organisation", "current_version")
        .defer("card", "current_version__report", "current_version__training")
    )


def search(text: str = "", filters: Filters | None = None, sort: Sort = "relevance") -> QuerySet[Listing]:
    """Live listings that hold every word of `text`, the last letters of each still to come.

    `owner/slug` finds by name. Without words, relevance means newest.
    """
    found = _filtered(live(), filters or Filters())
    query = None
    if "/" in text:
        owner, _, slug = text.strip().partition("/")
        found = found.filter(organisation__slug=owner, slug__startswith=slug)
    elif words := re.findall(r"\w+", text.lower())[:MAX_WORDS]:
        query = _query([word[:MAX_WORD_LENGTH] for word in words])
        if sort == "relevance":
            return _ranked(found, query)
        found = found.filter(SearchVectorExact(_WHOLE, query))
    return _sorted(found, sort)


def _query(words: list[str]) -> SearchQuery:
    typing = SearchQuery(" & ".join(f"'{word}':*" for word in words), config="simple", search_type="raw")
    return typing | SearchQuery(" ".join(words), config="english")


def _filtered(listings: QuerySet[Listing], filters: Filters) -> QuerySet[Listing]:
    wanted: dict[str, object] = {
        "task": filters.task,
        "licence": filters.licence,
        "languages__contains": [filters.language] if filters.language else "",
        "tags__contains": [filters.tag] if filters.tag else "",
        "organisation__slug": filters.provider,
    }
    listings = listings.filter(**{name: value for name, value in wanted.items() if value})
    if filters.largest is not None:
        listings = listings.filter(figures__parameter_count__lte=filters.largest)
    if filters.plan_kind:
        plans = Plan.objects.filter(listing=OuterRef("pk"), kind=filters.plan_kind, archived_at=None)
        listings = listings.filter(Exists(plans))
    return listings


def _sorted(listings: QuerySet[Listing], sort: Sort) -> QuerySet[Listing]:
    if sort in ("smallest", "price", "popular", "throughput", "latency"):
        # A join that may not miss, so that the order can come from the figures' index.
        listings = listings.filter(figures__isnull=False)
    return listings.order_by(*_ORDERS[sort])


def _ranked(listings: QuerySet[Listing], query: SearchQuery) -> QuerySet[Listing]:
    """The matches, best first. Ranking reads every one of them, which nobody waits for where a word is common; and it
    reads their headlines alone, so that what only a card mentions comes last.
    """
    order = (SearchRank(_HEADLINE, query).desc(), *_NEWEST)
    some = _ids(listings.filter(SearchVectorExact(_WHOLE, query)).order_by())
    if len(some) < MOST_RANKED:
        return listings.filter(pk__in=some).order_by(*order)
    newest = _ids(live().order_by(*_NEWEST))
    most_called = _ids(live().filter(figures__isnull=False).order_by(*_ORDERS["popular"]))
    headed = Q(SearchVectorExact(_HEADLINE, query), pk__in={*newest, *most_called})
    return listings.filter(Q(pk__in=some) | headed).order_by(*order)


def _ids(listings: QuerySet[Listing]) -> list[UUID]:
    return list(listings.values_list("pk", flat=True)[:MOST_RANKED])


def find(owner: str, slug: str, *, viewer: UUID | None = None) -> Listing:
    """The listing that the organisation `viewer` (None: anyone) may see. Raises `NotFound`.

    Drafts are their owner's alone; a withdrawn listing is also its subscribers' to see.
    """
    listing = (
        Listing.objects.select_related("organisation", "current_version")
        .filter(organisation__slug=owner, slug=slug)
        .first()
    )
    if listing is None or not (listing.is_live or _is_party(listing, viewer)):
        raise NotFound(what="listing")
    return listing


def _is_party(listing: Listing, viewer: UUID | None) -> bool:
    if viewer is None:
        return False
    if listing.organisation_id == viewer:
        return True
    return listing.published_at is not None and listing.subscriptions.filter(organisation_id=viewer).exists()


def owned(organisation: Organisation) -> QuerySet[Listing]:
    """All listings of an organisation, drafts and withdrawn ones included, newest first."""
    mine = Listing.objects.filter(organisation=organisation)
    return mine.select_related("organisation", "current_version").order_by("-id")
