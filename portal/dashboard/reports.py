"""Usage and earnings as charts and tables over a range of time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.http import QueryDict
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import earnings, usage
from billing.usage import Point, Totals
from portal.accounts.models import Organisation
from portal.kit import clock
from portal.kit.charts import Chart, Series

By = Literal["model", "key"]
# More lines than this no one tells apart.
MOST_LINES = 4


@dataclass(frozen=True, slots=True)
class Range:
    """A span of time up to now, in whole steps."""

    key: str
    label: str | Promise
    step: Literal["hour", "day"]
    count: int

    @property
    def steps(self) -> list[datetime]:
        """Where each step begins, oldest first; the last one is still running."""
        now = clock.now().replace(minute=0, second=0, microsecond=0)
        size = timedelta(hours=1) if self.step == "hour" else timedelta(days=1)
        newest = now if self.step == "hour" else now.replace(hour=0)
        return [newest - size * back for back in range(self.count - 1, -1, -1)]


RANGES = (
    Range("day", gettext_lazy("24 hours"), "hour", 24),
    Range("week", gettext_lazy("7 days"), "hour", 168),
    Range("month", gettext_lazy("30 days"), "day", 30),
    Range("quarter", gettext_lazy("90 days"), "day", 90),
)


def chosen_range(asked: QueryDict, *, default: str = "day") -> Range:
    """The range that the query string names."""
    found = {each.key: each for each in RANGES}
    return found.get(asked.get("range", default)) or found[default]


def usage_charts(organisation: Organisation, span: Range, *, by: By) -> list[Chart]:
    """Requests, tokens and spend per step, a line for each of the busiest groups."""
    points = usage.series(organisation, span.steps[0], _end(), by=by, step=span.step)
    currency = points[0].totals.charge.currency if points else ""
    return [
        _chart("requests", _("Requests"), "", points, span, lambda totals: totals.requests),
        _chart("tokens", _("Tokens"), "", points, span, lambda totals: totals.tokens),
        _chart(
            "spend", _("Spend on usage"), currency, points, span, lambda totals: float(totals.charge.major())
        ),
    ]


def usage_groups(organisation: Organisation, span: Range, *, by: By) -> list[Point]:
    """Totals of each group over the whole range, the dearest first."""
    points = usage.series(organisation, span.steps[0], _end(), by=by, step=None)
    return sorted(points, key=lambda point: (-point.totals.charge.amount, -point.totals.requests))


def usage_totals(organisation: Organisation, span: Range) -> Totals:
    return usage.totals(organisation, span.steps[0], _end())


def earnings_charts(provider: Organisation, span: Range) -> list[Chart]:
    """What was earned, and for how many calls."""
    points = {
        point.at: point.earned for point in earnings.series(provider, span.steps[0], _end(), step=span.step)
    }
    currency = next((earned.net.currency for earned in points.values()), "")
    net = [float(points[at].net.major()) if at in points else 0 for at in span.steps]
    calls = [points[at].requests if at in points else 0 for at in span.steps]
    x = span.steps if points else []
    return [
        Chart(
            "earned", _("Earned after commission"), x, [Series(_("earned"), net)], unit=currency, kind="bar"
        ),
        Chart("calls", _("Paid and free calls"), x, [Series(_("calls"), calls)], kind="bar"),
    ]


def earnings_summary(provider: Organisation, span: Range) -> earnings.Summary:
    return earnings.summary(provider, span.steps[0], _end())


def _end() -> datetime:
    return clock.now() + timedelta(hours=1)


def _chart(
    name: str, title: str, unit: str, points: Sequence[Point], span: Range, measure: Callable[[Totals], float]
) -> Chart:
    series = _lines(points, span.steps, measure)
    return Chart(
        name,
        title,
        span.steps if series else [],
        series,
        unit=unit,
        kind="bar" if len(series) < 2 else "line",
    )


def _lines(
    points: Sequence[Point], steps: Sequence[datetime], measure: Callable[[Totals], float]
) -> list[Series]:
    weights: dict[str, float] = {}
    for point in points:
        weights[point.group] = weights.get(point.group, 0) + measure(point.totals)
    busiest = sorted(weights, key=lambda group: (-weights[group], group))
    # By name, so that a group has the same colour in every chart.
    kept = sorted(busiest if len(busiest) <= MOST_LINES else busiest[: MOST_LINES - 1])
    lines = [
        Series(group, _values([p for p in points if p.group == group], steps, measure)) for group in kept
    ]
    if rest := set(busiest) - set(kept):
        lines.append(Series(_("others"), _values([p for p in points if p.group in rest], steps, measure)))
    return lines


def _values(
    points: Iterable[Point], steps: Sequence[datetime], measure: Callable[[Totals], float]
) -> list[float]:
    sums: dict[datetime, float] = dict.fromkeys(steps, 0)
    for point in points:
        if point.at in sums:
            sums[point.at] += measure(point.totals)
    return list(sums.values())
