"""The catalogue's cards. A page has two dozen with a dozen facts each, which the template language takes longer to
write than the database to find. What a card shows is gathered first, so that equal ones are drawn once.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django import template
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from marketplace.models import PlanVersion, Task
from marketplace.templatetags.prices import meter_name, unit_price
from portal.dashboard.serving import Standing
from portal.dashboard.shelf import Item
from portal.kit import figures
from portal.kit.money import Money
from portal.kit.templatetags.kit import icon, status, thousands

register = template.Library()

_MOST_PRICES = 2
# Of two kilobytes each, or up to eight where a summary has signs beyond ASCII.
_MOST_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Price:
    """A `marketplace.templatetags.prices.Priced`."""

    meter: str
    amount: int | None
    per: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """All that a card shows. Zero, "" and None are what it leaves out."""

    address: str
    owner: str
    slug: str
    text: str
    task: str
    task_name: str
    is_remote: bool
    parameters: int
    context_length: int
    licence: str
    standing: Standing | None
    monthly_fee: int
    prices: tuple[Price, ...]
    currency: str
    # Of a plan that is free: up to so many units, by meter, or without end.
    is_free: bool
    free_units: tuple[tuple[str, int], ...]
    has_free_plan: bool
    has_use_included: bool
    calls: int
    speed: float
    ttft_ms: int | None

    @classmethod
    def of(cls, item: Item) -> "Card":
        listing, version, known = item.listing, item.listing.current_version, item.figures
        owner = listing.organisation.slug
        return cls(
            address=reverse("listing", args=[owner, listing.slug]),
            owner=owner,
            slug=listing.slug,
            text=listing.summary or listing.name,
            task=listing.task,
            task_name=listing.get_task_display(),
            is_remote=bool(version and version.is_remote),
            parameters=(version and version.parameter_count) or 0,
            context_length=(version and version.context_length) or 0,
            licence=listing.licence,
            # Without its trouble, which changes by the minute and is not shown here.
            standing=item.standing and Standing(item.standing.state, is_remote=item.standing.is_remote),
            **_price_of(item.cheapest),
            has_free_plan="free" in item.kinds,
            has_use_included="mixed" in item.kinds,
            calls=known.calls if known else 0,
            speed=(known and known.speed) or 0,
            ttft_ms=known.ttft_ms if known else None,
        )


@register.simple_tag
def listing_card(item: Item) -> SafeString:
    """A listing in a list of them: its name, how it stands, what it is, what it costs and how it does."""
    return _draw(Card.of(item), get_language())


@lru_cache(maxsize=_MOST_KEPT)
def _draw(card: Card, _language: str | None) -> SafeString:
    standing = status(card.standing.state, meaning=card.standing.meaning) if card.standing else ""
    return format_html(
        '<li class="listing-card"><div class="listing-head">'
        '<h2><a href="{}"><span class="owner">{}/</span><wbr>{}</a></h2>\n{}</div>\n<p>{}</p>\n'
        '<div class="listing-meta">{}</div>\n<div class="listing-meta">{}</div></li>',
        card.address, card.owner, card.slug, standing, card.text, _line(_facts(card)),
        _line([*_prices(card), *_measures(card), *_kinds(card)]),
    )  # fmt: skip


def _line(parts: Iterable[SafeString]) -> SafeString:
    return format_html_join("\n", "{}", ((part,) for part in parts))


def _fact(drawing: SafeString, text: str, *, title: str = "") -> SafeString:
    if title:
        return format_html('<span title="{}">{}{}</span>', title, drawing, text)
    return format_html("<span>{}{}</span>", drawing, text)


def _task_icon(task: str) -> SafeString:
    match task:
        case Task.TEXT_GENERATION:
            return icon("message-square-text")
        case Task.FEATURE_EXTRACTION:
            return icon("waypoints")
        case Task.IMAGE_CLASSIFICATION:
            return icon("image")
        case _:
            return icon("tag")


def _facts(card: Card) -> Iterable[SafeString]:
    yield _fact(_task_icon(card.task), _(card.task_name))
    if card.is_remote:
        yield _fact(icon("plug"), _("remote"), title=_("The provider's own server runs it."))
    if card.parameters:
        title = f"{thousands(card.parameters)} {_('parameters')}"
        yield _fact(icon("box"), figures.compact(card.parameters), title=title)
    if card.context_length:
        yield _fact(icon("ruler"), thousands(card.context_length), title=_("Context in tokens"))
    if card.licence:
        yield _fact(icon("scale"), card.licence)


def _price_of(plan: PlanVersion | None) -> dict[str, Any]:
    """What the listing is sorted by, in the words of its plan."""
    components = list(plan.components.all()) if plan else []
    priced = [Price(each.meter, each.amount, each.per) for each in components if each.amount]
    dearest_first = sorted(priced, key=lambda price: -((price.amount or 0) * 10**9 // price.per))
    monthly_fee = plan.monthly_fee if plan else 0
    return {
        "monthly_fee": monthly_fee,
        # Of more than are shown, the dearest must be there: it is what the listing is sorted and filtered by.
        "prices": tuple(price for price in priced if price in dearest_first[:_MOST_PRICES]),
        "currency": plan.currency if plan else "",
        "is_free": bool(plan) and not monthly_fee and not priced,
        "free_units": tuple((each.meter, each.included) for each in components if each.amount is None),
    }


def _prices(card: Card) -> Iterable[SafeString]:
    if card.monthly_fee:
        fee = figures.money_text(Money(card.monthly_fee, card.currency))
        yield format_html(
            '<span class="listing-price nowrap">{} <span class="unit">{}</span></span>', fee, _("a month")
        )
    elif card.is_free:
        yield format_html('<span class="listing-price">{}</span>', _free(card))
    for price in card.prices:
        yield format_html('<span class="listing-price">{}</span>', unit_price(price, card.currency))


def _free(card: Card) -> str:
    if not card.free_units:
        return _("Free")
    units = ", ".join(f"{figures.compact(units)} {meter_name(meter)}" for meter, units in card.free_units)
    return _("Free up to %(units)s a month") % {"units": units}


def _measures(card: Card) -> Iterable[SafeString]:
    if card.calls:
        yield _fact(
            icon("activity"), figures.compact(card.calls), title=_("Calls answered in the last 30 days")
        )
    if card.speed:
        title = _("Output tokens a second: median of its newest calls of the last 7 days")
        yield _fact(icon("gauge"), _("%(n)s tokens/s") % {"n": figures.compact(card.speed)}, title=title)
    if card.ttft_ms is not None:
        title = _("Time to the answer: median of its newest calls of the last 7 days")
        if card.task == Task.TEXT_GENERATION:
            title = _("Time to first token: median of its newest calls of the last 7 days")
        yield _fact(icon("timer"), figures.duration_text(card.ttft_ms), title=title)


def _kinds(card: Card) -> Iterable[SafeString]:
    if card.has_free_plan and not card.is_free:
        yield format_html('<span class="badge badge-good">{}</span>', _("free plan"))
    elif card.has_use_included:
        yield format_html('<span class="badge">{}</span>', _("use included"))
