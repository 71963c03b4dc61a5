"""A catalogue card's two lines of facts. A page has two dozen cards with a dozen facts each, which the template
language takes longer to write than the database to find.
"""

from collections.abc import Iterable

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from marketplace.models import Figures, Listing, Task
from marketplace.templatetags.prices import unit_price
from portal.dashboard.shelf import Item
from portal.kit import figures
from portal.kit.templatetags.kit import icon, thousands

register = template.Library()

_MOST_PRICES = 2


@register.simple_tag
def card_facts(item: Item) -> SafeString:
    """What the listing is: task, where it runs, size, context, licence."""
    return _line(_facts(item.listing))


@register.simple_tag
def card_figures(item: Item) -> SafeString:
    """What it costs and how it does: prices, calls, speed, time to the first token, the kinds of plans."""
    return _line(
        [*_prices(item), *(_measures(item.figures, item.listing) if item.figures else ()), *_kinds(item)]
    )


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


def _facts(listing: Listing) -> Iterable[SafeString]:
    version = listing.current_version
    yield _fact(_task_icon(listing.task), _(listing.get_task_display()))
    if version and version.is_remote:
        yield _fact(icon("plug"), _("remote"), title=_("The provider's own server runs it."))
    if version and version.parameter_count:
        title = f"{thousands(version.parameter_count)} {_('parameters')}"
        yield _fact(icon("box"), figures.compact(version.parameter_count), title=title)
    if version and version.context_length:
        yield _fact(icon("ruler"), thousands(version.context_length), title=_("Context in tokens"))
    if listing.licence:
        yield _fact(icon("scale"), listing.licence)


def _prices(item: Item) -> Iterable[SafeString]:
    if item.cheapest is None:
        return
    for component in item.components[:_MOST_PRICES]:
        price = unit_price(component, item.cheapest.currency)
        yield format_html('<span class="listing-price">{}</span>', price)


def _measures(known: Figures, listing: Listing) -> Iterable[SafeString]:
    if known.calls:
        yield _fact(
            icon("activity"), figures.compact(known.calls), title=_("Calls answered in the last 30 days")
        )
    if known.speed:
        title = _("Output tokens a second: median of its newest calls of the last 7 days")
        yield _fact(icon("gauge"), _("%(n)s tokens/s") % {"n": figures.compact(known.speed)}, title=title)
    if known.ttft_ms is not None:
        title = _("Time to the answer: median of its newest calls of the last 7 days")
        if listing.task == Task.TEXT_GENERATION:
            title = _("Time to first token: median of its newest calls of the last 7 days")
        yield _fact(icon("timer"), figures.duration_text(known.ttft_ms), title=title)


def _kinds(item: Item) -> Iterable[SafeString]:
    if "free" in item.kinds:
        yield format_html('<span class="badge badge-good">{}</span>', _("free plan"))
    elif "mixed" in item.kinds:
        yield format_html('<span class="badge">{}</span>', _("use included"))
