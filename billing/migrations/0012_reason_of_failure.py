"""Why a call failed, where its finish reason does not say. Constant default: no row is written."""

from django.db import migrations

ADD = "ALTER TABLE usage_event ADD COLUMN reason varchar(32) NOT NULL DEFAULT ''"
REMOVE = "ALTER TABLE usage_event DROP COLUMN reason"


class Migration(migrations.Migration):
    dependencies = [("billing", "0011_fill_earned_days")]
    operations = [migrations.RunSQL(ADD, REMOVE)]
