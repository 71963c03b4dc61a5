"""Indexes of their own for the words of the newest and most called listings, which searches look at first.

Listings that are there already become prominent when `marketplace.prominence` next looks; until then searches go
through the whole catalogue, as before.
"""

from django.db import migrations, models

# Without a list of pending entries, which every search would have to read to its end.
INDEX = """
CREATE INDEX marketplace_listing_prominent ON marketplace_listing USING gin (search) WITH (fastupdate = off)
    WHERE prominent AND published_at IS NOT NULL AND withdrawn_at IS NULL;
CREATE INDEX marketplace_listing_prominent_headline ON marketplace_listing USING gin (headline) WITH (fastupdate = off)
    WHERE prominent AND published_at IS NOT NULL AND withdrawn_at IS NULL;
-- For whoever runs the release before this one, for a moment yet.
ALTER TABLE marketplace_listing ALTER COLUMN prominent SET DEFAULT true;
"""
UNINDEX = """
ALTER TABLE marketplace_listing ALTER COLUMN prominent DROP DEFAULT;
DROP INDEX marketplace_listing_prominent, marketplace_listing_prominent_headline;
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0006_headline")]
    operations = [
        migrations.AddField("listing", "prominent", models.BooleanField(default=False, editable=False)),
        migrations.AlterField("listing", "prominent", models.BooleanField(default=True, editable=False)),
        migrations.RunSQL(INDEX, UNINDEX),
    ]
