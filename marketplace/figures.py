"""Keeping a listing's size and prices where the catalogue sorts by them."""

from uuid import UUID

from django.conf import settings
from django.db import connection

# The latest version of each open plan is what a new subscriber may choose.
_REFRESH = """
    WITH offers AS (
        SELECT DISTINCT ON (plan.id) plan.listing_id, terms.id, terms.monthly_fee, terms.currency
        FROM marketplace_plan plan JOIN marketplace_planversion terms ON terms.plan_id = plan.id
        WHERE plan.listing_id = %(listing)s AND plan.archived_at IS NULL
        ORDER BY plan.id, terms.number DESC
    ), priced AS (
        SELECT offers.id, monthly_fee, currency, least(floor(coalesce(sum(amount * 1000000.0 / per), 0)), 9e18)::bigint AS unit_price,
            least(ceil(max(coalesce(amount, 0) * 1000000.0 / per)
            FILTER (WHERE meter IN ('input_tokens', 'cached_tokens', 'output_tokens'))), 9e18)::bigint AS dearest
        FROM offers LEFT JOIN marketplace_pricecomponent component ON component.plan_version_id = offers.id
        GROUP BY offers.id, monthly_fee, currency
    ), cheapest AS (
        SELECT monthly_fee, unit_price FROM priced ORDER BY monthly_fee, unit_price LIMIT 1
    )
    INSERT INTO marketplace_figures (listing_id, parameter_count, monthly_fee, unit_price, token_rate, calls)
    SELECT listing.id, coalesce(version.parameter_count, 0), cheapest.monthly_fee, cheapest.unit_price,
        (SELECT min(dearest) FROM priced WHERE currency = %(currency)s), 0
    FROM marketplace_listing listing LEFT JOIN marketplace_version version ON version.id = listing.current_version_id
    LEFT JOIN cheapest ON true
    WHERE listing.id = %(listing)s
    ON CONFLICT (listing_id) DO UPDATE SET parameter_count = excluded.parameter_count,
        monthly_fee = excluded.monthly_fee, unit_price = excluded.unit_price, token_rate = excluded.token_rate
"""


def refresh(listing_id: UUID) -> None:
    """After anything that changes a listing's current version or open plans."""
    with connection.cursor() as cursor:
        cursor.execute(_REFRESH, {"listing": listing_id, "currency": settings.CURRENCY})
