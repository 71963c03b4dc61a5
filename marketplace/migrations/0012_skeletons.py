from django.db import migrations, models

# As `portal.kit.slugs.skeleton`. The first of those that look alike has the look; the others keep their slugs.
_FILL = """
    WITH looks AS (
        SELECT id, translate(lower(slug), '01i-_', 'oll') AS look,
            row_number() OVER (PARTITION BY organisation_id, translate(lower(slug), '01i-_', 'oll') ORDER BY id) AS place
        FROM marketplace_listing
    )
    UPDATE marketplace_listing listing SET skeleton = looks.look
    FROM looks WHERE looks.id = listing.id AND looks.place = 1 AND looks.look <> ''
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0011_takedowns")]

    operations = [
        migrations.AddField("listing", "skeleton", models.CharField(editable=False, max_length=64, null=True)),
        migrations.RunSQL(_FILL, migrations.RunSQL.noop),
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.AddConstraint(
            "listing", models.UniqueConstraint(fields=("organisation", "skeleton"), name="listing_skeleton_once")
        ),
    ]
