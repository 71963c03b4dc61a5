"""What listings have earned so far. By itself: rows cannot come in the transaction that makes their keys."""

from django.db import migrations

FILL = """
INSERT INTO billing_earnedday (listing_id, day, currency, shard, requests, charge, commission)
SELECT usage.listing_id, usage.day, terms.currency, usage.shard, sum(usage.requests), sum(usage.charge), sum(usage.commission)
FROM billing_dailyusage usage JOIN marketplace_subscription subscription ON subscription.id = usage.subscription_id
JOIN marketplace_planversion terms ON terms.id = subscription.plan_version_id
GROUP BY 1, 2, 3, 4
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0010_earned_days"), ("marketplace", "0005_catalogue_orders")]
    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
