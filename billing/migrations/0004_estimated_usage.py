"""Usage that a remote server did not report is counted by us, and says so."""

from django.db import migrations

ADD = "ALTER TABLE usage_event ADD COLUMN estimated boolean NOT NULL DEFAULT false"
REMOVE = "ALTER TABLE usage_event DROP COLUMN estimated"


class Migration(migrations.Migration):
    dependencies = [("billing", "0003_budgets_of_keys")]
    operations = [migrations.RunSQL(ADD, REMOVE)]
