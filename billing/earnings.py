"""Earnings as their provider sees them: usage and flat fees, the marketplace's commission, and what is left.

Usage counts in the hour of its calls, a fee when its period opened, and a charge that was credited when it was.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import DateTimeField, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Trunc

from billing import holding, ledger, periods, spans
from billing.errors import MixedCurrencies
from billing.models import EarnedDay, HeldEarning, LedgerAccount, LedgerTransaction
from billing.spans import Rows, Step
from marketplace.models import Listing
from portal.accounts.models import Organisation
from portal.kit.money import Money

_MOST_NAMED = 1_000

Row = Mapping[str, Any]
Groups = dict[tuple[Any, ...], list[Row]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned:
    """Gross = usage + fees = net + commission, to the unit."""

    requests: int
    usage: Money
    fees: Money
    commission: Money

    @property
    def gross(self) -> Money:
        return self.usage + self.fees

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
    """Earnings from `start` to before `end`, both whole hours, by listing (highest gross first) and by step; `balance`
    is owed now and `held` waits for an operator's look, both all told.
    """

    start: datetime
    end: datetime
    total: Earned
    listings: tuple[ListingEarned, ...]
    steps: tuple[EarnedPoint, ...]
    balance: Money
    held: Money


def summary(provider: Organisation, start: datetime, end: datetime, *, step: Step = "day") -> Summary:
    """Earnings from the hour `spans.bound(start)` to before that of `end`. Raises `MixedCurrencies`."""
    if step == "hour":
        # An hour's sums are those of every consumer: adding them up once is enough.
        by_listing = by_time = list(_sums(provider, start, end, step=step, listings=True))
    else:
        by_listing = list(_sums(provider, start, end, listings=True))
        by_time = list(_sums(provider, start, end, step=step))
    groups = _group(by_listing, by=("of",))
    slugs = dict(Listing.objects.filter(pk__in=[of for (of,) in groups]).values_list("pk", "slug"))
    listings = [
        ListingEarned(listing_id=of, listing=f"{provider.slug}/{slugs[of]}", earned=_earned(rows))
        for (of,), rows in groups.items()
    ]
    total = _earned(by_listing)
    return Summary(
        start=spans.bound(start),
        end=spans.bound(end),
        total=total,
        listings=tuple(sorted(listings, key=lambda part: -part.earned.gross.amount)),
        steps=tuple(_points(by_time)),
        balance=balance(provider, total.gross.currency),
        held=holding.held_of(provider, total.gross.currency),
    )


def series(provider: Organisation, start: datetime, end: datetime, *, step: Step) -> list[EarnedPoint]:
    """Earnings per step of time, in order. Steps without calls and fees are left out."""
    return _points(_sums(provider, start, end, step=step))


def balance(provider: Organisation, currency: str) -> Money:
    """What the marketplace owes the provider, by the ledger."""
    payable = LedgerAccount.objects.filter(
        organisation=provider, kind=LedgerAccount.Kind.PAYABLE, currency=currency
    ).first()
    return Money(-ledger.balance(payable) if payable else 0, currency)


def _points(sums: Iterable[Row]) -> list[EarnedPoint]:
    by_time = _group(sums, by=("at",))
    return [EarnedPoint(at=at, earned=_earned(rows)) for (at,), rows in sorted(by_time.items())]


def _sums(
    provider: Organisation,
    start: datetime,
    end: datetime,
    *,
    step: Step | None = None,
    listings: bool = False,
) -> Iterator[Row]:
    """What calls and fees came to per step of time (`at`), per listing (`of`), or per both."""
    for rows in spans.rows(start, end, step=step, days=EarnedDay, **_of(provider)):
        at = {"at": rows.at(step)} if step else {}
        yield from _sum_usage(rows, **at, **({"of": F("listing_id")} if listings else {}))
    at = {"at": Trunc("created_at", step, output_field=DateTimeField())} if step else {}
    of = {"of": F("period__subscription__listing_id")} if listings else {}
    yield from _sum_fees(_fees(provider, start, end), **at, **of)
    at = {"at": Trunc("decided_at", step, output_field=DateTimeField())} if step else {}
    yield from _sum_reversed(provider, start, end, **at, **({"of": F("listing_id")} if listings else {}))


def _of(provider: Organisation) -> dict[str, object]:
    """Which sums are the provider's. Postgres can tell how few those of listings named one by one are; where it has to
    look up whose they are, it reads everybody's.
    """
    listings = list(
        Listing.objects.filter(organisation=provider).values_list("pk", flat=True)[: _MOST_NAMED + 1]
    )
    if len(listings) > _MOST_NAMED:
        return {"listing__organisation": provider}
    return {"listing_id__in": listings}


def _fees(provider: Organisation, start: datetime, end: datetime) -> QuerySet[LedgerTransaction]:
    return LedgerTransaction.objects.filter(
        kind=periods.FEE,
        period__subscription__listing__organisation=provider,
        created_at__gte=spans.bound(start),
        created_at__lt=spans.bound(end),
    )


def _sum_usage(rows: Rows, **columns: Any) -> Iterable[Row]:
    # Days have it themselves; an hour's is that of its subscription.
    if rows.column == "day":
        paid_in, earned = F("currency"), rows.found
    else:
        # What a provider tries itself earns nothing, and days leave it out already.
        paid_in, earned = (
            F("subscription__plan_version__currency"),
            rows.found.filter(subscription__own_use=False),
        )
    found: Iterable[Row] = earned.values(paid_in=paid_in, **columns).annotate(
        calls=Sum("requests"), used=Sum("charge"), fee=Value(0), kept=Sum("commission")
    )
    return found


def _sum_fees(fees: QuerySet[LedgerTransaction], **columns: Any) -> Iterable[Row]:
    kinds = LedgerAccount.Kind
    return fees.values(paid_in=F("period__plan_version__currency"), **columns).annotate(
        calls=Value(0),
        used=Value(0),
        fee=Sum("entries__amount", filter=Q(entries__account__kind=kinds.RECEIVABLE)),
        kept=-Sum("entries__amount", filter=Q(entries__account__kind=kinds.COMMISSION), default=0),
    )


def _sum_reversed(provider: Organisation, start: datetime, end: datetime, **columns: Any) -> Iterable[Row]:
    """Calls whose charge was credited to their consumers, when that was decided."""
    found = HeldEarning.objects.filter(
        provider=provider, state=HeldEarning.State.REVERSED, decided_at__gte=spans.bound(start),
        decided_at__lt=spans.bound(end),
    )  # fmt: skip
    return found.values(paid_in=F("currency"), **columns).annotate(
        calls=Value(0), used=-Sum("charge"), fee=Value(0), kept=-Sum("commission")
    )


def _group(sums: Iterable[Row], *, by: tuple[str, ...]) -> Groups:
    groups: Groups = defaultdict(list)
    for row in sums:
        groups[tuple(row[column] for column in by)].append(row)
    return groups


def _earned(rows: Iterable[Row]) -> Earned:
    sums: Counter[str] = Counter()
    currencies = set()
    for row in rows:
        currencies.add(row["paid_in"])
        sums.update({name: row[name] for name in ("calls", "used", "fee", "kept")})
    if len(currencies) > 1:
        raise MixedCurrencies(what="earnings", currencies=", ".join(sorted(currencies)))
    currency = next(iter(currencies), settings.CURRENCY)
    return Earned(
        requests=sums["calls"],
        usage=Money(sums["used"], currency),
        fees=Money(sums["fee"], currency),
        commission=Money(sums["kept"], currency),
    )
