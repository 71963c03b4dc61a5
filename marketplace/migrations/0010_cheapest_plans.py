"""Prices of listings are those of the plans that a subscriber really pays on."""

from django.conf import settings
from django.db import migrations

OFFERS = """
    SELECT DISTINCT ON (plan.id) plan.listing_id, plan.id AS plan_id, terms.id, terms.monthly_fee, terms.currency
    FROM marketplace_plan plan JOIN marketplace_planversion terms ON terms.plan_id = plan.id
    WHERE plan.archived_at IS NULL ORDER BY plan.id, terms.number DESC
"""
REFILL = f"""
WITH offers AS ({OFFERS}), prices AS (
    SELECT plan_version_id, least(ceil(coalesce(max(amount * 1000000.0 / per), 0)), 9e18)::bigint AS dearest,
        least(ceil(coalesce(max(amount * 1000000.0 / per) FILTER (WHERE meter LIKE '%%tokens'), 0)), 9e18)::bigint AS tokens,
        bool_or(amount IS NULL) AS ends, bool_or(amount > 0 AND meter NOT LIKE '%%tokens') AS others
    FROM marketplace_pricecomponent GROUP BY plan_version_id
), priced AS (
    SELECT offers.*, coalesce(prices.dearest, 0) AS dearest, coalesce(prices.tokens, 0) AS tokens,
        monthly_fee = 0 AND coalesce(prices.dearest, 0) = 0 AND coalesce(prices.ends, false) AS ends,
        coalesce(prices.others, false) AS others
    FROM offers LEFT JOIN prices ON prices.plan_version_id = offers.id WHERE currency = %s
), cheapest AS (
    SELECT DISTINCT ON (listing_id) listing_id, monthly_fee, dearest,
        CASE WHEN tokens > 0 OR NOT others THEN tokens END AS tokens
    FROM priced ORDER BY listing_id, ends, monthly_fee, dearest, plan_id
)
UPDATE marketplace_figures figures
SET monthly_fee = cheapest.monthly_fee, unit_price = cheapest.dearest, token_rate = cheapest.tokens
FROM marketplace_listing listing LEFT JOIN cheapest ON cheapest.listing_id = listing.id
WHERE listing.id = figures.listing_id
    AND (figures.monthly_fee, figures.unit_price, figures.token_rate)
        IS DISTINCT FROM (cheapest.monthly_fee, cheapest.dearest, cheapest.tokens)
"""  # noqa: S608 (constants of this module)


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0009_rendered_cards")]
    operations = [migrations.RunSQL([(REFILL, [settings.CURRENCY])], migrations.RunSQL.noop)]
