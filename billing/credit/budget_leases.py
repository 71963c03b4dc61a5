"""Leases of keys' budgets: how far Redis may go in each window, as Postgres has granted it.

The policy is that of `leases`: a refill grants what the call at hand lacks or a sixteenth of what is left,
and what a lost lease had been granted beyond the recorded charges is forfeited.

What a call holds in a budget. Its charge is R(q + u) - R(q) at the q at which it settles, for u units of the
d it held. That q is not the one of its admission: calls of other keys under the same subscription, admitted
later, may settle first and use up the included units that this one counted on. So R(q + d) - R(q) at
admission bounds the sum over all keys, which suffices for the spend cap, but not one key's share. But
R(q) = floor(max(0, q - included) * amount / per) grows over u units by at most ceil(u * amount / per)
wherever they begin, since floor(y + z) - floor(y) <= ceil(z) for all y, z >= 0; and u <= d. So each call
holds the sum over its meters of ceil(d * amount / per). It can never be charged more than it holds, and so
settled + held <= granted <= budget in every order. The price is that included units need room in a budget
too, until they are settled as free.

A call counts in the budgets that its key had at its admission. What ran when a budget was first set is not
held in it; once recorded, it is counted when the lease is opened next.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, cast
from uuid import UUID

from django.db import transaction

from billing import budgets, metering
from billing.budgets import Span, Window
from billing.credit import keys, limits, scripting
from billing.errors import LeaseUnavailable, StaleFacts
from billing.models import BudgetLease
from portal.accounts.models import ApiKey
from portal.kit import clock, redis

_ATTEMPTS = 5
_RETURNS_AT_ONCE = 500
_KEEP = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Budget:
    """A window of a key's budget with a lease in force."""

    lease_id: UUID
    window: Window

    @property
    def ends_ms(self) -> int:
        """In unix time; 0 is never."""
        return int(self.window.ends.timestamp() * 1000) if self.window.ends else 0

    @property
    def first_day(self) -> int:
        """In days since 1970."""
        return (self.window.first_day - budgets.ALL_TIME).days

    @property
    def last_day(self) -> int:
        return (self.window.end_day or date.max).toordinal() - budgets.ALL_TIME.toordinal() - 1


def open_for(key: ApiKey, at: datetime) -> tuple[Budget, ...]:
    """The key's budgets at `at`, each with a lease that is open and knows the budget's present size.

    Blocks on Postgres and Redis. Raises `LeaseUnavailable` while Redis comes and goes.
    """
    windows = budgets.windows(key, at)
    _close_removed(key, windows)
    return tuple(Budget(_open(key, window), window) for window in windows)


def refill(lease_id: UUID, *, need: int) -> None:
    """Grant more: `need` is how far the lease must reach from its window's first day. A need beyond the
    budget changes nothing. Raises `StaleFacts` if the lease is no longer in force.
    """
    with transaction.atomic():
        lease = _lock(lease_id)
        if lease is None:
            raise StaleFacts(reason="the lease was closed")
        allowed = _allowed(lease)
        if lease.granted < need <= allowed:
            lease.granted = max(need, limits.slice_after(allowed, after=lease.granted))
            lease.save(update_fields=["granted"])
    # After the commit, so that Redis never has more than Postgres knows of.
    if not _tell(lease_id, granted=lease.granted):
        raise StaleFacts(reason="the lease is gone from Redis")


def return_unused(*, since: datetime) -> int:
    """Close the leases that nobody has used since then and that hold nothing, forfeiting nothing."""
    since_ms = int(since.timestamp() * 1000)
    idle: Any = redis.client().zrangebyscore(keys.BUDGETS, 0, since_ms, start=0, num=_RETURNS_AT_ONCE)
    return sum(_close(UUID(lease.decode()), unused_since=str(since_ms)) for lease in idle)


def _open(key: ApiKey, window: Window) -> UUID:
    for _ in range(_ATTEMPTS):
        run = scripting.run_id(redis.client())
        found = _of_window(key, window).filter(closed_at=None).first()
        if found is not None and _is_in_force(found, run):
            _publish(found.pk)
            return UUID(str(found.pk))
        if found is not None:
            _close(found.pk)
        else:
            # What the key spent before it had this budget counts too.
            metering.drain(through=b"+")
        if opened := _grant_first(key, window, run=run):
            return opened
    raise LeaseUnavailable


def _is_in_force(lease: BudgetLease, run: str) -> bool:
    stored = redis.client().hget(keys.budget(lease.pk), "run")
    return lease.run == run and stored == run.encode()


def _publish(lease_id: UUID) -> None:
    """Tell Redis the budget's present size. The lock orders writers, so the last one has read the latest."""
    with transaction.atomic():
        lease = _lock(lease_id)
        if lease is not None:
            _tell(lease_id, allowed=_allowed(lease))


def _close_removed(key: ApiKey, windows: tuple[Window, ...]) -> None:
    """Before the first call without a budget, its lease ends: it would not see what is spent meanwhile."""
    kept = [window.span for window in windows]
    for lease in BudgetLease.objects.filter(api_key=key, closed_at=None).exclude(span__in=kept):
        _close(lease.pk)


def _close(lease_id: UUID, *, unused_since: str = "") -> bool:
    """Stop a lease, record what was spent under it and forfeit what may have been spent besides."""
    script_keys = [keys.budget(lease_id), keys.BUDGETS, keys.USAGE_STREAM]
    stopped = scripting.run(redis.client(), "budget_closing", script_keys, [unused_since])
    if not stopped:
        return False
    held, last_event = stopped
    metering.drain(through=last_event)
    with transaction.atomic():
        lease = _lock(lease_id)
        if lease is None:
            return False
        window = _window_of(lease)
        # A reversal may give a key back what another's calls had paid for.
        used = max(0, budgets.spent(lease.api_key_id, window) + budgets.forfeited(lease.api_key_id, window))
        unaccounted = max(0, lease.granted - used)
        lease.forfeited = unaccounted if held < 0 else min(held, unaccounted)
        lease.closed_at = clock.now()
        lease.save(update_fields=["forfeited", "closed_at"])
    return True


def _grant_first(key: ApiKey, window: Window, *, run: str) -> UUID | None:
    """A new lease; None if someone was faster or Redis changed again."""
    with transaction.atomic():
        locked = ApiKey.objects.select_for_update(no_key=True).get(pk=key.pk)
        if _of_window(key, window).filter(closed_at=None).exists():
            return None
        allowed = getattr(locked, _FIELDS[window.span]) or 0
        used = max(0, budgets.spent(key.pk, window) + budgets.forfeited(key.pk, window))
        lease = BudgetLease.objects.create(
            api_key=locked, span=window.span, first_day=window.first_day, run=run,
            granted=limits.slice_after(allowed, after=used),
        )  # fmt: skip
        expiry = int((window.ends + _KEEP).timestamp() * 1000) if window.ends else 0
        # Before the commit, so that nobody ever finds a committed lease that Redis does not know.
        script_keys = [keys.budget(lease.pk), keys.BUDGETS]
        answered = scripting.run(
            redis.client(), "budget_opening", script_keys, [expiry, used, lease.granted, allowed]
        )
        if answered.decode() != run:
            transaction.set_rollback(True)
            return None
    return lease.pk


_FIELDS = {"total": "total_budget", "day": "daily_budget", "month": "monthly_budget"}


def _allowed(lease: BudgetLease) -> int:
    """The budget as it is now; one that was removed admits nothing under its old lease."""
    return ApiKey.objects.values_list(_FIELDS[lease.span], flat=True).get(pk=lease.api_key_id) or 0


def _tell(lease_id: UUID, *, granted: int | str = "", allowed: int | str = "") -> bool:
    return bool(scripting.run(redis.client(), "budget_granting", [keys.budget(lease_id)], [granted, allowed]))


def _of_window(key: ApiKey, window: Window) -> Any:
    return BudgetLease.objects.filter(api_key=key, span=window.span, first_day=window.first_day)


def _window_of(lease: BudgetLease) -> Window:
    noon = datetime.combine(lease.first_day, time(12), tzinfo=UTC)
    return budgets.window(cast("Span", lease.span), noon, allowed=0)


def _lock(lease_id: UUID) -> BudgetLease | None:
    """The lease if it is open, for this transaction alone to change."""
    return BudgetLease.objects.select_for_update(no_key=True).filter(pk=lease_id, closed_at=None).first()
