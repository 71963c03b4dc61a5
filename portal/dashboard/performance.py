"""Measured on real calls of a listing: time to first token, speed, answered share."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils.translation import gettext as _

from billing.measuring import DAYS, IS_TIMED, SPEED
from marketplace.models import Listing
from portal.kit import clock, ids
from portal.kit.charts import Chart, Series

# The newest calls stand for the rest, so that a popular listing's page costs no more than a new one's.
MOST_CALLS = 20_000

_BY_HOUR = f"""
    WITH calls AS (
        SELECT date_trunc('hour', finished_at) AS hour, outcome, ttft_ms, latency_ms, output_tokens, demo,
            organisation_id = provider_id AS own
        FROM usage_event WHERE listing_id = %s AND id >= %s AND outcome <> 'reversed'
        ORDER BY id DESC LIMIT %s
    )
    SELECT demo, hour,
        count(*),
        count(*) FILTER (WHERE outcome <> 'failed'),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY ttft_ms) FILTER (WHERE outcome = 'succeeded'),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY ttft_ms) FILTER (WHERE outcome = 'succeeded'),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE outcome = 'succeeded'),
        percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms) FILTER (WHERE outcome = 'succeeded'),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY {SPEED}) FILTER (WHERE {IS_TIMED})
    FROM calls WHERE NOT own GROUP BY demo, hour ORDER BY hour
"""  # noqa: S608 (constants of this module)


@dataclass(frozen=True, slots=True)
class Hour:
    """What the calls of an hour took: milliseconds, tokens per second."""

    hour: datetime
    calls: int
    answered: int
    ttft_p50: float | None
    ttft_p95: float | None
    latency_p50: float | None
    latency_p95: float | None
    speed_p50: float | None


@dataclass(frozen=True, slots=True)
class Week:
    """By hour, hours without calls left out. `sample` is the history that the demo world was built with: it shows what
    the page looks like, and is never called measured.
    """

    measured: list[Hour]
    sample: list[Hour]


def week(listing: Listing) -> Week:
    """The last days of calls by others than the provider's own organisation."""
    since = ids.first_at(clock.now() - timedelta(days=DAYS))
    with connection.cursor() as cursor:
        cursor.execute(_BY_HOUR, [listing.pk, since, MOST_CALLS])
        rows = cursor.fetchall()
    found = {
        is_sample: [Hour(*row) for demo, *row in rows if demo is is_sample] for is_sample in (False, True)
    }
    return Week(measured=found[False], sample=found[True])


def answered_share(measured: list[Hour]) -> float | None:
    """Answered calls of all, 0 to 1; None without any."""
    calls = sum(hour.calls for hour in measured)
    return sum(hour.answered for hour in measured) / calls if calls else None


def charts(measured: list[Hour]) -> list[Chart]:
    """Latency, speed and answered share over the week. The first token and speed are of those that generate: others
    answer at once.
    """
    at = [hour.hour for hour in measured]
    first = [
        Series(_("median"), [h.ttft_p50 for h in measured]),
        Series(_("95th percentile"), [h.ttft_p95 for h in measured]),
    ]
    whole = [
        Series(_("median"), [h.latency_p50 for h in measured]),
        Series(_("95th percentile"), [h.latency_p95 for h in measured]),
    ]
    share = [Series(_("answered"), [100 * h.answered / h.calls for h in measured])]
    speed = [Series(_("median"), [h.speed_p50 for h in measured])]
    generating = [
        Chart("ttft", _("Time to first token"), at, first, unit="ms"),
        Chart("speed", _("Output speed"), at, speed, unit="tokens/s"),
    ]
    return [
        *(generating if any(hour.speed_p50 for hour in measured) else []),
        Chart("latency", _("Whole answer"), at, whole, unit="ms"),
        Chart("answered", _("Answered calls"), at, share, unit="%"),
    ]
