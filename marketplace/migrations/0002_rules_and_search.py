"""What the database itself guarantees: published terms and releases never change; and the search column."""

from django.db import migrations

FREEZE = """
CREATE FUNCTION marketplace_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is published and never changes', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TRIGGER plan_version_is_final BEFORE UPDATE OR DELETE ON marketplace_planversion
    FOR EACH ROW EXECUTE FUNCTION marketplace_refuse_change();
CREATE TRIGGER price_component_is_final BEFORE UPDATE OR DELETE ON marketplace_pricecomponent
    FOR EACH ROW EXECUTE FUNCTION marketplace_refuse_change();
CREATE TRIGGER version_file_is_final BEFORE UPDATE OR DELETE ON marketplace_versionfile
    FOR EACH ROW EXECUTE FUNCTION marketplace_refuse_change();
CREATE TRIGGER version_is_final BEFORE UPDATE ON marketplace_version
    FOR EACH ROW WHEN (
        (OLD.listing_id, OLD.number, OLD.digest, OLD.task, OLD.architecture, OLD.context_length,
         OLD.parameter_count, OLD.weight_bytes, OLD.memory_bytes)
        IS DISTINCT FROM
        (NEW.listing_id, NEW.number, NEW.digest, NEW.task, NEW.architecture, NEW.context_length,
         NEW.parameter_count, NEW.weight_bytes, NEW.memory_bytes)
        OR (OLD.state <> 'checking' AND NEW.state <> OLD.state)
    ) EXECUTE FUNCTION marketplace_refuse_change();
"""

THAW = """
DROP TRIGGER version_is_final ON marketplace_version;
DROP TRIGGER version_file_is_final ON marketplace_versionfile;
DROP TRIGGER price_component_is_final ON marketplace_pricecomponent;
DROP TRIGGER plan_version_is_final ON marketplace_planversion;
DROP FUNCTION marketplace_refuse_change();
"""

# Names and tags as they are written, for search while typing; prose by its English stems.
SEARCH = """
ALTER TABLE marketplace_listing ADD COLUMN search tsvector GENERATED ALWAYS AS (
    setweight(to_tsvector('simple', name || ' ' || replace(slug, '-', ' ')), 'A')
    || setweight(array_to_tsvector(array_remove(tags::text[], '')), 'B')
    || setweight(to_tsvector('simple', summary), 'B')
    || setweight(to_tsvector('english', summary), 'C')
    || setweight(to_tsvector('english', left(card, 100000)), 'D')
) STORED;
CREATE INDEX marketplace_listing_search ON marketplace_listing USING gin (search);
CREATE INDEX marketplace_listing_live ON marketplace_listing (published_at DESC, id DESC)
    WHERE published_at IS NOT NULL AND withdrawn_at IS NULL;
"""

UNSEARCH = """
DROP INDEX marketplace_listing_live;
ALTER TABLE marketplace_listing DROP COLUMN search;
"""


class Migration(migrations.Migration):
    dependencies = [("marketplace", "0001_initial")]
    operations = [migrations.RunSQL(FREEZE, THAW), migrations.RunSQL(SEARCH, UNSEARCH)]
