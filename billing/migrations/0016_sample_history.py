"""Of each day's calls, how many are sample history. Those that are there are found once among the events."""

from django.db import migrations, models

# One row of a day may stand for several shards: any of them will do.
FILL = """
    UPDATE billing_dailyusage daily SET sample = found.calls FROM (
        SELECT min(kept.id) AS id, sum(DISTINCT seen.calls) AS calls
        FROM (
            SELECT organisation_id, subscription_id, listing_id, version_id, api_key_id,
                date_trunc('day', finished_at, 'UTC') AS day, sum(requests) AS calls
            FROM usage_event WHERE demo AND outcome <> 'failed' GROUP BY 1, 2, 3, 4, 5, 6
        ) seen JOIN billing_dailyusage kept ON kept.organisation_id = seen.organisation_id AND kept.day = seen.day
            AND kept.subscription_id = seen.subscription_id AND kept.listing_id = seen.listing_id
            AND kept.version_id = seen.version_id AND kept.api_key_id IS NOT DISTINCT FROM seen.api_key_id
        GROUP BY kept.organisation_id, kept.day, kept.subscription_id, kept.listing_id, kept.version_id, kept.api_key_id
    ) found WHERE found.id = daily.id
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0015_event_retention")]
    operations = [
        migrations.AddField("dailyusage", "sample", models.BigIntegerField(default=0, db_default=0)),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
