"""Files are read in `jobs` after their version is there; so its facts are final only from then on."""

from django.db import migrations, models

FACTS = "listing_id, number, digest, task, architecture, context_length, parameter_count, weight_bytes, memory_bytes"
OLD, NEW = (", ".join(f"{row}.{name}" for name in FACTS.split(", ")) for row in ("OLD", "NEW"))

FINAL = f"""
DROP TRIGGER version_is_final ON marketplace_version;
CREATE TRIGGER version_is_final BEFORE UPDATE ON marketplace_version
    FOR EACH ROW WHEN (
        (OLD.listing_id, OLD.number) IS DISTINCT FROM (NEW.listing_id, NEW.number)
        OR (({OLD}) IS DISTINCT FROM ({NEW}) AND (OLD.state <> 'checking' OR OLD.examined_at IS NOT NULL))
        OR (OLD.state <> 'checking' AND NEW.state <> OLD.state)
    ) EXECUTE FUNCTION marketplace_refuse_change();
UPDATE marketplace_version SET examined_at = created_at;
"""
AS_BEFORE = f"""
DROP TRIGGER version_is_final ON marketplace_version;
CREATE TRIGGER version_is_final BEFORE UPDATE ON marketplace_version
    FOR EACH ROW WHEN (
        ({OLD}) IS DISTINCT FROM ({NEW}) OR (OLD.state <> 'checking' AND NEW.state <> OLD.state)
    ) EXECUTE FUNCTION marketplace_refuse_change();
"""
class Migration(migrations.Migration):
    dependencies = [("marketplace", "0013_own_use")]
    operations = [
        migrations.AddField(
            "version",
            "examined_at",
            models.DateTimeField(
                null=True,
                blank=True,
                editable=False,
                help_text="When its files were read; from then on its facts are final.",
            ),
        ),
        migrations.RunSQL(FINAL, AS_BEFORE),
    ]
