"""Draft invoices: what a subscriber would owe for the periods that run at a moment. Reads rated lines."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Count, Sum

from billing import periods, rating
from billing.errors import MixedCurrencies
from billing.models import BillingPeriod, HeldEarning, RatedLine
from billing.rating import Price
from marketplace.models import Meter, PlanVersion, PriceComponent, Subscription
from portal.accounts.models import Organisation
from portal.kit import ids
from portal.kit.money import Money

FEE, CREDIT = "fee", "credit"
# Calls of a period have ids of its days, give or take the clocks of the web processes.
_AROUND = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftLine:
    """The flat fee (`meter` "fee", quantity 1) or one priced meter: `quantity` units of which `included`
    were free at most; the rest cost `unit_price` per `per` units. No unit price: a hard stop. Or what was credited of
    as many calls (`meter` "credit"), whose amount is negative.
    """

    meter: str
    label: str
    quantity: int
    included: int
    unit_price: Money | None
    per: int
    amount: Money

    @property
    def rate(self) -> Fraction | None:
        """The exact price of one unit beyond the included ones, in micro-minor units; None for a hard stop."""
        return Fraction(self.unit_price.amount, self.per) if self.unit_price else None


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftSection:
    """One subscription's running period."""

    subscription_id: UUID
    listing: str
    plan: str
    starts: datetime
    ends: datetime
    lines: tuple[DraftLine, ...]
    total: Money


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftInvoice:
    """What the organisation would owe if its running periods ended now."""

    organisation: Organisation
    at: datetime
    sections: tuple[DraftSection, ...]
    total: Money


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Units and charge of a meter, from the events alone."""

    units: int
    charge: int


def draft(organisation: Organisation, at: datetime) -> DraftInvoice:
    """The draft of `at`: live subscriptions and those that ended in their running period.

    Raises `MixedCurrencies` if their plans are priced in several.
    """
    running = periods.running(organisation, at)
    credits = _credits(running.values())
    sections = tuple(
        _section(subscription, running.get(subscription.pk), at, credits)
        for subscription in _billed(organisation, at)
    )
    return DraftInvoice(organisation=organisation, at=at, sections=sections, total=_total(sections))


def rebuild(period: BillingPeriod) -> dict[str, Rebuilt]:
    """The period's rated lines once more, re-rated from its events at the places that they took.

    Where all events have arrived these are the stored lines, and R of their units is their charge.
    """
    prices = {row.meter: Price(row.included, row.amount, row.per) for row in _components(period.plan_version)}
    lines: dict[str, Rebuilt] = {}
    for meter, position, units in _rated_events(period):
        known = lines.get(meter, Rebuilt(0, 0))
        charge = rating.charge(prices[meter], already=position, more=units)
        lines[meter] = Rebuilt(known.units + units, known.charge + charge)
    return lines


def _billed(organisation: Organisation, at: datetime) -> Iterable[Subscription]:
    found = Subscription.objects.filter(organisation=organisation, started_at__lte=at, own_use=False)
    found = found.select_related("listing__organisation", "plan_version__plan")
    for subscription in found.prefetch_related("plan_version__components").order_by("started_at"):
        starts, _ = periods.bounds(subscription, at)
        if subscription.ended_at is None or subscription.ended_at > starts:
            yield subscription


def _section(
    subscription: Subscription,
    period: BillingPeriod | None,
    at: datetime,
    credits: Mapping[UUID, tuple[int, int]],
) -> DraftSection:
    starts, ends = (period.starts, period.ends) if period else periods.bounds(subscription, at)
    terms = period.plan_version if period else subscription.plan_version
    rated = {line.meter: line for line in period.lines.all()} if period else {}
    lines = tuple(_fee(terms)) + tuple(_line(row, rated.get(row.meter), terms) for row in _components(terms))
    if period and period.pk in credits:
        lines += (_credit(*credits[period.pk], terms=terms),)
    total = Money(sum(line.amount.amount for line in lines), terms.currency)
    return DraftSection(
        subscription_id=subscription.pk, listing=subscription.listing.path, plan=terms.plan.name,
        starts=starts, ends=ends, lines=lines, total=total,
    )  # fmt: skip


def _fee(terms: PlanVersion) -> Iterable[DraftLine]:
    if terms.monthly_fee:
        fee = Money(terms.monthly_fee, terms.currency)
        yield DraftLine(
            meter=FEE, label="Monthly fee", quantity=1, included=0, unit_price=fee, per=1, amount=fee
        )


def _line(component: PriceComponent, rated: RatedLine | None, terms: PlanVersion) -> DraftLine:
    priced = component.amount is not None
    return DraftLine(
        meter=component.meter,
        label=str(Meter(component.meter).label),
        quantity=rated.units if rated else 0,
        included=component.included,
        unit_price=Money(component.amount or 0, terms.currency) if priced else None,
        per=component.per,
        amount=Money(rated.charge if rated else 0, terms.currency),
    )


def _credits(running: Iterable[BillingPeriod]) -> Mapping[UUID, tuple[int, int]]:
    """Of each of these periods: how many calls were credited, and their charges together."""
    found = HeldEarning.objects.filter(period__in=list(running), state=HeldEarning.State.REVERSED)
    sums = found.values_list("period_id").annotate(Count("id"), Sum("charge"))
    return {period: (calls, charge) for period, calls, charge in sums}


def _credit(calls: int, charge: int, *, terms: PlanVersion) -> DraftLine:
    return DraftLine(
        meter=CREDIT, label="Credited calls", quantity=calls, included=0, unit_price=None, per=1,
        amount=Money(-charge, terms.currency),
    )  # fmt: skip


def _components(terms: PlanVersion) -> Iterable[PriceComponent]:
    return sorted(terms.components.all(), key=lambda component: component.meter)


def _total(sections: Iterable[DraftSection]) -> Money:
    totals = [section.total for section in sections]
    currencies = sorted({total.currency for total in totals})
    if len(currencies) > 1:
        raise MixedCurrencies(what="the draft invoice", currencies=", ".join(currencies))
    return Money(sum(total.amount for total in totals), currencies[0] if currencies else settings.CURRENCY)


def _rated_events(period: BillingPeriod) -> Iterable[tuple[str, int, int]]:
    with connection.cursor() as cursor:
        cursor.execute(
            """SELECT line.key, (line.value->>0)::bigint, (line.value->>1)::bigint
            FROM usage_event event, jsonb_each(event.rated) line
            WHERE event.organisation_id = %s AND event.period_id = %s AND event.id >= %s AND event.id < %s
            ORDER BY 1, 2""",
            [
                period.subscription.organisation_id,
                period.pk,
                ids.first_at(period.starts - _AROUND),
                ids.first_at(period.ends + _AROUND),
            ],
        )
        yield from cursor.fetchall()
