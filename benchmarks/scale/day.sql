-- The calls of one day, written as a table of its own, indexed at the end and only then made a partition.
-- Units go round in cycles of 7 and 5 calls, so that a call's position in its period has a closed form.
CREATE TABLE {table} (LIKE usage_event INCLUDING CONSTRAINTS INCLUDING DEFAULTS);
INSERT INTO {table} (id, finished_at, organisation_id, provider_id, subscription_id, listing_id, version_id, plan_version_id,
    period_id, lease_id, api_key_id, endpoint, streamed, outcome, requests, input_tokens, output_tokens, cached_tokens, images,
    compute_ms, rated, charge, currency, ttft_ms, latency_ms, worker, finish_reason, demo)
SELECT id, to_timestamp((ms + latency) / 1000.0), organisation_id, provider_id, subscription_id, listing_id, version_id,
    terms_id, period_id, period_id, keys[1 + j % cardinality(keys)], 'chat.completions', j % 2 = 0,
    CASE WHEN answered THEN 'succeeded' ELSE 'failed' END, answered::int, tokens_in, tokens_out, 0, 0, latency,
    CASE WHEN answered AND price > 0 THEN jsonb_build_object(
        'input_tokens', jsonb_build_array(before_in, tokens_in, tokens_in * price),
        'output_tokens', jsonb_build_array(before_out, tokens_out, tokens_out * price * 3)) ELSE '{{}}' END,
    (tokens_in + 3 * tokens_out) * price, 'USD', 20 + j % 50, latency, 'w' || j % 4, CASE WHEN answered THEN 'stop' ELSE 'error' END, false
FROM (
    SELECT scale.id({day_ms} + ms, 'call' || n || 'no' || j || 'on' || {day_ms}) AS id, {day_ms} + ms AS ms, j, j < calls AS answered,
        organisation_id, provider_id, subscription_id, listing_id, version_id, terms_id, period_id, keys, price,
        (j < calls)::int * (tokens_in + 40 * (k % 7)) AS tokens_in, (j < calls)::int * (tokens_out + 25 * (k % 5)) AS tokens_out,
        k * tokens_in + 40 * (k / 7 * 21 + (k % 7) * (k % 7 - 1) / 2) AS before_in,
        k * tokens_out + 25 * (k / 5 * 10 + (k % 5) * (k % 5 - 1) / 2) AS before_out,
        60 + (n + j) % 200 + (tokens_out + 25 * (k % 5)) * (4 + n % 12) AS latency
    FROM (
        SELECT known.*, period.id AS period_id, j, {day_of_period} * calls + j AS k,
            CASE WHEN j < calls THEN j * 86390000 / calls ELSE (j - calls) * 86390000 / failures END + (n * 7919 + j * 31) % 9973 AS ms
        FROM scale.known
        JOIN scale.period ON period.subscription = known.n AND period.number = {period}
        CROSS JOIN LATERAL generate_series(0, calls + failures - 1) j
    ) placed
) made
-- As they would have come, so that a consumer's newest calls lie as scattered as they do.
ORDER BY id;
ALTER TABLE {table} ADD PRIMARY KEY (id);
CREATE INDEX ON {table} (organisation_id, id);
CREATE INDEX ON {table} (listing_id, id);
CREATE INDEX ON {table} (organisation_id, id) WHERE outcome = 'failed';
ANALYZE {table};
ALTER TABLE usage_event ATTACH PARTITION {table}
    FOR VALUES FROM (usage_event_first_id('{day}')) TO (usage_event_first_id(date '{day}' + 1));

INSERT INTO billing_usagerollup (organisation_id, subscription_id, listing_id, version_id, api_key_id, hour, shard, requests,
        failed, input_tokens, output_tokens, cached_tokens, images, compute_ms, charge, commission)
    SELECT organisation_id, subscription_id, listing_id, version_id, api_key_id, date_trunc('hour', finished_at), 0,
        count(*) FILTER (WHERE outcome <> 'failed'), count(*) FILTER (WHERE outcome = 'failed'), sum(input_tokens),
        sum(output_tokens), 0, 0, coalesce(sum(compute_ms) FILTER (WHERE outcome <> 'failed'), 0), sum(charge), sum(charge) / 10
    FROM {table} GROUP BY 1, 2, 3, 4, 5, 6;

CREATE TABLE IF NOT EXISTS scale.earned (day date, period_id uuid, provider_id uuid, organisation_id uuid, first text,
    charge bigint, units_in bigint, units_out bigint, charge_in bigint, charge_out bigint);
INSERT INTO scale.earned
    SELECT date '{day}', period_id, provider_id, organisation_id, min(id::text), sum(charge), sum((rated->'input_tokens'->>1)::bigint),
        sum((rated->'output_tokens'->>1)::bigint), sum((rated->'input_tokens'->>2)::bigint), sum((rated->'output_tokens'->>2)::bigint)
    FROM {table} WHERE charge > 0 GROUP BY 1, 2, 3, 4;
INSERT INTO billing_keyday (api_key_id, day, charge)
    SELECT api_key_id, date '{day}', sum(charge) FROM {table} WHERE charge > 0 GROUP BY 1;
