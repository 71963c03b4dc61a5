from django.db import migrations

# Few calls fail, so the log of an organisation's failed ones would read all of its calls to find a page of them.
ADD = "CREATE INDEX usage_event_failed ON usage_event (organisation_id, id) WHERE outcome = 'failed'"
REMOVE = "DROP INDEX usage_event_failed"


class Migration(migrations.Migration):

    dependencies = [
        ('billing', '0007_rollup_by_hour'),
    ]

    operations = [migrations.RunSQL(ADD, REMOVE)]
