"""What the calls of listings are like, for the catalogue to sort by: how many, how fast, how soon. Sample history, and
calls by the provider's own organisation, do not count.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from billing.models import DailyUsage, UsageRollup
from marketplace.models import Figures
from portal.kit import clock, ids

CALLS_DAYS = 30
DAYS = 7
# So many of a listing's newest calls are measured, and fewer than the least say nothing.
NEWEST_CALLS = 50
# Among so many of the newest: those of the demo world and of the provider's own people are nobody's measure.
LOOKED_AT = 500
FEWEST_CALLS = 5
# Usage comes late by minutes at most, and beat by less than an hour.
_RECENT = timedelta(hours=2)
_AT_ONCE = 500

# Tokens after the first, by the time after the first.
SPEED = "(output_tokens - 1) * 1000.0 / (latency_ms - ttft_ms)"
# An answer that came in one piece, as behind a full stream, shows no speed.
IS_TIMED = "outcome = 'succeeded' AND output_tokens > 1 AND latency_ms - ttft_ms >= 20"

# The newest calls are read from the end of the listing's own index: the same for one call or millions.
_MEASURE = f"""
    UPDATE marketplace_figures AS figures SET calls = seen.calls,
        tokens_per_1000_s = CASE WHEN seen.timed >= %(fewest)s THEN round(seen.speed * 1000)::bigint END,
        ttft_ms = CASE WHEN seen.answered >= %(fewest)s THEN round(seen.ttft_ms)::bigint END
    FROM (
        SELECT asked.id, newest.*, coalesce((
            SELECT sum(requests - sample) FROM billing_dailyusage
            WHERE listing_id = asked.id AND day >= %(since)s AND organisation_id <> listing.organisation_id
        ), 0) AS calls
        FROM unnest(%(listings)s) asked (id) JOIN marketplace_listing listing USING (id) CROSS JOIN LATERAL (
            SELECT count(*) FILTER (WHERE {IS_TIMED}) AS timed, count(*) FILTER (WHERE outcome = 'succeeded') AS answered,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY {SPEED}) FILTER (WHERE {IS_TIMED}) AS speed,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_ms) FILTER (WHERE outcome = 'succeeded') AS ttft_ms
            FROM (
                SELECT outcome, output_tokens, ttft_ms, latency_ms FROM (
                    SELECT id, outcome, output_tokens, ttft_ms, latency_ms, demo, organisation_id FROM usage_event
                    WHERE listing_id = asked.id AND id >= %(first)s ORDER BY id DESC LIMIT %(looked_at)s
                ) seen WHERE NOT demo AND organisation_id <> listing.organisation_id ORDER BY id DESC LIMIT %(newest)s
            ) call
        ) newest
    ) seen WHERE seen.id = figures.listing_id
"""  # noqa: S608 (constants of this module)


def measure_recent() -> None:
    """Those that were called in the last hours. Every minute."""
    recent = UsageRollup.objects.filter(hour__gte=clock.now() - _RECENT)
    measure(recent.order_by().values_list("listing_id", flat=True).distinct())


def measure_known() -> None:
    """Those that were called in the last month, and those whose figures must fade since. Every hour."""
    called = DailyUsage.objects.filter(day__gte=_since()).order_by().values_list("listing_id", flat=True)
    faded = Figures.objects.filter(
        Q(calls__gt=0) | Q(tokens_per_1000_s__isnull=False) | Q(ttft_ms__isnull=False)
    )
    measure({*called.distinct(), *faded.values_list("pk", flat=True)})


def measure(listing_ids: Collection[UUID]) -> None:
    """Calls of others in the last 30 days; medians of the newest of the last 7, null where too few were answered."""
    wanted = list(listing_ids)
    facts: dict[str, Any] = {
        "fewest": FEWEST_CALLS, "newest": NEWEST_CALLS, "looked_at": LOOKED_AT, "since": _since(),
        "first": ids.first_at(clock.now() - timedelta(days=DAYS)),
    }  # fmt: skip
    for start in range(0, len(wanted), _AT_ONCE):
        with connection.cursor() as cursor:
            cursor.execute(_MEASURE, facts | {"listings": wanted[start : start + _AT_ONCE]})


def _since() -> datetime:
    return (clock.now() - timedelta(days=CALLS_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
