import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models import F


def hold_own_keys(apps, schema_editor):
    """Whoever made a key has answered for it so far."""
    apps.get_model("accounts", "ApiKey").objects.update(holder=F("created_by"))


def user(**kwargs):
    return models.ForeignKey(
        on_delete=django.db.models.deletion.PROTECT, to=settings.AUTH_USER_MODEL, **kwargs
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_limits_of_keys_and_organisations")]

    operations = [
        migrations.AddField("organisation", "suspended_by", user(blank=True, null=True, related_name="+")),
        migrations.AddField("organisation", "suspended_reason", models.CharField(blank=True, db_default="", default="", max_length=240)),
        migrations.AddField("apikey", "holder", user(null=True, related_name="held_keys")),
        migrations.RunPython(hold_own_keys, migrations.RunPython.noop),
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AlterField("apikey", "holder", user(related_name="held_keys")),
    ]
