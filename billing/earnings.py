"""Earnings as their provider sees them: gross, the marketplace's commission, and what is left."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from django.conf import settings
from django.db.models import DateTimeField, F, QuerySet, Sum
from django.db.models.functions import Trunc

from billing import ledger
from billing.errors import MixedCurrencies
from billing.models import LedgerAccount, UsageRollup
from portal.accounts.models import Organisation
from portal.kit.money import Money


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """Gross = net + commission, to the unit."""

    requests: int
    gross: Money
    commission: Money

    @property
    def net(self) -> Money:
        return self.gross - self.commission


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingEarned:
    """One listing's part."""

    listing_id: UUID
    listing: str
    earned: Earned


@dataclass(frozen=True, slots=True, kw_only=True)
class EarnedPoint:
    """What was earned from `at` on, for one step of time."""

    at: datetime
    earned: Earned


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Earnings of a range, by listing (highest gross first) and by day; `balance` is owed now, all told."""

    total: Earned
    listings: tuple[ListingEarned, ...]
    days: tuple[EarnedPoint, ...]
    balance: Money


def summary(provider: Organisation, start: datetime, end: datetime) -> Summary:
    """Earnings in the hours from `start` to before `end`. Raises `MixedCurrencies`."""
    rollups = _rollups(provider, start, end)
    by_listing = _sum(rollups, "listing_id", "listing__slug")
    total = _earned(by_listing)
    listings = [
        ListingEarned(
            listing_id=row["listing_id"],
            listing=f"{provider.slug}/{row['listing__slug']}",
            earned=_earned([row]),
        )
        for row in by_listing
    ]
    return Summary(
        total=total,
        listings=tuple(sorted(listings, key=lambda part: -part.earned.gross.amount)),
        days=tuple(series(provider, start, end, step="day")),
        balance=balance(provider, total.gross.currency),
    )


def series(
    provider: Organisation, start: datetime, end: datetime, *, step: Literal["hour", "day", "month"]
) -> list[EarnedPoint]:
    """Earnings per step of time, in order. Steps without calls are left out."""
    rollups = _rollups(provider, start, end).annotate(at=Trunc("hour", step, output_field=DateTimeField()))
    return [EarnedPoint(at=row["at"], earned=_earned([row])) for row in _sum(rollups, "at")]


def balance(provider: Organisation, currency: str) -> Money:
    """What the marketplace owes the provider, by the ledger."""
    payable = LedgerAccount.objects.filter(
        organisation=provider, kind=LedgerAccount.Kind.PAYABLE, currency=currency
    ).first()
    return Money(-ledger.balance(payable) if payable else 0, currency)


def _rollups(provider: Organisation, start: datetime, end: datetime) -> QuerySet[UsageRollup]:
    first = start.replace(minute=0, second=0, microsecond=0)
    rollups = UsageRollup.objects.filter(listing__organisation=provider, hour__gte=first, hour__lt=end)
    return rollups.annotate(currency=F("subscription__plan_version__currency"))


def _sum(rollups: QuerySet[UsageRollup], *columns: str) -> list[dict[str, Any]]:
    sums = {f"sum_{name}": Sum(name) for name in ("requests", "charge", "commission")}
    return list(rollups.values(*columns, "currency").annotate(**sums).order_by(*columns, "currency"))


def _earned(rows: Iterable[Mapping[str, Any]]) -> Earned:
    requests = gross = commission = 0
    currencies = set()
    for row in rows:
        currencies.add(row["currency"])
        requests += row["sum_requests"]
        gross += row["sum_charge"]
        commission += row["sum_commission"]
    if len(currencies) > 1:
        raise MixedCurrencies(what="earnings", currencies=", ".join(sorted(currencies)))
    currency = next(iter(currencies), settings.CURRENCY)
    return Earned(requests=requests, gross=Money(gross, currency), commission=Money(commission, currency))
