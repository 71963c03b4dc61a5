"""Keeping a listing's size and prices where the catalogue sorts by them.

A listing's price is that of its cheapest open plan: without a monthly fee before with one, then by its dearest price of
a million units. A free plan that ends at its included units counts only where nothing else is sold, since whoever needs
more pays for it. `cheapest` says the same of plans at hand; a test holds the two together.
"""

from collections.abc import Iterable
from uuid import UUID

from django.conf import settings
from django.db import connection

from marketplace.models import PlanVersion, PriceComponent

PER = 1_000_000
_MOST = 9 * 10**18

# The latest version of each open plan is what a new subscriber may choose.
OFFERS = """
    SELECT DISTINCT ON (plan.id) plan.listing_id, plan.id AS plan_id, terms.id, terms.monthly_fee, terms.currency
    FROM marketplace_plan plan JOIN marketplace_planversion terms ON terms.plan_id = plan.id
    WHERE plan.archived_at IS NULL {only} ORDER BY plan.id, terms.number DESC
"""
PRICED = """
    SELECT offers.*, coalesce(prices.dearest, 0) AS dearest, coalesce(prices.tokens, 0) AS tokens,
        monthly_fee = 0 AND coalesce(prices.dearest, 0) = 0 AND coalesce(prices.ends, false) AS ends,
        coalesce(prices.others, false) AS others
    FROM offers LEFT JOIN LATERAL (
        SELECT least(ceil(coalesce(max(amount * 1000000.0 / per), 0)), 9e18)::bigint AS dearest,
            least(ceil(coalesce(max(amount * 1000000.0 / per) FILTER (WHERE meter LIKE '%%tokens'), 0)), 9e18)::bigint AS tokens,
            bool_or(amount IS NULL) AS ends, bool_or(amount > 0 AND meter NOT LIKE '%%tokens') AS others
        FROM marketplace_pricecomponent component WHERE component.plan_version_id = offers.id
    ) prices ON true
    WHERE currency = %(currency)s
"""
# What is priced by pictures or requests alone has no price of tokens.
CHEAPEST = """
    SELECT DISTINCT ON (listing_id) listing_id, monthly_fee, dearest,
        CASE WHEN tokens > 0 OR NOT others THEN tokens END AS tokens
    FROM priced ORDER BY listing_id, ends, monthly_fee, dearest, plan_id
"""
_REFRESH = f"""
    WITH offers AS ({OFFERS.format(only="AND plan.listing_id = %(listing)s")}), priced AS ({PRICED}),
    cheapest AS ({CHEAPEST})
    INSERT INTO marketplace_figures (listing_id, parameter_count, monthly_fee, unit_price, token_rate, calls)
    SELECT listing.id, coalesce(version.parameter_count, 0), cheapest.monthly_fee, cheapest.dearest, cheapest.tokens, 0
    FROM marketplace_listing listing LEFT JOIN marketplace_version version ON version.id = listing.current_version_id
    LEFT JOIN cheapest ON cheapest.listing_id = listing.id
    WHERE listing.id = %(listing)s
    ON CONFLICT (listing_id) DO UPDATE SET parameter_count = excluded.parameter_count,
        monthly_fee = excluded.monthly_fee, unit_price = excluded.unit_price, token_rate = excluded.token_rate
"""  # noqa: S608 (constants of this module)


def refresh(listing_id: UUID) -> None:
    """After anything that changes a listing's current version or open plans."""
    with connection.cursor() as cursor:
        cursor.execute(_REFRESH, {"listing": listing_id, "currency": settings.CURRENCY})


def cheapest(offers: Iterable[PlanVersion]) -> PlanVersion | None:
    """The plan whose price is the listing's, of the latest versions of its open ones, their components loaded."""
    paid_here = [offer for offer in offers if offer.currency == settings.CURRENCY]
    return min(paid_here, key=_dearness, default=None)


def ends(offer: PlanVersion) -> bool:
    """Whether the plan is free and calls stop where its included units do."""
    components = list(offer.components.all())
    sells = bool(offer.monthly_fee) or any(each.amount for each in components)
    return not sells and any(each.amount is None for each in components)


def _dearness(offer: PlanVersion) -> tuple[bool, int, int, UUID]:
    dearest = max((_per_million(each) for each in offer.components.all()), default=0)
    return ends(offer), offer.monthly_fee, dearest, offer.plan_id


def _per_million(component: PriceComponent) -> int:
    return min(-(-(component.amount or 0) * PER // component.per), _MOST)
