"""Which sums answer a question about a span of time: those of whole days where they can, those of hours at its edges.

A quarter of a busy organisation has a hundred thousand hours of keys and models, and a twenty-fourth of that in days.

Spans are half-open, and their bounds whole hours: a bound within an hour stands for that hour's end, whether a span
begins or ends there. So spans that adjoin add up, in zones of half hours too, and what answers says which bounds it used.
"""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple

from django.db.models import DateTimeField, F, QuerySet
from django.db.models.functions import Trunc

from billing.models import DailyUsage, EarnedDay, UsageRollup
from portal.kit import clock

Step = Literal["hour", "day", "month"]
Days = type[DailyUsage] | type[EarnedDay]
_LAST_HOUR = datetime.max.replace(minute=0, second=0, microsecond=0, tzinfo=UTC)


class Rows(NamedTuple):
    """Sums, and the name of their column of time."""

    found: QuerySet[Any]
    column: Literal["hour", "day"]

    def at(self, step: Step) -> F | Trunc:
        """When the step of a row began. The column itself where it says so: Django converts what Postgres truncates,
        row by row.
        """
        return (
            F(self.column) if self.column == step else Trunc(self.column, step, output_field=DateTimeField())
        )


def bound(moment: datetime) -> datetime:
    """The whole hour in UTC, at or after the moment, that stands for it. Sums of hours have no finer bounds."""
    moment = moment.astimezone(UTC)
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if hour == moment or hour >= _LAST_HOUR:
        return hour
    return hour + timedelta(hours=1)


def rows(
    start: datetime, end: datetime, *, step: Step | None = None, days: Days = DailyUsage, **whose: object
) -> list[Rows]:
    """The sums of `whose` usage from the `bound` of `start` to before that of `end`, in steps no finer than `step`:
    those of `days` between the midnights within, and before and after them those of hours.
    """
    first, end = bound(start), bound(end)
    if step == "hour" or (first.hour and _midnight(first) == _midnight(end)):
        return [_hours(first, end, whose)]
    dawn = _midnight(first) + timedelta(days=1) if first.hour else first
    dusk = _last_midnight(end)
    if dawn >= dusk:
        return [_hours(first, end, whose)]
    found = [Rows(days.objects.filter(**whose, day__gte=dawn, day__lt=dusk), "day")]
    if first < dawn:
        found.insert(0, _hours(first, dawn, whose))
    if dusk < end:
        found.append(_hours(dusk, end, whose))
    return found


def _hours(start: datetime, end: datetime, whose: dict[str, object]) -> Rows:
    return Rows(UsageRollup.objects.filter(**whose, hour__gte=start, hour__lt=end), "hour")


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _last_midnight(end: datetime) -> datetime:
    """The last day's end, where no usage of it lies behind `end`; else its beginning."""
    return end if end > clock.now() else _midnight(end)
