"""What Django's models cannot say: the partitioned table of facts, and triggers that keep the books honest."""

from django.db import migrations

USAGE_EVENT = """
CREATE TABLE usage_event (
    id uuid NOT NULL PRIMARY KEY,
    finished_at timestamptz NOT NULL,
    organisation_id uuid NOT NULL,
    provider_id uuid NOT NULL,
    subscription_id uuid NOT NULL,
    listing_id uuid NOT NULL,
    version_id uuid NOT NULL,
    plan_version_id uuid NOT NULL,
    period_id uuid NOT NULL,
    lease_id uuid NOT NULL,
    api_key_id uuid,
    endpoint varchar(32) NOT NULL,
    streamed boolean NOT NULL,
    outcome varchar(9) NOT NULL CHECK (outcome IN ('succeeded', 'cancelled', 'failed')),
    requests bigint NOT NULL CHECK (requests >= 0),
    input_tokens bigint NOT NULL CHECK (input_tokens >= 0),
    output_tokens bigint NOT NULL CHECK (output_tokens >= 0),
    cached_tokens bigint NOT NULL CHECK (cached_tokens >= 0),
    images bigint NOT NULL CHECK (images >= 0),
    compute_ms bigint NOT NULL CHECK (compute_ms >= 0),
    rated jsonb NOT NULL,
    charge bigint NOT NULL CHECK (charge >= 0),
    currency varchar(3) NOT NULL,
    ttft_ms integer,
    latency_ms integer,
    worker varchar(80) NOT NULL,
    finish_reason varchar(32) NOT NULL,
    demo boolean NOT NULL,
    CONSTRAINT failed_calls_are_free CHECK (outcome <> 'failed' OR (charge = 0 AND rated = '{}'))
) PARTITION BY RANGE (id);
CREATE INDEX usage_event_of_consumer ON usage_event (organisation_id, id);
CREATE INDEX usage_event_of_listing ON usage_event (listing_id, id);

-- The partition of one UTC day. A UUIDv7 begins with its 48-bit time, so a repeated id always meets its
-- own partition: uniqueness holds over all of them.
CREATE FUNCTION usage_event_partition(day date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    name text := 'usage_event_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass(name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('usage_event_partition'));
        EXECUTE format(
            'CREATE TABLE IF NOT EXISTS %I PARTITION OF usage_event FOR VALUES FROM (%L) TO (%L)',
            name, usage_event_first_id(day), usage_event_first_id(day + 1)
        );
    END IF;
END $$;
CREATE FUNCTION usage_event_first_id(day date) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT rpad(lpad(to_hex((extract(epoch FROM day)::bigint * 1000)), 12, '0'), 32, '0')::uuid
$$;
"""

REFUSALS = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON usage_event
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_ledgertransaction
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON billing_ledgeraccount
    FOR EACH ROW EXECUTE FUNCTION refuse_change();

-- Checked at commit, when all entries of a transaction are there.
CREATE FUNCTION require_balance() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    subject uuid;
    entries bigint;
    lopsided text;
BEGIN
    IF TG_TABLE_NAME = 'billing_ledgerentry' THEN
        subject := NEW.transaction_id;
    ELSE
        subject := NEW.id;
    END IF;
    SELECT count(*) INTO entries FROM billing_ledgerentry WHERE transaction_id = subject;
    SELECT account.currency INTO lopsided
        FROM billing_ledgerentry entry JOIN billing_ledgeraccount account ON account.id = entry.account_id
        WHERE entry.transaction_id = subject GROUP BY account.currency HAVING sum(entry.amount) <> 0 LIMIT 1;
    IF entries = 0 OR lopsided IS NOT NULL THEN
        RAISE EXCEPTION 'ledger transaction % is empty or does not sum to zero', subject
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON billing_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_balance();
CREATE CONSTRAINT TRIGGER balanced AFTER INSERT ON billing_ledgertransaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_balance();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_initial")]
    operations = [migrations.RunSQL(USAGE_EVENT), migrations.RunSQL(REFUSALS)]
