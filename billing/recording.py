"""One transaction that turns a batch of events into rows: facts, rollups, rated lines, ledger.

An event that is there already changes nothing, so any batch may come twice, from anyone. Periods are
locked first and in the order of their ids, so that parallel meters never deadlock.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from billing import ledger, partitions, rating
from billing.events import COLUMNS, METERS, Event, copy_row
from billing.models import BillingPeriod, Lease, LedgerAccount

_COLUMNS = ", ".join(COLUMNS)
_STAGE = "CREATE TEMP TABLE IF NOT EXISTS usage_incoming (LIKE usage_event) ON COMMIT DELETE ROWS"
_INSERT = f"""
    INSERT INTO usage_event ({_COLUMNS}) SELECT {_COLUMNS} FROM usage_incoming ORDER BY id
    ON CONFLICT (id) DO NOTHING RETURNING id
"""  # noqa: S608 (constants of this module)
_SUMS = ("failed", *METERS, "charge", "commission")
_IDENTITY = ("organisation_id", "subscription_id", "listing_id", "version_id", "api_key_id", "hour")
_ROLLUP = f"""
    INSERT INTO billing_usagerollup AS known ({", ".join(_IDENTITY)}, shard, {", ".join(_SUMS)})
    SELECT {", ".join(_IDENTITY)}, %s, {", ".join(_SUMS)} FROM jsonb_to_recordset(%s) AS (
        organisation_id uuid, subscription_id uuid, listing_id uuid, version_id uuid, api_key_id uuid,
        hour timestamptz, {", ".join(f"{name} bigint" for name in _SUMS)})
    ORDER BY {", ".join(_IDENTITY)}
    ON CONFLICT (organisation_id, hour, subscription_id, listing_id, version_id, api_key_id, shard)
    DO UPDATE SET {", ".join(f"{name} = known.{name} + excluded.{name}" for name in _SUMS)}
"""  # noqa: S608
_LINES = """
    INSERT INTO billing_ratedline AS known (period_id, meter, units, charge)
    SELECT period_id, meter, units, charge FROM jsonb_to_recordset(%s)
        AS (period_id uuid, meter text, units bigint, charge bigint) ORDER BY period_id, meter
    ON CONFLICT (period_id, meter)
    DO UPDATE SET units = known.units + excluded.units, charge = known.charge + excluded.charge
"""
_KEY_DAYS = """
    INSERT INTO billing_keyday AS known (api_key_id, day, charge)
    SELECT api_key_id, day, charge FROM jsonb_to_recordset(%s) AS (api_key_id uuid, day date, charge bigint)
    ORDER BY api_key_id, day
    ON CONFLICT (api_key_id, day) DO UPDATE SET charge = known.charge + excluded.charge
"""
_PERIODS = """
    UPDATE billing_billingperiod AS period SET gross = new.gross, commission = new.commission
    FROM jsonb_to_recordset(%s) AS new (id uuid, gross bigint, commission bigint) WHERE period.id = new.id
"""


@dataclass(slots=True)
class Tally:
    """Sums over the new events of a batch, by rollup row, by (period, meter), by (key, day) and by period."""

    rollups: defaultdict[tuple[Any, ...], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    units: Counter[tuple[str, str]] = field(default_factory=Counter)
    charges: Counter[tuple[str, str]] = field(default_factory=Counter)
    key_days: Counter[tuple[str, date]] = field(default_factory=Counter)
    charged: dict[str, list[Event]] = field(default_factory=dict)


def record(batch: Iterable[Event], *, shard: int) -> int:
    """Record the events that are not there yet, all or none. Answers how many were new."""
    events = sorted({event.id: event for event in batch}.values(), key=lambda event: event.id)
    if not events:
        return 0
    partitions.ensure(map(partitions.day_of, {event.id for event in events}))
    with transaction.atomic():
        periods = _lock_periods(events)
        events = _write_off(events)
        inserted = _insert(events)
        new = [event for event in events if event.id in inserted]
        if new:
            _add_up(new, periods=periods, shard=shard)
    return len(new)


def _lock_periods(events: Sequence[Event]) -> dict[str, BillingPeriod]:
    wanted = {event.known.period for event in events}
    locked = BillingPeriod.objects.filter(pk__in=wanted).order_by("pk").select_for_update(no_key=True)
    return {period.pk.hex: period for period in locked}


def _write_off(events: Sequence[Event]) -> list[Event]:
    """Events that come after their lease was closed as lost cost nothing: their room was forfeited, and
    their place in the period's order has gone to other calls.
    """
    leases = {event.known.lease for event in events}
    closed = Lease.objects.filter(pk__in=leases).exclude(closed_at=None).values_list("pk", flat=True)
    lost = {lease.hex for lease in closed}
    return [event.uncharged() if event.known.lease in lost else event for event in events]


def _insert(events: Sequence[Event]) -> Collection[str]:
    with connection.cursor() as cursor:
        cursor.execute(_STAGE)
        with cursor.copy(f"COPY usage_incoming ({_COLUMNS}) FROM STDIN") as copy:
            copy.write("".join(map(copy_row, events)))
        cursor.execute(_INSERT)
        inserted = {row[0].hex for row in cursor.fetchall()}
        cursor.execute("TRUNCATE usage_incoming")
    return inserted


def _add_up(events: Sequence[Event], *, periods: Mapping[str, BillingPeriod], shard: int) -> None:
    tally = Tally()
    for event in events:
        _count(event, tally=tally)
    for period_hex, charged in tally.charged.items():
        _earn(periods[period_hex], charged, tally=tally)
    _write_sums(tally, shard=shard)
    changed = [periods[period_hex] for period_hex in tally.charged]
    _write_periods(changed)
    ledger.post_new(_posting(periods[period_hex], charged) for period_hex, charged in tally.charged.items())


def _count(event: Event, *, tally: Tally) -> None:
    sums = tally.rollups[_identity(event)]
    if not event.is_answered:
        sums["failed"] += 1
        return
    for meter in METERS:
        sums[meter] += event.units.get(meter, 0)
    sums["charge"] += event.charge
    for line in event.rated:
        tally.units[event.known.period, line.meter] += line.units
        tally.charges[event.known.period, line.meter] += line.charge
    if event.charge and event.known.key:
        tally.key_days[event.known.key, event.day] += event.charge
    if event.charge:
        tally.charged.setdefault(event.known.period, []).append(event)


def _identity(event: Event) -> tuple[Any, ...]:
    known = event.known
    return known.organisation, known.subscription, known.listing, known.version, known.key, event.hour


def _earn(period: BillingPeriod, charged: Sequence[Event], *, tally: Tally) -> None:
    """Move the period's gross and commission on, and give each rollup row its part of the commission."""
    parts = rating.split(
        [event.charge for event in charged],
        already=period.gross,
        basis_points=period.commission_basis_points,
    )
    for event, commission in zip(charged, parts, strict=True):
        tally.rollups[_identity(event)]["commission"] += commission
    period.gross += sum(event.charge for event in charged)
    period.commission += sum(parts)


def _write_sums(tally: Tally, *, shard: int) -> None:
    rollups = [
        dict(zip(_IDENTITY, (*identity[:5], identity[5].isoformat()), strict=True))
        | {name: sums[name] for name in _SUMS}
        for identity, sums in tally.rollups.items()
    ]
    lines = [
        {"period_id": period, "meter": meter, "units": units, "charge": tally.charges[period, meter]}
        for (period, meter), units in tally.units.items()
    ]
    key_days = [
        {"api_key_id": key, "day": day.isoformat(), "charge": charge}
        for (key, day), charge in tally.key_days.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_ROLLUP, [shard, json.dumps(rollups)])
        cursor.execute(_LINES, [json.dumps(lines)])
        if key_days:
            cursor.execute(_KEY_DAYS, [json.dumps(key_days)])


def _write_periods(periods: Sequence[BillingPeriod]) -> None:
    rows = [
        {"id": period.pk.hex, "gross": period.gross, "commission": period.commission} for period in periods
    ]
    with connection.cursor() as cursor:
        cursor.execute(_PERIODS, [json.dumps(rows)])


def _posting(period: BillingPeriod, charged: Sequence[Event]) -> ledger.Posting:
    """What the consumer owes, what the provider earns and the commission. Called after `_earn`."""
    known = charged[0].known
    gross = sum(event.charge for event in charged)
    before = rating.share(period.gross - gross, basis_points=period.commission_basis_points)
    commission = period.commission - before
    kinds = LedgerAccount.Kind
    return ledger.Posting(
        # An event can be new only once, so the first one names the batch.
        key=f"usage:{period.pk.hex}:{charged[0].id}",
        kind="usage",
        period_id=period.pk,
        currency=known.currency,
        amounts={
            (kinds.RECEIVABLE, UUID(known.organisation)): gross,
            (kinds.PAYABLE, UUID(known.provider)): commission - gross,
            (kinds.COMMISSION, None): -commission,
        },
    )
