"""What a listing is called and said to be, without its card: ranking reads it for every match, and finds it in the row.

The whole of `search` lies elsewhere in the table (TOAST), and fetching it took most of a search for a common word.
"""

from django.db import migrations

ADD = """
ALTER TABLE marketplace_listing ADD COLUMN headline tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector('simple', name || ' ' || replace(slug, '-', ' ')), 'A')
    || setweight(array_to_tsvector(array_remove(tags::text[], '')), 'B')
    || setweight(to_tsvector('simple', summary), 'B')
    || setweight(to_tsvector('english', summary), 'C')
) STORED;
"""
REMOVE = "ALTER TABLE marketplace_listing DROP COLUMN headline;"


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0005_catalogue_orders")]
    operations = [migrations.RunSQL(ADD, REMOVE)]
