"""Cards as HTML beside their text. `marketplace.rebuild_cards` makes those of listings that are there already."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0008_hidden_reasoning")]
    operations = [
        migrations.AddField(
            "listing", "card_html", models.TextField(blank=True, default="", db_default="", editable=False)
        ),
        migrations.AddField(
            "listing",
            "card_renderer",
            models.PositiveSmallIntegerField(default=0, db_default=0, editable=False, db_index=True),
        ),
    ]
