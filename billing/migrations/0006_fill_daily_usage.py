"""Days of the usage that there is already. By itself: rows cannot come in the transaction that makes their keys."""

from django.db import migrations

FILL = """
INSERT INTO billing_dailyusage (organisation_id, subscription_id, listing_id, version_id, api_key_id, day, shard, requests,
    failed, input_tokens, output_tokens, cached_tokens, images, compute_ms, charge, commission)
SELECT organisation_id, subscription_id, listing_id, version_id, api_key_id, date_trunc('day', hour, 'UTC'), shard,
    sum(requests), sum(failed), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(images), sum(compute_ms),
    sum(charge), sum(commission)
FROM billing_usagerollup GROUP BY 1, 2, 3, 4, 5, 6, 7
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_daily_usage")]
    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
