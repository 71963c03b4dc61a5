"""Day partitions of the usage events, made ahead of the calls that need them."""

from collections.abc import Iterable
from datetime import date, timedelta

from django.db import connection

from portal.kit import clock

_AHEAD = 7
# Days; less than any retention.
_RECENT = 30
_UNIX_EPOCH = date(1970, 1, 1).toordinal()
_DAY_MS = 86_400_000


class KnownDays:
    """Recent days whose partition this process has seen; those of old days may be dropped (`billing.retention`)."""

    def __init__(self) -> None:
        self.days: set[date] = set()


_known = KnownDays()


def ensure(days: Iterable[date]) -> None:
    """Make the missing partitions, each in a transaction of its own where none is open."""
    for day in sorted(set(days) - _known.days):
        with connection.cursor() as cursor:
            cursor.execute("SELECT usage_event_partition(%s)", [day])
        if not connection.in_atomic_block and day >= clock.now().date() - timedelta(days=_RECENT):
            _known.days.add(day)


def ensure_ahead() -> None:
    """Today's partition and those of the coming days."""
    today = clock.now().date()
    ensure(today + timedelta(days=ahead) for ahead in range(_AHEAD))


def day_of(event_id: str) -> date:
    """The day of a UUIDv7 in hex: where its one possible row lives."""
    return date.fromordinal(_UNIX_EPOCH + int(event_id[:12], 16) // _DAY_MS)
