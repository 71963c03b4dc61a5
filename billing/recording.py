"""One transaction that turns a batch of events into rows: facts, rollups, rated lines, ledger.

An event that is there already changes nothing, so any batch may come twice, from anyone. Parallel meters never
deadlock: all store events in the order of their ids, and only then lock the periods, in the order of theirs. So
a period that many share is locked for the sums alone, not while a batch is stored.

Python turns events into rows and posts what each period earned; whatever is done per event beside that is one
statement over the new rows, because a loop over them here would cost more than Postgres takes to store them.
"""

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from billing import ledger, partitions, rating
from billing.events import COLUMNS, METERS, Event, copy_row
from billing.models import BillingPeriod, Lease, LedgerAccount, Outcome
from portal.kit import clock

_COLUMNS = ", ".join(COLUMNS)
_STAGE = """
    CREATE TEMP TABLE IF NOT EXISTS usage_batch (LIKE usage_event, admitted_on date) ON COMMIT DELETE ROWS;
    TRUNCATE usage_batch
"""
_INSERT = f"""
    WITH inserted AS (
        INSERT INTO usage_event ({_COLUMNS}) SELECT {_COLUMNS} FROM usage_batch ORDER BY id
        ON CONFLICT (id) DO NOTHING RETURNING id
    )
    DELETE FROM usage_batch known WHERE NOT EXISTS (SELECT FROM inserted WHERE inserted.id = known.id)
"""  # noqa: S608 (constants of this module)
_IDENTITY = "organisation_id, subscription_id, listing_id, version_id, api_key_id"
_SUMS = ("failed", *METERS, "charge", "commission")
_ANSWERED = f"outcome <> '{Outcome.FAILED}'"
_ADDED = ", ".join(f"{name} = known.{name} + excluded.{name}" for name in _SUMS)
# The commission in each charge is `rating.share` of the period's gross after it less that before it, in the order of
# the ids. Numeric, because gross times basis points may not fit 64 bits.
_ROLL_UP = f"""
    WITH placed AS (
        SELECT usage_batch.*, period.commission_basis_points AS basis_points,
            period.gross + sum(charge) OVER (PARTITION BY period_id ORDER BY usage_batch.id) AS gross
        FROM usage_batch LEFT JOIN billing_billingperiod period ON period.id = period_id
    ), hours AS (
        SELECT {_IDENTITY}, date_trunc('hour', finished_at, 'UTC') AS hour, %s::smallint AS shard, min(currency) AS currency,
            count(*) FILTER (WHERE NOT {_ANSWERED}) AS failed,
            {", ".join(f"coalesce(sum({meter}) FILTER (WHERE {_ANSWERED}), 0) AS {meter}" for meter in METERS)},
            sum(charge) AS charge, coalesce(
                sum(div(gross * basis_points, 10000) - div((gross - charge) * basis_points, 10000)), 0
            ) AS commission, coalesce(sum(requests) FILTER (WHERE demo AND {_ANSWERED}), 0) AS sample
        FROM placed GROUP BY {_IDENTITY}, hour
    ), by_hour AS (
        INSERT INTO billing_usagerollup AS known ({_IDENTITY}, hour, shard, {", ".join(_SUMS)})
        SELECT {_IDENTITY}, hour, shard, {", ".join(_SUMS)} FROM hours ORDER BY {_IDENTITY}, hour
        ON CONFLICT (organisation_id, hour, subscription_id, listing_id, version_id, api_key_id, shard)
        DO UPDATE SET {_ADDED}
    ), earned AS (
        INSERT INTO billing_earnedday AS known (listing_id, day, currency, shard, requests, charge, commission)
        SELECT listing_id, date_trunc('day', hour, 'UTC') AS day, currency, shard, sum(requests), sum(charge), sum(commission)
        FROM hours WHERE NOT EXISTS (
            SELECT FROM marketplace_subscription subscription WHERE subscription.id = subscription_id AND own_use
        ) GROUP BY listing_id, day, currency, shard ORDER BY listing_id, day, currency
        ON CONFLICT (listing_id, day, currency, shard) DO UPDATE SET requests = known.requests + excluded.requests,
            charge = known.charge + excluded.charge, commission = known.commission + excluded.commission
    )
    INSERT INTO billing_dailyusage AS known ({_IDENTITY}, day, shard, {", ".join(_SUMS)}, sample)
    SELECT {_IDENTITY}, date_trunc('day', hour, 'UTC') AS day, shard,
        {", ".join(f"sum({name})" for name in _SUMS)}, sum(sample)
    FROM hours GROUP BY {_IDENTITY}, day, shard ORDER BY {_IDENTITY}, day
    ON CONFLICT (organisation_id, day, subscription_id, listing_id, version_id, api_key_id, shard)
    DO UPDATE SET {_ADDED}, sample = known.sample + excluded.sample
"""  # noqa: S608
_RATE = f"""
    INSERT INTO billing_ratedline AS known (period_id, meter, units, charge)
    SELECT period_id, line.key, sum((line.value->>1)::bigint), sum((line.value->>2)::bigint)
    FROM usage_batch, jsonb_each(rated) line WHERE {_ANSWERED} GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (period_id, meter)
    DO UPDATE SET units = known.units + excluded.units, charge = known.charge + excluded.charge
"""  # noqa: S608
# Which of them wait for an operator's look, and what each brought its provider; in the order of `_ROLL_UP`.
_HOLD = """
    WITH placed AS (
        SELECT usage_batch.*, period.commission_basis_points AS basis_points,
            period.gross + sum(charge) OVER (PARTITION BY period_id ORDER BY usage_batch.id) AS gross
        FROM usage_batch JOIN billing_billingperiod period ON period.id = period_id
    ), held AS (
        INSERT INTO billing_heldearning (id, period_id, organisation_id, provider_id, listing_id, currency, charge,
            commission, input_tokens, output_tokens, report, state, created_at)
        SELECT id, period_id, organisation_id, provider_id, listing_id, currency, charge,
            div(gross * basis_points, 10000) - div((gross - charge) * basis_points, 10000),
            input_tokens, output_tokens, report, 'held', %s
        FROM placed WHERE charge > 0 AND (report->>'held')::boolean
        RETURNING period_id, charge - commission AS share
    )
    SELECT period_id, sum(share)::bigint FROM held GROUP BY period_id
"""
# An event can be new only once, so the first one names the batch.
_EARNED = """
    SELECT period_id, min(id::text)::uuid, organisation_id, provider_id, currency, sum(charge)::bigint
    FROM usage_batch WHERE charge <> 0 GROUP BY period_id, organisation_id, provider_id, currency
    HAVING sum(charge) <> 0 OR bool_or((report->>'held')::boolean) ORDER BY period_id
"""
# A key's budgets count a call on the day on which they admitted it.
_KEY_DAYS = """
    INSERT INTO billing_keyday AS known (api_key_id, day, charge)
    SELECT api_key_id, admitted_on, sum(charge) FROM usage_batch
    WHERE api_key_id IS NOT NULL AND charge <> 0 GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (api_key_id, day) DO UPDATE SET charge = known.charge + excluded.charge
"""
_PERIODS = """
    UPDATE billing_billingperiod AS period SET gross = new.gross, commission = new.commission
    FROM jsonb_to_recordset(%s) AS new (id uuid, gross bigint, commission bigint) WHERE period.id = new.id
"""


class Earned(NamedTuple):
    """What the new events of one period cost; `first` is the oldest of them."""

    period: UUID
    first: UUID
    consumer: UUID
    provider: UUID
    currency: str
    charge: int


def record(batch: Iterable[Event], *, shard: int) -> int:
    """Record the events that are not there yet, all or none. Answers how many were new."""
    events = list({event.id: event for event in batch}.values())
    if not events:
        return 0
    partitions.ensure({partitions.day_of(event.id) for event in events})
    lost = _lost_leases(events)
    while (new := _try_record(events, lost=lost, shard=shard)) is None:
        lost = _lost_leases(events)
    return new


def _try_record(events: Sequence[Event], *, lost: AbstractSet[UUID], shard: int) -> int | None:
    """None, and nothing is recorded, if a lease was lost meanwhile. Lost ones stay so: this ends."""
    with transaction.atomic():
        new = _insert(_write_off(events, lost))
        periods = _lock_periods(events)
        # Who closes a lease holds its period's lock, so from here on none is closed.
        if _lost_leases(events) != lost:
            transaction.set_rollback(True)
            return None
        if new:
            held = _hold() if any(event.is_held for event in events) else {}
            _add_up(periods, shard=shard, held=held)
    return new


def _lock_periods(events: Sequence[Event]) -> dict[UUID, BillingPeriod]:
    wanted = {event.known.period for event in events}
    locked = BillingPeriod.objects.filter(pk__in=wanted).order_by("pk").select_for_update(no_key=True)
    return {period.pk: period for period in locked}


def _lost_leases(events: Sequence[Event]) -> set[UUID]:
    leases = {event.known.lease for event in events}
    return set(Lease.objects.filter(pk__in=leases).exclude(closed_at=None).values_list("pk", flat=True))


def _write_off(events: Sequence[Event], lost: AbstractSet[UUID]) -> Sequence[Event]:
    """Events that come after their lease was closed as lost cost nothing: their room was forfeited, and
    their place in the period's order has gone to other calls.
    """
    if not lost:
        return events
    ids = {lease.hex for lease in lost}
    return [event.uncharged() if event.known.lease in ids else event for event in events]


def _insert(events: Sequence[Event]) -> int:
    """Leaves the new ones in `usage_batch` until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(_STAGE)
        with cursor.copy(f"COPY usage_batch ({_COLUMNS}, admitted_on) FROM STDIN") as copy:
            copy.write("".join(map(copy_row, events)))
        cursor.execute(_INSERT)
        return len(events) - int(cursor.rowcount)


def _hold() -> dict[UUID, int]:
    """Keep the new calls that need a look; what of their periods' earnings is held."""
    with connection.cursor() as cursor:
        cursor.execute(_HOLD, [clock.now()])
        return dict(cursor.fetchall())


def _add_up(periods: dict[UUID, BillingPeriod], *, shard: int, held: dict[UUID, int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_ROLL_UP, [shard])
        cursor.execute(_RATE)
        cursor.execute(_KEY_DAYS)
        cursor.execute(_EARNED)
        earned = [Earned(*row) for row in cursor.fetchall()]
        postings = [_earn(periods[each.period], each, held=held.get(each.period, 0)) for each in earned]
        changed = [_as_row(periods[each.period]) for each in earned]
        cursor.execute(_PERIODS, [json.dumps(changed)])
    ledger.post_new(postings)


def _as_row(period: BillingPeriod) -> dict[str, Any]:
    return {"id": period.pk.hex, "gross": period.gross, "commission": period.commission}


def _earn(period: BillingPeriod, earned: Earned, *, held: int) -> ledger.Posting:
    """Move the period's gross and commission on: what the consumer owes, the provider earns and we keep. `held` is the
    part of what the provider earns that waits.
    """
    before = period.commission
    period.gross += earned.charge
    period.commission = rating.share(period.gross, basis_points=period.commission_basis_points)
    commission = period.commission - before
    kinds = LedgerAccount.Kind
    return ledger.Posting(
        key=f"usage:{period.pk.hex}:{earned.first.hex}",
        kind="usage",
        period_id=period.pk,
        currency=earned.currency,
        amounts={
            (kinds.RECEIVABLE, earned.consumer): earned.charge,
            (kinds.PAYABLE, earned.provider): commission - earned.charge + held,
            (kinds.HELD, earned.provider): -held,
            (kinds.COMMISSION, None): -commission,
        },
    )
