"""Dropping what an operator keeps no longer: the usage events of old days. Sums, rated lines and the ledger stay."""

import logging
from datetime import date, timedelta

from django.conf import settings
from django.db import OperationalError, connection, transaction

from billing.models import EventRetention
from portal.kit import clock

log = logging.getLogger(__name__)

# A day's table is detached under a lock that every reader and the meter meet; better a day later than a queue.
LOCK_SECONDS = 3


def kept_from() -> date | None:
    """The first day whose events are all there; None where nothing was ever dropped."""
    return EventRetention.objects.values_list("kept_from", flat=True).first()


def drop_expired() -> list[date]:
    """Drop the days that USAGE_EVENT_DAYS no longer keeps, oldest first; answers which were dropped."""
    if not settings.USAGE_EVENT_DAYS:
        return []
    first = clock.now().date() - timedelta(days=settings.USAGE_EVENT_DAYS)
    dropped = []
    for day in _days_before(first):
        try:
            _drop(day)
        except OperationalError as error:
            log.warning("the usage events of %s are dropped at the next try: %s", day, error)
            break
        dropped.append(day)
    return dropped


def _days_before(first: date) -> list[date]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT to_date(right(part.relname, 8), 'YYYYMMDD') AS day
            FROM pg_inherits JOIN pg_class part ON part.oid = inhrelid
            WHERE inhparent = 'usage_event'::regclass AND to_date(right(part.relname, 8), 'YYYYMMDD') < %s
            ORDER BY day""",
            [first],
        )
        return [day for (day,) in cursor.fetchall()]


def _drop(day: date) -> None:
    name = connection.ops.quote_name(f"usage_event_{day:%Y%m%d}")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
        # A call that began on this day may have ended, and been summed up, on the next: that one is not whole either.
        EventRetention.objects.update_or_create(pk=1, defaults={"kept_from": day + timedelta(days=2)})
        cursor.execute(f"ALTER TABLE usage_event DETACH PARTITION {name}")
        cursor.execute(f"DROP TABLE {name}")
    log.info("dropped the usage events of %s", day)
