"""The catalogue: finding listings by words, filters and name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args
from uuid import UUID

from django.contrib.postgres.search import SearchQuery, SearchRank, SearchVectorExact, SearchVectorField
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.db.models.expressions import OrderBy, RawSQL

from marketplace import entitlement
from marketplace.models import Listing, Plan, Version
from portal.accounts.models import Organisation
from portal.kit.errors import NotFound
from portal.kit.keysets import Key, Order

Sort = Literal["relevance", "newest", "name", "smallest", "price", "popular", "throughput", "latency"]
SORTS: tuple[Sort, ...] = get_args(Sort)
# Each order has an index of its own, so that a page costs as much with a million listings as with a hundred.
# Ids of listings are in the order of their making.
_NEWEST = (Key("published_at", descending=True), Key("id", descending=True))
_LAST = Key("figures__listing_id", descending=True)
_ORDERS: Mapping[Sort, Order] = {
    "relevance": _NEWEST,
    "newest": _NEWEST,
    "name": (Key("name"), Key("id")),
    "smallest": (Key("figures__parameter_count"), Key("figures__listing_id")),
    "price": (Key("figures__monthly_fee", nullable=True), Key("figures__unit_price", nullable=True), _LAST),
    "popular": (Key("figures__calls", descending=True), _LAST),
    "throughput": (Key("figures__tokens_per_1000_s", descending=True, nullable=True), _LAST),
    "latency": (Key("figures__ttft_ms", nullable=True), _LAST),
}
OWN = (Key("id", descending=True),)
# Of words that more listings have, about so many are ranked: prominent ones, and those among as many of the newest
# and the most called.
MOST_RANKED = 240
MAX_WORDS = 8
# What no list shows of a version.
_HEAVY = ("report", "training")
MAX_WORD_LENGTH = 64
# All that is known of a listing, and what it is called and said to be without its card, which lies in the row itself.
_WHOLE = RawSQL('"marketplace_listing"."search"', [], output_field=SearchVectorField())
_HEADLINE = RawSQL('"marketplace_listing"."headline"', [], output_field=SearchVectorField())


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What to keep; empty keeps all. `provider` is an organisation's slug, `largest` a parameter count.

    `token_rate` keeps what costs so many micro-minor units of the site's currency or less for a million tokens of any
    kind on the plan by whose price listings are sorted; 0 keeps what is free there, whatever it counts.
    """

    task: str = ""
    plan_kind: str = ""
    licence: str = ""
    language: str = ""
    tag: str = ""
    provider: str = ""
    largest: int | None = None
    token_rate: int | None = None


def live() -> QuerySet[Listing]:
    """What everyone sees, with owner and current version loaded and the card left behind."""
    return (
        Listing.objects.filter(
            published_at__isnull=False, withdrawn_at=None, taken_down_at=None, organisation__suspended_at=None
        )
        .select_related("organisation", "current_version")
        .defer("card", "card_html", *(f"current_version__{name}" for name in _HEAVY))
    )


def search(text: str = "", filters: Filters | None = None, sort: Sort = "relevance") -> QuerySet[Listing]:
    """Live listings that hold every word of `text`, the last of which may still be being typed.

    `owner/slug` finds by name. Without words, relevance means newest.
    """
    found = _filtered(live(), filters or Filters())
    if "/" in text:
        owner, _, slug = text.strip().partition("/")
        found = found.filter(organisation__slug=owner, slug__startswith=slug)
    elif words := _words(text):
        if sort == "relevance":
            return _ranked(found, words)
        found = found.filter(SearchVectorExact(_WHOLE, _query(words, typing=True)))
    return _sorted(found, sort)


def order_of(text: str, sort: Sort) -> Order | None:
    """The keys by which `search` sorts; None where it is by rank."""
    return None if sort == "relevance" and _words(text) else _ORDERS[sort]


def _words(text: str) -> list[str]:
    if "/" in text:
        return []
    return [word[:MAX_WORD_LENGTH] for word in re.findall(r"\w+", text.lower())[:MAX_WORDS]]


def _query(words: list[str], *, typing: bool) -> SearchQuery:
    """Every word as it stands, or every one's stem. `typing` takes the last for the beginning of one: its index is read
    for every word that begins so, which takes ten times as long where there are many.
    """
    last = ":*" if typing else ""
    terms = " & ".join(f"'{word}'" for word in words) + last
    return SearchQuery(terms, config="simple", search_type="raw") | SearchQuery(
        " ".join(words), config="english"
    )


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
    if filters.token_rate:
        listings = listings.filter(figures__token_rate__lte=filters.token_rate)
    if filters.token_rate == 0:
        listings = listings.filter(figures__monthly_fee=0, figures__unit_price=0)
    if filters.plan_kind:
        plans = Plan.objects.filter(listing=OuterRef("pk"), kind=filters.plan_kind, archived_at=None)
        listings = listings.filter(Exists(plans))
    return listings


def _sorted(listings: QuerySet[Listing], sort: Sort) -> QuerySet[Listing]:
    if sort in ("smallest", "price", "popular", "throughput", "latency"):
        # A join that may not miss, so that the order can come from the figures' index.
        listings = listings.filter(figures__isnull=False).select_related("figures")
    return listings.order_by(*_by(_ORDERS[sort]))


def _by(order: Order) -> list[OrderBy]:
    return [key.ordering for key in order]


def _ranked(listings: QuerySet[Listing], words: list[str]) -> QuerySet[Listing]:
    """The matches, best first. Ranking reads every one of them, which nobody waits for where words are common; and it
    reads their headlines alone, so that what only a card mentions comes last.
    """
    query = _query(words, typing=False)
    matches = _matching(listings, query)
    if len(matches) < MOST_RANKED:
        query = _query(words, typing=True)
        matches |= _matching(listings, query)
    if len(matches) >= MOST_RANKED:
        matches |= _headed(query)
    # As one text: a thousand parameters, or elements of one, take longer than the query. Joins would be made for all
    # before the sort.
    among = RawSQL("SELECT unnest(%s::uuid[])", ["{" + ",".join(pk.hex for pk in matches) + "}"])
    versions = Prefetch("current_version", Version.objects.defer(*_HEAVY))
    alone = listings.select_related(None).prefetch_related("organisation", versions)
    return alone.filter(pk__in=among).order_by(SearchRank(_HEADLINE, query).desc(), *_by(_NEWEST))


def _matching(listings: QuerySet[Listing], query: SearchQuery) -> set[UUID]:
    """Prominent listings that it heads; where they are too few to be ranked, also prominent ones that hold it anywhere;
    and where those are too few, which is when the last part is read, any.
    """
    ids = listings.order_by().values_list("pk", flat=True)
    headed = ids.filter(SearchVectorExact(_HEADLINE, query), prominent=True)[:MOST_RANKED]
    matches = set(headed)
    if len(matches) < MOST_RANKED:
        found = ids.filter(SearchVectorExact(_WHOLE, query))
        matches.update(
            found.filter(prominent=True).union(found.filter(prominent=False), all=True)[:MOST_RANKED]
        )
    return matches


def _headed(query: SearchQuery) -> set[UUID]:
    """Those of the newest and of the most called that are headed by what is sought."""
    newest = live().order_by(*_by(_NEWEST)).values("pk")[:MOST_RANKED]
    called = (
        live().filter(figures__isnull=False).order_by(*_by(_ORDERS["popular"])).values("pk")[:MOST_RANKED]
    )
    found = [
        Listing.objects.filter(SearchVectorExact(_HEADLINE, query), pk__in=some) for some in (newest, called)
    ]
    return set(found[0].values_list("pk", flat=True).union(found[1].values_list("pk", flat=True)))


def find(owner: str, slug: str, *, viewer: UUID | None = None) -> Listing:
    """The listing that the organisation `viewer` (None: anyone) may see. Raises `NotFound`, and `ListingTakenDown` to
    others than its provider.

    Drafts are their owner's alone; a withdrawn listing is also its subscribers' to see. What the operator has
    stopped is everybody's, to read why.
    """
    listing = (
        Listing.objects.select_related("organisation", "current_version")
        .filter(organisation__slug=owner, slug=slug)
        .first()
    )
    if listing is None or not (listing.is_public or _is_party(listing, viewer)):
        raise NotFound(what="listing")
    if listing.taken_down_at is not None and listing.organisation_id != viewer:
        entitlement.refuse_closed(listing)
    return listing


def _is_party(listing: Listing, viewer: UUID | None) -> bool:
    if viewer is None:
        return False
    if listing.organisation_id == viewer:
        return True
    return listing.published_at is not None and listing.subscriptions.filter(organisation_id=viewer).exists()


def owned(organisation: Organisation) -> QuerySet[Listing]:
    """All listings of an organisation, drafts and withdrawn ones included, in the order `OWN`: newest first."""
    mine = Listing.objects.filter(organisation=organisation)
    return mine.select_related("organisation", "current_version").order_by(*_by(OWN))
