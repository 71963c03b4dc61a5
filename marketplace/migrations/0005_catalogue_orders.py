"""Figures of the listings that are there already, and an index for each order and filter of the catalogue."""

from django.conf import settings
from django.db import migrations

INDEXES = """
CREATE INDEX marketplace_listing_by_name ON marketplace_listing (name, id)
    WHERE published_at IS NOT NULL AND withdrawn_at IS NULL;
CREATE INDEX marketplace_listing_by_task ON marketplace_listing (task, published_at DESC, id DESC)
    WHERE published_at IS NOT NULL AND withdrawn_at IS NULL;
CREATE INDEX marketplace_listing_by_licence ON marketplace_listing (licence, published_at DESC, id DESC)
    WHERE published_at IS NOT NULL AND withdrawn_at IS NULL;
CREATE INDEX marketplace_listing_by_tag ON marketplace_listing USING gin (tags);
CREATE INDEX marketplace_listing_by_language ON marketplace_listing USING gin (languages);
"""
UNINDEX = """
DROP INDEX marketplace_listing_by_name, marketplace_listing_by_task, marketplace_listing_by_licence,
    marketplace_listing_by_tag, marketplace_listing_by_language;
"""

FILL = """
WITH offers AS (
    SELECT DISTINCT ON (plan.id) plan.listing_id, terms.id, terms.monthly_fee, terms.currency
    FROM marketplace_plan plan JOIN marketplace_planversion terms ON terms.plan_id = plan.id
    WHERE plan.archived_at IS NULL ORDER BY plan.id, terms.number DESC
), priced AS (
    SELECT offers.id, listing_id, monthly_fee, currency, least(floor(coalesce(sum(amount * 1000000.0 / per), 0)), 9e18)::bigint AS unit_price,
        least(ceil(max(coalesce(amount, 0) * 1000000.0 / per)
            FILTER (WHERE meter IN ('input_tokens', 'cached_tokens', 'output_tokens'))), 9e18)::bigint AS dearest
    FROM offers LEFT JOIN marketplace_pricecomponent component ON component.plan_version_id = offers.id
    GROUP BY offers.id, listing_id, monthly_fee, currency
), cheapest AS (
    SELECT DISTINCT ON (listing_id) listing_id, monthly_fee, unit_price FROM priced
    ORDER BY listing_id, monthly_fee, unit_price
), rates AS (
    SELECT listing_id, min(dearest) AS rate FROM priced WHERE currency = %s GROUP BY listing_id
)
INSERT INTO marketplace_figures (listing_id, parameter_count, monthly_fee, unit_price, token_rate, calls)
SELECT listing.id, coalesce(version.parameter_count, 0), cheapest.monthly_fee, cheapest.unit_price, rates.rate, 0
FROM marketplace_listing listing LEFT JOIN marketplace_version version ON version.id = listing.current_version_id
LEFT JOIN cheapest ON cheapest.listing_id = listing.id LEFT JOIN rates ON rates.listing_id = listing.id
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0004_figures")]
    operations = [
        migrations.RunSQL(INDEXES, UNINDEX),
        migrations.RunSQL([(FILL, [settings.CURRENCY])], migrations.RunSQL.noop),
    ]
