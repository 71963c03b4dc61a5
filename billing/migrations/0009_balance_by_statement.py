from django.db import migrations

# Once for each statement that writes entries, over all transactions that it touches: a check for every row at commit
# took as long as storing the calls that a batch of postings is made for. So a transaction's entries come in one
# statement; that it has some is still seen at commit.
CHANGE = """
CREATE FUNCTION require_balanced_entries() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    -- An array, because the planner knows nothing of `written` and would rather read every entry there is.
    subjects uuid[] := ARRAY(SELECT DISTINCT transaction_id FROM written);
    subject uuid;
BEGIN
    SELECT entry.transaction_id INTO subject
        FROM billing_ledgerentry entry JOIN billing_ledgeraccount account ON account.id = entry.account_id
        WHERE entry.transaction_id = ANY(subjects)
        GROUP BY entry.transaction_id, account.currency HAVING sum(entry.amount) <> 0 LIMIT 1;
    IF subject IS NOT NULL THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', subject USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION require_entries() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing_ledgerentry WHERE transaction_id = NEW.id) THEN
        RAISE EXCEPTION 'ledger transaction % is empty', NEW.id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
DROP TRIGGER balanced ON billing_ledgerentry;
DROP TRIGGER balanced ON billing_ledgertransaction;
DROP FUNCTION require_balance();
CREATE TRIGGER balanced AFTER INSERT ON billing_ledgerentry REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION require_balanced_entries();
CREATE CONSTRAINT TRIGGER not_empty AFTER INSERT ON billing_ledgertransaction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION require_entries();
"""
UNDO = """
DROP TRIGGER balanced ON billing_ledgerentry;
DROP TRIGGER not_empty ON billing_ledgertransaction;
DROP FUNCTION require_balanced_entries();
DROP FUNCTION require_entries();
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
    dependencies = [("billing", "0008_failed_calls")]
    operations = [migrations.RunSQL(CHANGE, UNDO)]
