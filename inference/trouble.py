"""Which versions fail their callers right now: by their latest calls, by their last load, and because they are
quarantined.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection

from inference import quarantine
from inference.protocol import load_error_key
from inference.quarantine import Quarantine
from portal.kit import clock, ids
from portal.kit import redis as kit_redis

MINUTES = 15
# The newest calls of a listing stand for the rest, so that a popular one costs no more than a new one.
MOST_CALLS = 200
# One failure is an accident, and so is a rare one.
FEWEST_FAILED = 3
ONE_IN = 10

# A call that failed by its own request says nothing of the version.
_FAILING = """
    SELECT version.id, count(*), count(*) FILTER (WHERE calls.failed)
    FROM marketplace_version version CROSS JOIN LATERAL (
        SELECT version_id, outcome = 'failed' AS failed, finish_reason
        FROM usage_event WHERE listing_id = version.listing_id AND id >= %s AND outcome <> 'reversed'
        ORDER BY id DESC LIMIT %s
    ) calls
    WHERE version.id = ANY(%s) AND calls.version_id = version.id AND calls.finish_reason <> 'refused'
    GROUP BY version.id
    HAVING count(*) FILTER (WHERE calls.failed) >= greatest(%s, count(*) / %s::numeric)
"""


@dataclass(frozen=True, slots=True)
class Trouble:
    """`failed` of the `calls` begun in the last minutes, 0 of 0 if those are well; whether the last load failed; why
    it is left alone, if it is.
    """

    calls: int
    failed: int
    is_unloadable: bool
    quarantine: Quarantine | None = None


def find(version_ids: Collection[UUID]) -> Mapping[UUID, Trouble]:
    """The troubled ones among the versions. Raises a Redis error."""
    if not version_ids:
        return {}
    failing, unloadable = _failing(version_ids), _unloadable(version_ids)
    quarantined = quarantines(version_ids)
    return {
        version: Trouble(
            *failing.get(version, (0, 0)), version in unloadable, quarantine=quarantined.get(version)
        )
        for version in failing.keys() | unloadable | quarantined.keys()
    }


def quarantines(version_ids: Collection[UUID]) -> dict[UUID, Quarantine]:
    """Those of the versions that are left alone now. Raises a Redis error."""
    found = quarantine.find(kit_redis.client(), [version.hex for version in version_ids])
    return {UUID(version): each for version, each in found.items()}


def _failing(version_ids: Collection[UUID]) -> dict[UUID, tuple[int, int]]:
    since = ids.first_at(clock.now() - timedelta(minutes=MINUTES))
    with connection.cursor() as cursor:
        cursor.execute(_FAILING, [since, MOST_CALLS, list(version_ids), FEWEST_FAILED, ONE_IN])
        return {version: (calls, failed) for version, calls, failed in cursor.fetchall()}


def _unloadable(version_ids: Collection[UUID]) -> set[UUID]:
    """Workers note a failed load for half a minute, in which they refuse the version's calls."""
    wanted = list(version_ids)
    reasons = kit_redis.client().mget([load_error_key(version.hex) for version in wanted])
    return {version for version, reason in zip(wanted, reasons, strict=True) if reason is not None}
