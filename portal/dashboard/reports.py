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
Measure = Callable[[Totals], float]
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
    Range("week", gettext_lazy("7 days"), "day", 7),
    Range("month", gettext_lazy("30 days"), "day", 30),
    Range("quarter", gettext_lazy("90 days"), "day", 90),
)


def chosen_range(asked: QueryDict, *, default: str = "day") -> Range:
    """The range that the query string names."""
    found = {each.key: each for each in RANGES}
    return found.get(asked.get("range", default)) or found[default]


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A range of time in sums: of each group, the dearest first, of all, and per step."""

    groups: list[Point]
    totals: Totals
    charts: list[Chart]


def usage_report(organisation: Organisation, span: Range, *, by: By) -> UsageReport:
    """Reads the sums twice: once for the groups, and once for the few of them that the charts show."""
    groups = usage.series(organisation, span.steps[0], _end(), by=by, step=None)
    groups.sort(key=lambda point: (-point.totals.charge.amount, -point.totals.requests))
    totals = usage.total(groups)
    return UsageReport(groups, totals, _usage_charts(organisation, span, groups, by=by))


def _usage_charts(organisation: Organisation, span: Range, groups: Sequence[Point], *, by: By) -> list[Chart]:
    """Requests, tokens and spend per step, a line for each of the busiest groups."""
    currency = groups[0].totals.charge.currency if groups else ""
    measures: list[tuple[str, str, str, Measure]] = [
        ("requests", _("Requests"), "", lambda totals: totals.requests),
        ("tokens", _("Tokens"), "", lambda totals: totals.tokens),
        ("spend", _("Spend on usage"), currency, lambda totals: float(totals.charge.major())),
    ]
    kept = [_busiest(groups, measure) for *_, measure in measures]
    wanted = [group for group in groups if any(group.group in names for names in kept)]
    points = (
        usage.lines(
            organisation, span.steps[0], _end(), by=by, step=span.step, groups=wanted, currency=currency
        )
        if groups
        else []
    )
    return [
        _chart(name, title, unit, _lines(points, span.steps, measure, names=names), span)
        for (name, title, unit, measure), names in zip(measures, kept, strict=True)
    ]


def earnings_charts(summary: earnings.Summary, span: Range) -> list[Chart]:
    """What was earned, and for how many calls."""
    points = {point.at: point.earned for point in summary.steps}
    currency = next((earned.net.currency for earned in points.values()), "")
    net = [float(points[at].net.major()) if at in points else 0 for at in span.steps]
    calls = [points[at].requests if at in points else 0 for at in span.steps]
    x = span.steps if points else []
    return [
        Chart(
            "earned",
            _("Earned after commission"),
            x,
            [Series(_("earned"), net)],
            unit=currency,
            kind="bar",
            days=span.step == "day",
        ),
        Chart(
            "calls",
            _("Paid and free calls"),
            x,
            [Series(_("calls"), calls)],
            kind="bar",
            days=span.step == "day",
        ),
    ]


def earnings_summary(provider: Organisation, span: Range) -> earnings.Summary:
    return earnings.summary(provider, span.steps[0], _end(), step=span.step)


def _end() -> datetime:
    return clock.now() + timedelta(hours=1)


def _chart(name: str, title: str, unit: str, series: list[Series], span: Range) -> Chart:
    return Chart(
        name,
        title,
        span.steps if series else [],
        series,
        unit=unit,
        kind="bar" if len(series) < 2 else "line",
        days=span.step == "day",
    )


def _busiest(groups: Iterable[Point], measure: Measure) -> list[str]:
    """Names in their order, so that a group has the same colour in every chart."""
    weights: dict[str, float] = {}
    for each in groups:
        weights[each.group] = weights.get(each.group, 0) + measure(each.totals)
    busiest = sorted(weights, key=lambda group: (-weights[group], group))
    return sorted(busiest if len(busiest) <= MOST_LINES else busiest[: MOST_LINES - 1])


def _lines(
    points: Sequence[Point], steps: Sequence[datetime], measure: Measure, *, names: Sequence[str]
) -> list[Series]:
    lines = [Series(name, _values([p for p in points if p.group == name], steps, measure)) for name in names]
    if rest := [point for point in points if point.group not in names]:
        lines.append(Series(_("others"), _values(rest, steps, measure)))
    return lines


def _values(points: Iterable[Point], steps: Sequence[datetime], measure: Measure) -> list[float]:
    sums: dict[datetime, float] = dict.fromkeys(steps, 0)
    for point in points:
        if point.at in sums:
            sums[point.at] += measure(point.totals)
    return list(sums.values())
