"""Which sums answer a question about a span of time: those of days where they can, else those of hours.

A quarter of a busy organisation has a hundred thousand hours of keys and models, and a twenty-fourth of that in days.
"""

from datetime import datetime
from typing import Any, Literal, NamedTuple

from django.db.models import QuerySet

from billing.models import DailyUsage, EarnedDay, UsageRollup
from portal.kit import clock

Step = Literal["hour", "day", "month"]
Days = type[DailyUsage] | type[EarnedDay]


class Rows(NamedTuple):
    """Sums, and the name of their column of time."""

    found: QuerySet[Any]
    column: Literal["hour", "day"]


def rows(
    start: datetime, end: datetime, *, step: Step | None = None, days: Days = DailyUsage, **whose: object
) -> Rows:
    """The sums of `whose` usage in the hours from `start` to before `end`, in steps no finer than `step`: those of
    `days` where they answer it.
    """
    first = start.replace(minute=0, second=0, microsecond=0)
    if step != "hour" and first.hour == 0 and _is_whole(end):
        return Rows(days.objects.filter(**whose, day__gte=first, day__lt=end), "day")
    return Rows(UsageRollup.objects.filter(**whose, hour__gte=first, hour__lt=end), "hour")


def _is_whole(end: datetime) -> bool:
    """Whether no usage of the last day lies behind the end."""
    return end > clock.now() or end == end.replace(hour=0, minute=0, second=0, microsecond=0)
