"""The organisation on whose account anonymous visitors try a listing's free plan."""

from django.db import migrations


def create(apps, schema_editor):
    apps.get_model("accounts", "Organisation").objects.get_or_create(
        slug="visitors", defaults={"name": "Visitors", "kind": "company"}
    )


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
