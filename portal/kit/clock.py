"""Time: aware UTC instants and billing periods that keep their anchor day."""

import calendar
from datetime import UTC, datetime


def now() -> datetime:
    """The present instant, aware, in UTC."""
    return datetime.now(UTC)


def add_months(anchor: datetime, months: int) -> datetime:
    """The anchor moved by whole months; a day that a month lacks becomes that month's last."""
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + months, 12)
    day = min(anchor.day, calendar.monthrange(year, month + 1)[1])
    return anchor.replace(year=year, month=month + 1, day=day)


def period_around(anchor: datetime, moment: datetime) -> tuple[datetime, datetime]:
    """The half-open month [start, end) since `anchor` that holds `moment`. Both are derived from the
    anchor itself, so the 31st comes back after a February.
    """
    if moment < anchor:
        raise ValueError("the moment lies before the anchor")
    months = (moment.year - anchor.year) * 12 + moment.month - anchor.month
    if add_months(anchor, months) > moment:
        months -= 1
    return add_months(anchor, months), add_months(anchor, months + 1)
