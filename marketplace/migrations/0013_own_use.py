"""A subscription by which a provider's organisation tries its own listing, beside one that it may have bought."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0012_skeletons")]
    operations = [
        migrations.AddField("plan", "own_use", models.BooleanField(default=False, db_default=False, editable=False)),
        migrations.AddField("subscription", "own_use", models.BooleanField(default=False, db_default=False, editable=False)),
        migrations.RemoveConstraint("subscription", "one_live_subscription"),
        migrations.AddConstraint(
            "subscription",
            models.UniqueConstraint(
                condition=models.Q(ended_at=None, own_use=False), fields=("organisation", "listing"),
                name="one_live_subscription",
            ),
        ),
        migrations.AddConstraint(
            "subscription",
            models.UniqueConstraint(condition=models.Q(own_use=True), fields=("listing",), name="one_own_use"),
        ),
    ]  # fmt: skip
