-- What the days came to: rated lines, periods and one posting a period and day.
INSERT INTO billing_ratedline (period_id, meter, units, charge)
    SELECT period_id, 'input_tokens', sum(units_in), sum(charge_in) FROM scale.earned GROUP BY 1
    UNION ALL SELECT period_id, 'output_tokens', sum(units_out), sum(charge_out) FROM scale.earned GROUP BY 1;
UPDATE billing_billingperiod period SET gross = sums.charge, commission = sums.charge / 10
    FROM (SELECT period_id, sum(charge)::bigint AS charge FROM scale.earned GROUP BY 1) sums WHERE sums.period_id = period.id;

INSERT INTO billing_ledgeraccount (id, organisation_id, kind, currency, created_at)
    SELECT scale.id({born}, kind || organisation_id), organisation_id, kind, 'USD', to_timestamp({born} / 1000.0) FROM (
        SELECT DISTINCT 'receivable' AS kind, organisation_id FROM scale.earned
        UNION SELECT DISTINCT 'payable', provider_id FROM scale.earned) owners
    UNION ALL SELECT scale.id({born}, 'commission'), NULL, 'commission', 'USD', to_timestamp({born} / 1000.0);
CREATE TABLE scale.posting AS
    SELECT scale.id((extract(epoch FROM day) * 1000)::bigint, 'posting' || period_id || day) AS id, earned.* FROM scale.earned;
INSERT INTO billing_ledgertransaction (id, key, kind, period_id, reason, created_at)
    SELECT id, 'usage:' || replace(period_id::text, '-', '') || ':' || replace(first, '-', ''), 'usage', period_id, '', day
    FROM scale.posting;
INSERT INTO billing_ledgerentry (transaction_id, account_id, amount)
    SELECT id, scale.id({born}, 'receivable' || organisation_id), charge FROM scale.posting
    UNION ALL SELECT id, scale.id({born}, 'payable' || provider_id), charge / 10 - charge FROM scale.posting
    UNION ALL SELECT id, scale.id({born}, 'commission'), -(charge / 10) FROM scale.posting;

INSERT INTO billing_dailyusage (organisation_id, subscription_id, listing_id, version_id, api_key_id, day, shard, requests,
        failed, input_tokens, output_tokens, cached_tokens, images, compute_ms, charge, commission)
    SELECT organisation_id, subscription_id, listing_id, version_id, api_key_id, date_trunc('day', hour, 'UTC'), shard,
        sum(requests), sum(failed), sum(input_tokens), sum(output_tokens), sum(cached_tokens), sum(images), sum(compute_ms),
        sum(charge), sum(commission)
    FROM billing_usagerollup GROUP BY 1, 2, 3, 4, 5, 6, 7;

INSERT INTO billing_earnedday (listing_id, day, currency, shard, requests, charge, commission)
    SELECT listing_id, day, 'USD', shard, sum(requests), sum(charge), sum(commission)
    FROM billing_dailyusage GROUP BY listing_id, day, shard;
