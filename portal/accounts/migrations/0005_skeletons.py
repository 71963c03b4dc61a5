from django.db import migrations, models

from portal.kit import slugs


def fill(apps, schema_editor):
    """The first of those that look alike has the look; the others keep their slugs."""
    organisations, looks = apps.get_model("accounts", "Organisation").objects.order_by("created_at", "pk"), set()
    batch = []
    for organisation in organisations.iterator():
        look = slugs.skeleton(organisation.slug)
        if look and look not in looks:
            looks.add(look)
            organisation.skeleton = look
            batch.append(organisation)
    organisations.model.objects.bulk_update(batch, ["skeleton"], batch_size=1000)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_suspension_and_holders")]

    operations = [
        migrations.AddField(
            "organisation", "skeleton", models.CharField(editable=False, max_length=64, null=True)
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AlterField(
            "organisation", "skeleton", models.CharField(editable=False, max_length=64, null=True, unique=True)
        ),
    ]
