"""Prices of plans as buyers compare them: per million tokens, per thousand images."""

from typing import Protocol

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from marketplace.models import Meter
from portal.kit import figures
from portal.kit.money import Money

register = template.Library()

# How many units one quoted price is for, and how that quantity reads.
QUOTED_PER = {
    Meter.REQUESTS: (1_000, gettext_lazy("1K requests")),
    Meter.INPUT_TOKENS: (1_000_000, gettext_lazy("1M input tokens")),
    Meter.OUTPUT_TOKENS: (1_000_000, gettext_lazy("1M output tokens")),
    Meter.CACHED_TOKENS: (1_000_000, gettext_lazy("1M cached tokens")),
    Meter.IMAGES: (1_000, gettext_lazy("1K images")),
    Meter.COMPUTE_MS: (1_000, gettext_lazy("second of compute")),
}
METER_NAMES = {
    Meter.REQUESTS: gettext_lazy("requests"),
    Meter.INPUT_TOKENS: gettext_lazy("input tokens"),
    Meter.OUTPUT_TOKENS: gettext_lazy("output tokens"),
    Meter.CACHED_TOKENS: gettext_lazy("cached tokens"),
    Meter.IMAGES: gettext_lazy("images"),
    Meter.COMPUTE_MS: gettext_lazy("milliseconds of compute"),
}


@register.filter
def meter_name(meter: str) -> str:
    """`input tokens`."""
    return str(METER_NAMES[Meter(meter)])


class Priced(Protocol):
    """What a plan asks of a meter: micro-minor units for so many, None where no more is sold."""

    @property
    def meter(self) -> str: ...
    @property
    def amount(self) -> int | None: ...
    @property
    def per(self) -> int: ...


@register.simple_tag
def unit_price(component: Priced, currency: str) -> SafeString:
    """`$0.15 / 1M input tokens`; the exact price on hover."""
    if component.amount is None:
        return format_html("{}", _("not sold beyond"))
    quantity, words = QUOTED_PER[Meter(component.meter)]
    if not component.amount:
        return format_html("{} {}", _("free"), meter_name(component.meter))
    quoted = Money(component.amount * quantity // component.per, currency)
    return format_html(
        '<span class="nowrap" title="{} / {} {}">{} <span class="unit">/ {}</span></span>',
        str(Money(component.amount, currency)), component.per, component.meter, figures.money_text(quoted), words,
    )  # fmt: skip


class Line(Protocol):
    """An invoice's line: a meter with its price, or the monthly fee."""

    meter: str
    unit_price: Money | None
    per: int


@register.simple_tag
def line_price(line: Line) -> SafeString:
    """The unit price of an invoice's line, quoted like a plan's."""
    if line.meter == "credit":
        return SafeString("")
    if line.unit_price is None:
        return format_html("{}", _("stops when used up"))
    if line.meter not in Meter.values:
        return format_html("{}", figures.money_text(line.unit_price))
    quantity, words = QUOTED_PER[Meter(line.meter)]
    quoted = Money(line.unit_price.amount * quantity // line.per, line.unit_price.currency)
    return format_html('{} <span class="unit">/ {}</span>', figures.money_text(quoted), words)
