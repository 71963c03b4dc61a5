"""Reversals: events with negative units. What adds events up may be negative until the event that is reversed is in."""

from django.db import migrations

METERS = ("requests", "input_tokens", "output_tokens", "cached_tokens", "images", "compute_ms", "charge")
# New checks are not held against old rows: what they were held against is stricter.
ALLOW = f"""
ALTER TABLE usage_event
    {"".join(f"DROP CONSTRAINT usage_event_{meter}_check, " for meter in METERS)}
    DROP CONSTRAINT usage_event_outcome_check,
    ADD CONSTRAINT usage_event_outcome_check
        CHECK (outcome IN ('succeeded', 'cancelled', 'failed', 'reversed')) NOT VALID,
    ADD CONSTRAINT reversals_alone_are_negative CHECK (
        CASE outcome WHEN 'reversed' THEN greatest({", ".join(METERS)}) <= 0 ELSE least({", ".join(METERS)}) >= 0 END
    ) NOT VALID
"""
REFUSE = f"""
ALTER TABLE usage_event DROP CONSTRAINT reversals_alone_are_negative, DROP CONSTRAINT usage_event_outcome_check,
    {", ".join(f"ADD CONSTRAINT usage_event_{meter}_check CHECK ({meter} >= 0) NOT VALID" for meter in METERS)},
    ADD CONSTRAINT usage_event_outcome_check CHECK (outcome IN ('succeeded', 'cancelled', 'failed')) NOT VALID
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0016_sample_history")]
    operations = [
        migrations.RunSQL(ALLOW, REFUSE),
        migrations.RemoveConstraint(model_name="ratedline", name="rated_line_not_negative"),
        migrations.RemoveConstraint(model_name="keyday", name="key_day_not_negative"),
    ]
