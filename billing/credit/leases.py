"""Leases: how far Redis may go, as Postgres has granted it.

A limit is a meter with a hard stop (its included units) or "charge" (the subscription's spend cap). Grants
count from the period's start and only rise. Policy: a refill grants what the call at hand lacks, or a
sixteenth of what is left if that is more. So large allowances need few refills, the last unit of a small
one can be spent, and losing Redis costs a consumer at most a sixteenth of what they had left.

When Redis has restarted or lost a lease, the lease is fenced there, the usage that survives is recorded,
and the lease is closed in Postgres. What it had been granted beyond the recorded usage is forfeited: it may
have been spent without a trace. Only then does another lease open. Leases that nobody uses are returned before
anything can happen to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from billing import metering, periods
from billing.credit import keys, limits, scripting
from billing.errors import LeaseUnavailable, StaleFacts
from billing.models import BillingPeriod, Lease, LeaseGrant
from marketplace.models import Subscription
from portal.kit import clock, redis

_ATTEMPTS = 5
_RETURNS_AT_ONCE = 500
_KEEP_AFTER_PERIOD_MS = 2 * 86_400_000


@dataclass(frozen=True, slots=True)
class OpenLease:
    """A lease in force, and the period that it covers."""

    period: BillingPeriod
    lease_id: UUID


def open_for(subscription: Subscription, at: datetime) -> OpenLease:
    """The lease under which calls at `at` are admitted, opened or brought up to date if need be.

    Blocks on Postgres and Redis. Raises `LeaseUnavailable` while Redis comes and goes.
    """
    period = periods.current(subscription, at)
    for _ in range(_ATTEMPTS):
        run = scripting.run_id(redis.client())
        lease = Lease.objects.filter(period=period, closed_at=None).first()
        if lease is not None and lease.run == run and _holds(lease):
            if _allowed_in_redis(period) != limits.allowed(period):
                _publish_allowances(period)
            return OpenLease(period, lease.pk)
        if lease is not None:
            _drain(lease)
        if opened := _replace(period, lost=lease, run=run):
            return OpenLease(period, opened.pk)
    raise LeaseUnavailable


def refill(period_id: UUID, *, lease_id: UUID, needs: Mapping[str, int]) -> None:
    """Grant more: `needs` is how far each limit must reach, from the period's start. A need beyond the
    allowance changes nothing. Raises `StaleFacts` if the lease is no longer in force.
    """
    with transaction.atomic():
        # Not the period's lock: a meter holds that for as long as its batch takes.
        lease = _lock_lease(lease_id)
        if lease is None:
            raise StaleFacts(reason="the lease was closed")
        allowed = limits.allowed(lease.period)
        granted = _raise_grants(lease_id, needs=needs, allowed=allowed)
    # Not the allowances: someone may have published newer ones since the lock was let go.
    if not _grant_in_redis(period_id, lease_id, granted=granted):
        raise StaleFacts(reason="the lease is gone from Redis")


def return_unused(*, since: datetime) -> int:
    """Close the leases that nobody has used since then and that hold nothing, forfeiting nothing. The next
    call opens another. Answers how many. What a restart of Redis costs idle subscribers is so nothing.
    """
    since_ms = int(since.timestamp() * 1000)
    idle: Any = redis.client().zrangebyscore(keys.LEASES, 0, since_ms, start=0, num=_RETURNS_AT_ONCE)
    return sum(_return(UUID(period.decode()), since_ms=since_ms) for period in idle)


def _holds(lease: Lease) -> bool:
    stored = redis.client().hmget(keys.lease(lease.period_id), ["lease", "run"])
    return stored == [lease.pk.hex.encode(), lease.run.encode()]


def _allowed_in_redis(period: BillingPeriod) -> dict[str, int]:
    stored: Mapping[bytes, bytes] = redis.client().hgetall(keys.lease(period.pk))  # type: ignore[assignment]
    ends = ((name.decode().rpartition(":"), value) for name, value in stored.items())
    return {limit: int(value) for (limit, _, field), value in ends if field == "x" and value}


def _return(period_id: UUID, *, since_ms: int) -> bool:
    script_keys = [keys.lease(period_id), keys.LEASES, keys.USAGE_STREAM]
    taken = scripting.run(redis.client(), "returning", script_keys, [period_id.hex, since_ms])
    if not taken:
        return False
    lease_id, last_event = UUID(taken[0].decode()), taken[1]
    metering.drain(through=last_event)
    with transaction.atomic():
        _lock(period_id)
        return bool(Lease.objects.filter(pk=lease_id, closed_at=None).update(closed_at=clock.now()))


def _drain(lease: Lease) -> None:
    fenced = scripting.run(
        redis.client(), "fencing", [keys.lease(lease.period_id), keys.USAGE_STREAM], [lease.pk.hex]
    )
    metering.drain(through=fenced)


def _replace(period: BillingPeriod, *, lost: Lease | None, run: str) -> Lease | None:
    """Close the lost lease and open another; None if someone was faster or Redis changed again."""
    try:
        with transaction.atomic():
            locked = _lock(period.pk)
            found = Lease.objects.filter(period=locked, closed_at=None).first()
            if found != lost:
                return None
            used = limits.used(locked)
            if lost is not None:
                _close(lost, used=used)
            return _open(locked, run=run, used=used)
    except _RunChanged:
        return None


def _close(lease: Lease, *, used: Mapping[str, int]) -> None:
    _lock_lease(lease.pk)
    for grant in lease.grants.all():
        grant.forfeited = max(0, grant.granted - used.get(grant.limit, 0))
        grant.save(update_fields=["forfeited"])
    lease.closed_at = clock.now()
    lease.save(update_fields=["closed_at"])


def _open(period: BillingPeriod, *, run: str, used: Mapping[str, int]) -> Lease:
    allowed = limits.allowed(period)
    granted = {limit: limits.slice_after(most, after=used.get(limit, 0)) for limit, most in allowed.items()}
    lease = Lease.objects.create(period=period, run=run)
    LeaseGrant.objects.bulk_create(
        LeaseGrant(lease=lease, limit=limit, granted=amount) for limit, amount in granted.items()
    )
    _write(lease, period, used=used, granted=granted, allowed=allowed)
    return lease


class _RunChanged(Exception):
    """Redis restarted between reading its run id and writing the lease."""


def _write(
    lease: Lease,
    period: BillingPeriod,
    *,
    used: Mapping[str, int],
    granted: Mapping[str, int],
    allowed: Mapping[str, int],
) -> None:
    # Before the commit, so that nobody ever finds a committed lease that Redis does not know.
    args: list[str | int] = [
        lease.pk.hex,
        int(period.ends.timestamp() * 1000) + _KEEP_AFTER_PERIOD_MS,
        granted[LeaseGrant.CHARGE],
        allowed[LeaseGrant.CHARGE],
    ]
    for row in period.plan_version.components.order_by("meter"):
        amount = "" if row.amount is None else row.amount
        limit = (granted.get(row.meter, ""), allowed.get(row.meter, ""))
        args += [row.meter, used.get(row.meter, 0), row.included, amount, row.per, *limit]
    run = scripting.run(redis.client(), "opening", [keys.lease(period.pk), keys.LEASES], args)
    if run.decode() != lease.run:
        raise _RunChanged


def _publish_allowances(period: BillingPeriod) -> None:
    """After a changed spend cap. The lock orders writers, so that the last one has read the latest cap."""
    with transaction.atomic():
        found = Lease.objects.filter(period=period, closed_at=None).first()
        lease = _lock_lease(found.pk) if found else None
        if lease is not None:
            granted = dict(lease.grants.values_list("limit", "granted"))
            _grant_in_redis(period.pk, lease.pk, granted=granted, allowed=limits.allowed(period))


def _raise_grants(lease_id: UUID, *, needs: Mapping[str, int], allowed: Mapping[str, int]) -> dict[str, int]:
    granted: dict[str, int] = {}
    for grant in LeaseGrant.objects.filter(lease_id=lease_id):
        need, most = needs.get(grant.limit, 0), allowed.get(grant.limit, 0)
        if grant.granted < need <= most:
            grant.granted = max(need, limits.slice_after(most, after=grant.granted))
            grant.save(update_fields=["granted"])
        granted[grant.limit] = grant.granted
    return granted


def _grant_in_redis(
    period_id: UUID,
    lease_id: UUID,
    *,
    granted: Mapping[str, int],
    allowed: Mapping[str, int] | None = None,
) -> bool:
    args: list[str | int] = [lease_id.hex]
    for limit, amount in granted.items():
        args += [limit, amount, "" if allowed is None else allowed.get(limit, 0)]
    return bool(scripting.run(redis.client(), "granting", [keys.lease(period_id)], args))


def _lock_lease(lease_id: UUID) -> Lease | None:
    """The lease if it is open, for this transaction alone to change."""
    found = Lease.objects.select_related("period").select_for_update(no_key=True, of=("self",))
    return found.filter(pk=lease_id, closed_at=None).first()


def _lock(period_id: UUID) -> BillingPeriod:
    found = BillingPeriod.objects.select_for_update(no_key=True, of=("self",))
    return found.select_related("plan_version").get(pk=period_id)
