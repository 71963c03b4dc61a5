"""What every page draws: icons, money, numbers, times, charts and table cells."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache, lru_cache
from typing import Any

from django import template
from django.core.serializers.json import DjangoJSONEncoder
from django.http import QueryDict
from django.template.context import RequestContext
from django.templatetags.static import static
from django.utils.formats import localize
from django.utils.html import conditional_escape, escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince, timeuntil
from django.utils.translation import gettext as _

from portal.kit import clock, figures
from portal.kit.charts import Chart
from portal.kit.money import Money
from portal.kit.tables import Arranged, Choice, Column

register = template.Library()
register.filter("compact", figures.compact)
register.filter("size", figures.size_text)
register.filter("duration", figures.duration_text)
register.filter("percent", figures.percent_text)


@register.simple_tag
def icon(name: str, label: str = "") -> SafeString:
    """An icon of the sprite: decoration unless it has a label."""
    if label:
        place = f"{_sprite()}#{name}"
        return format_html(
            '<svg class="icon" role="img" aria-label="{}"><use href="{}"/></svg>', label, place
        )
    return _decoration(name)


@cache
def _decoration(name: str) -> SafeString:
    # A page has a hundred of them.
    place = f"{_sprite()}#{name}"
    return format_html('<svg class="icon" aria-hidden="true" focusable="false"><use href="{}"/></svg>', place)


@cache
def _sprite() -> str:
    return static("dist/icons.svg")


@register.simple_tag
def copy_button(text: str = "", *, source: str = "", label: str = "") -> SafeString:
    """A button that copies the text, or that of the element which the selector `source` finds."""
    name, value = ("data-copy-from", source) if source else ("data-copy", text)
    return format_html(
        '<button type="button" class="copy needs-js" {}="{}" data-done="{}" aria-label="{}">'
        '<span class="icon-copy">{}</span><span class="icon-done">{}</span>'
        '<span class="visually-hidden" role="status"></span></button>',
        name, value, _("Copied"), label or _("Copy"), icon("copy"), icon("check"),
    )  # fmt: skip


def _short_id(text: str) -> SafeString:
    return format_html(
        '<span class="copyable"><code title="{}">…{}</code>{}</span>', text, text[-8:], copy_button(text)
    )


@register.simple_tag
def money(amount: int | Money, currency: str = "USD") -> SafeString:
    """Micro-minor units as `$1.20 USD`, the exact amount on hover."""
    value = amount if isinstance(amount, Money) else Money(amount, currency)
    text = figures.money_text(value)
    return format_html(
        '<data class="money nowrap" value="{}" title="{}">{}<span class="currency">{}</span></data>',
        value.amount, str(value), text, value.currency,
    )  # fmt: skip


@register.filter
def thousands(value: int | None) -> str:
    """`1,234,567`."""
    return "–" if value is None else f"{value:,}"


@register.simple_tag
def when(moment: datetime | None, style: str = "short") -> SafeString:
    """A time that the browser puts into the reader's zone. Styles: short, exact, date, ago; and day, a whole one of
    UTC, which is the same day everywhere.
    """
    if moment is None:
        return mark_safe('<span class="faint">–</span>')
    return _time(moment, style) if style == "ago" else _known_time(moment, style)


def _time(moment: datetime, style: str) -> SafeString:
    moment = moment.astimezone(UTC)
    if style == "day":
        return _whole_day(moment)
    utc = f"{moment:%Y-%m-%d %H:%M:%S} UTC"
    text = ago(moment) if style == "ago" else f"{moment:%Y-%m-%d}" if style == "date" else utc
    return format_html(
        '<time datetime="{}" title="{}" data-as="{}" class="nowrap">{}</time>',
        moment.isoformat(), utc, style, text,
    )  # fmt: skip


def _whole_day(moment: datetime) -> SafeString:
    day = f"{moment:%Y-%m-%d}"
    return format_html(
        '<time datetime="{}" title="{} UTC" data-as="day" class="nowrap">{}</time>', day, day, day
    )


# The charts of a page share their steps of time.
_known_time = lru_cache(maxsize=1_000)(_time)


def ago(moment: datetime) -> str:
    """`3 minutes ago` or `in 3 minutes`."""
    if moment > clock.now():
        return _("in %(span)s") % {"span": timeuntil(moment, depth=1)}
    return _("%(span)s ago") % {"span": timesince(moment, depth=1)}


@register.simple_tag(takes_context=True)
def table_rows(context: RequestContext, table: Arranged) -> SafeString:
    """The rows of a page's table. It has hundreds of cells, each of which a template's loop takes longer to come to
    than to draw.
    """
    columns = [(column, _opening(column)) for column in table.columns]
    rows = (
        "".join(f"{start}{conditional_escape(cell(context, column, row))}</td>" for column, start in columns)
        for row in table.page
    )
    return mark_safe("\n".join(f"<tr>{row}</tr>" for row in rows))  # noqa: S308 (cells are escaped)


def _opening(column: Column) -> SafeString:
    """Of a cell. Where rows are stacked, on a telephone, each cell says itself what it is."""
    kind = _NUMBER if column.is_numeric else ""
    label = format_html(' data-label="{}"', column.label) if column.label else _ACTIONS
    return format_html("<td{}{}>", kind, label)


_NUMBER, _ACTIONS = mark_safe(' class="number"'), mark_safe(' data-actions=""')


@register.simple_tag(takes_context=True)
def cell(context: RequestContext, column: Column, row: Any) -> SafeString:
    """One table cell's content, by what the column draws it with or its kind."""
    if column.draw:
        return column.draw(row)
    value = column.value(row)
    if column.template:
        # As `include` does it: a context of its own for every cell took longer than the cell.
        assert context.template  # bound while it renders
        drawn = context.template.engine.get_template(column.template)
        with context.push(row=row, value=value):
            return drawn.render(context)
    if value is None or value == "":
        return mark_safe('<span class="faint">–</span>')
    return _draw(column, value)


def _draw(column: Column, value: Any) -> SafeString:
    match column.kind:
        case "time":
            return when(value)
        case "money":
            return money(value)
        case "number":
            return format_html("{}", thousands(value))
        case "size":
            return format_html("{}", figures.size_text(value))
        case "duration":
            return format_html("{}", figures.duration_text(value))
        case "id":
            return _short_id(value)
        case "code":
            return format_html("<code>{}</code>", value)
        case "state":
            return status(str(value))
        case _:
            return format_html("{}", value)


_TONES = {
    "good": ("live", "published", "ready", "active", "succeeded", "loaded"),
    "accent": ("checking", "loading"),
    "warn": ("degraded", "cancelled", "reversed", "expired", "dormant"),
    "bad": ("refused", "failed", "down", "withdrawn", "taken_down", "suspended", "deactivated"),
}
_HOLLOW = frozenset({"cold", "draft", "ended", "revoked"})


@register.simple_tag
def status(name: str, label: str = "", meaning: str = "") -> SafeString:
    """A state as a badge with a dot; the word carries the meaning, the colour only helps. `meaning`, on hover,
    says what the word claims.
    """
    tone = next((tone for tone, names in _TONES.items() if name in names), "")
    classes = f"badge badge-dot badge-{tone}" if tone else "badge badge-dot"
    if name in _HOLLOW:
        classes += " badge-hollow"
    text = label or _(name.replace("_", " ").capitalize())
    title = format_html(' title="{}"', meaning) if meaning else ""
    return format_html('<span class="{}"{}>{}</span>', classes, title, text)


@register.simple_tag(takes_context=True)
def here(context: RequestContext, url: str, *, exact: bool = False) -> bool:
    """Whether the page shown is at the address, or below it."""
    request = context.get("request")
    if request is None:
        return False
    return bool(request.path == url if exact else request.path.startswith(url))


@register.simple_tag
def options(table: Arranged, choice: Choice) -> SafeString:
    """The options of a choice, of which there may be a hundred, with the one that the query string asks for marked."""
    asked = table.chosen.get(choice.name)
    return format_html_join(
        "\n", '<option value="{}"{}>{}</option>',
        ((key, _SELECTED if key == asked else "", label) for key, label in choice.options),
    )  # fmt: skip


_SELECTED = mark_safe(" selected")


@register.simple_tag
def chart_rows(chart: Chart) -> SafeString:
    """The body of a chart's table. It may have a thousand cells, which take a template five times as long."""
    style = "day" if chart.days else "short"
    rows = (
        f"<tr><td>{when(x, style) if isinstance(x, datetime) else escape(localize(x))}</td>{_cells(values)}</tr>"
        for x, values in chart.rows
    )
    return mark_safe("\n".join(rows))  # noqa: S308 (times and what is escaped)


def _cells(values: Iterable[float | int | None]) -> str:
    # Numbers need no escaping, which would take most of the time.
    cells = (("", "–") if value is None else (value, figure(value)) for value in values)
    return "".join(f'<td class="number" data-value="{value}">{text}</td>' for value, text in cells)


def figure(value: float | int) -> str:
    """A chart's number: whole ones grouped, others to four significant digits."""
    if isinstance(value, int) or float(value).is_integer():
        return thousands(int(value))
    return f"{value:.4g}"


@register.filter
def unlocalized(value: object) -> str:
    """As a program reads it."""
    return str(value)


@register.filter
def as_json(value: object) -> str:
    """For a data attribute; the template escapes it."""
    return json.dumps(value, cls=DjangoJSONEncoder)


@register.simple_tag
def plain_money(amount: int, currency: str) -> str:
    """For an input field: `25.00`."""
    return f"{Money(amount, currency).major():f}"


@register.simple_tag(takes_context=True)
def query(context: RequestContext, **changes: str) -> str:
    """This page's query string with some keys changed."""
    request = context.get("request")
    kept = request.GET.copy() if request else QueryDict(mutable=True)
    for name, value in changes.items():
        kept[name] = value
    return f"?{kept.urlencode()}"
