import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

# A withdrawal by somebody who may administer the site and is no member of the provider's was a takedown.
_TELL_APART = """
    UPDATE marketplace_listing listing
    SET taken_down_at = withdrawn_at, taken_down_by_id = withdrawn_by_id, taken_down_reason = withdrawn_reason,
        withdrawn_at = NULL, withdrawn_by_id = NULL, withdrawn_reason = ''
    FROM accounts_user operator
    WHERE operator.id = listing.withdrawn_by_id AND operator.is_staff AND (
        listing.withdrawn_reason = 'Withdrawn by the operator.' OR NOT EXISTS (
            SELECT FROM accounts_membership member
            WHERE member.organisation_id = listing.organisation_id AND member.user_id = operator.id
        )
    )
"""

_ORDERS = {
    "live": "published_at DESC, id DESC",
    "by_name": "name, id",
    "by_task": "task, published_at DESC, id DESC",
    "by_licence": "licence, published_at DESC, id DESC",
}


def _index(condition):
    """The indexes of the catalogue's orders, over the listings that it shows."""
    return "\n".join(
        f"DROP INDEX marketplace_listing_{name};\n"
        f"CREATE INDEX marketplace_listing_{name} ON marketplace_listing ({keys}) WHERE {condition};"
        for name, keys in _ORDERS.items()
    )


_SHOWN_BEFORE = "published_at IS NOT NULL AND withdrawn_at IS NULL"
_SHOWN = f"{_SHOWN_BEFORE} AND taken_down_at IS NULL"


class Migration(migrations.Migration):
    dependencies = [
        ("marketplace", "0010_cheapest_plans"),
        ("accounts", "0004_suspension_and_holders"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField("listing", "taken_down_at", models.DateTimeField(blank=True, null=True)),
        migrations.AddField(
            "listing", "taken_down_by",
            models.ForeignKey(
                blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AddField(
            "listing", "taken_down_reason", models.CharField(blank=True, db_default="", default="", max_length=240)
        ),
        migrations.RunSQL(_TELL_APART, migrations.RunSQL.noop),
        migrations.RunSQL("SET CONSTRAINTS ALL IMMEDIATE", migrations.RunSQL.noop),
        migrations.RunSQL(_index(_SHOWN), _index(_SHOWN_BEFORE)),
    ]
