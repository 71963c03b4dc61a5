"""What a server reported and text does not bear out is kept with its call."""

from django.db import migrations

ADD = "ALTER TABLE usage_event ADD COLUMN report jsonb"
REMOVE = "ALTER TABLE usage_event DROP COLUMN report"


class Migration(migrations.Migration):
    dependencies = [("billing", "0012_reason_of_failure")]
    operations = [migrations.RunSQL(ADD, REMOVE)]
