"""What narrows and sorts the catalogue besides the listings' own facts: prices, and what their calls were like."""

from datetime import timedelta
from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.db.models import (
    BigIntegerField,
    DecimalField,
    Exists,
    F,
    FloatField,
    OuterRef,
    QuerySet,
    Subquery,
    Sum,
    Value,
)
from django.db.models.expressions import RawSQL
from django.db.models.functions import Coalesce

from billing.models import UsageRollup
from marketplace.models import Listing, Meter, Plan, PlanVersion, PriceComponent
from portal.dashboard.performance import DAYS, IS_TIMED, SPEED
from portal.kit import clock, ids
from portal.kit.money import from_major

POPULAR_DAYS = 30
# So many of a listing's newest calls are measured, and fewer than the least say nothing.
NEWEST_CALLS = 50
FEWEST_CALLS = 5
TOKENS = (Meter.INPUT_TOKENS, Meter.CACHED_TOKENS, Meter.OUTPUT_TOKENS)
# Exact, and wide enough for the largest price times a million.
RATE = DecimalField(max_digits=60, decimal_places=12)
NOTHING = Value(Decimal(0), RATE)


def read_price(text: str) -> Decimal | None:
    """A price in whole units of the site's currency, such as "0.15"; None if it is not one."""
    try:
        price = Decimal(text)
        from_major(price, settings.CURRENCY)
    except (InvalidOperation, ValueError, OverflowError):
        return None
    return price if 0 <= price < 10**6 else None


def costing_at_most(found: QuerySet[Listing], price: Decimal) -> QuerySet[Listing]:
    """Listings with an open plan whose every price of tokens is `price` per million or less; 0 asks for a free
    plan, which costs nothing whatever it counts.
    """
    if not price:
        return found.filter(
            Exists(Plan.objects.filter(listing=OuterRef("pk"), kind="free", archived_at=None))
        )
    most = from_major(price, settings.CURRENCY).amount
    priced = PriceComponent.objects.filter(plan_version=OuterRef("pk"), meter__in=TOKENS)
    exact = F("amount") * Value(Decimal(1_000_000), RATE) / F("per")
    dearer = priced.annotate(rate=Coalesce(exact, NOTHING, output_field=RATE)).filter(rate__gt=most)
    offers = _offers().filter(Exists(priced), ~Exists(dearer), currency=settings.CURRENCY)
    return found.filter(Exists(offers))


def cheapest_first(found: QuerySet[Listing]) -> QuerySet[Listing]:
    """By monthly fee and then by the sum of the unit prices of the cheapest open plan; without a plan last."""
    exact = F("components__amount") * Value(Decimal(1), RATE) / F("components__per")
    units = Coalesce(Sum(exact, output_field=RATE), NOTHING)
    offers = _offers().annotate(units=units).order_by("monthly_fee", "units")
    priced = found.annotate(
        fee=Subquery(offers.values("monthly_fee")[:1]), units=Subquery(offers.values("units")[:1])
    )
    return priced.order_by(F("fee").asc(nulls_last=True), "units", "-published_at", "-id")


def with_calls(found: QuerySet[Listing]) -> QuerySet[Listing]:
    """Each with `calls`: how many were answered in the last 30 days."""
    since = clock.now() - timedelta(days=POPULAR_DAYS)
    hours = UsageRollup.objects.filter(listing=OuterRef("pk"), hour__gte=since).order_by().values("listing")
    calls = Subquery(hours.annotate(n=Sum("requests")).values("n"), output_field=BigIntegerField())
    return found.annotate(calls=Coalesce(calls, 0))


def most_called_first(found: QuerySet[Listing]) -> QuerySet[Listing]:
    """For listings `with_calls`."""
    return found.order_by(F("calls").desc(), "-published_at", "-id")


def with_speed(found: QuerySet[Listing]) -> QuerySet[Listing]:
    """Each with `speed` (tokens per second, where it generates) and `ttft_ms` (to the whole answer where it does
    not): medians of its newest calls of the last week; None where too few were answered.
    """
    return found.annotate(speed=_median(SPEED, IS_TIMED), ttft_ms=_median("ttft_ms", "outcome = 'succeeded'"))


def fastest_first(found: QuerySet[Listing]) -> QuerySet[Listing]:
    """For listings `with_speed`: most tokens a second, those without a measurement last."""
    return found.order_by(F("speed").desc(nulls_last=True), "-published_at", "-id")


def soonest_first(found: QuerySet[Listing]) -> QuerySet[Listing]:
    """For listings `with_speed`: shortest time to the first token, those without a measurement last."""
    return found.order_by(F("ttft_ms").asc(nulls_last=True), "-published_at", "-id")


def _median(measure: str, counted: str) -> RawSQL:
    """Of the newest calls alone, read from the end of the listing's own index: the same for one call or millions."""
    since = ids.first_at(clock.now() - timedelta(days=DAYS))
    sql = f"""(
        SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {measure})
        FROM (
            SELECT outcome, output_tokens, ttft_ms, latency_ms FROM usage_event
            WHERE listing_id = "marketplace_listing"."id" AND id >= %s ORDER BY id DESC LIMIT %s
        ) newest
        WHERE {counted} HAVING count(*) >= %s
    )"""  # noqa: S608 (constants of ours)
    return RawSQL(sql, [since, NEWEST_CALLS, FEWEST_CALLS], output_field=FloatField())  # noqa: S611


def _offers() -> QuerySet[PlanVersion]:
    """What a new subscriber of the outer listing may choose: the latest version of each open plan."""
    later = PlanVersion.objects.filter(plan=OuterRef("plan"), number__gt=OuterRef("number"))
    mine = PlanVersion.objects.filter(plan__listing=OuterRef("pk"), plan__archived_at=None)
    return mine.filter(~Exists(later))
