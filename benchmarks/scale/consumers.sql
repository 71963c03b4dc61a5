-- Who calls what, how often a day, and in which billing periods. Consumer 0 makes a tenth of all calls.
CREATE TABLE scale.consumer AS
    SELECT n, scale.id({born} + n, 'consumer' || n) AS id, 'buyer-' || n AS slug FROM generate_series(0, {consumers} - 1) n;
INSERT INTO accounts_organisation (id, slug, name, kind, created_at, requests_per_minute, tokens_per_minute, concurrent_requests)
    SELECT id, slug, initcap(replace(slug, '-', ' ')), 'company', to_timestamp({born} / 1000.0), 0, 0, 0 FROM scale.consumer;
CREATE TABLE scale.key AS
    SELECT consumer.n AS consumer, number, scale.id({born} + number, 'key' || number || 'of' || consumer.n) AS id
    FROM scale.consumer, generate_series(0, 4) number WHERE consumer.n = 0 OR number = 0;
INSERT INTO accounts_apikey (id, organisation_id, created_by_id, holder_id, name, secret_hash, last_four, scopes, created_at,
        budget_currency, requests_per_minute, tokens_per_minute, concurrent_requests)
    SELECT key.id, consumer.id, scale.id({born}, 'user'), scale.id({born}, 'user'), 'app ' || number, ''::bytea, '0000', ARRAY['inference'],
        to_timestamp({born} / 1000.0), 'USD', 0, 0, 0
    FROM scale.key JOIN scale.consumer ON consumer.n = key.consumer;

-- Each consumer is subscribed to one listing, the first one to twelve; every third calls the first provider's.
CREATE TABLE scale.subscription AS
    SELECT row_number() OVER (ORDER BY consumer, listing) - 1 AS n, asked.*,
        scale.id({started}, 'subscription' || consumer || 'to' || listing) AS id,
        40 + scale.noise('in', consumer + listing) % 900 AS tokens_in, 20 + scale.noise('out', consumer + listing) % 300 AS tokens_out,
        greatest(1, round({events}::numeric / {days} * weight / sum(weight) OVER ()))::bigint AS calls
    FROM (
        SELECT 0 AS consumer, number * 11 AS listing, 1.0 AS weight FROM generate_series(0, 11) number
        UNION ALL
        SELECT n, CASE WHEN n % 3 = 0 THEN scale.noise('mine', n) % 40 ELSE scale.noise('any', n) % least({listings}, 3000) END,
            108.0 / (n + 20) / (SELECT sum(1.0 / (m + 20)) FROM generate_series(1, {consumers} - 1) m)
        FROM generate_series(1, {consumers} - 1) n
    ) asked;
ALTER TABLE scale.subscription ADD failures bigint GENERATED ALWAYS AS (calls / 40) STORED;
INSERT INTO marketplace_subscription (id, organisation_id, listing_id, plan_version_id, spend_cap, created_by_id, started_at)
    SELECT subscription.id, consumer.id, listing.id, listing.terms_id, 10^15, scale.id({born}, 'user'),
        to_timestamp({started} / 1000.0)
    FROM scale.subscription JOIN scale.consumer ON consumer.n = consumer JOIN scale.listing ON listing.n = subscription.listing;

CREATE TABLE scale.period AS
    SELECT number, subscription.n AS subscription, starts, ends,
        scale.id((extract(epoch FROM starts) * 1000)::bigint, 'period' || number || 'of' || subscription.n) AS id
    FROM scale.subscription, (VALUES {periods}) bounds (number, starts, ends);
INSERT INTO billing_billingperiod (id, subscription_id, plan_version_id, starts, ends, commission_basis_points, gross,
        commission, created_at)
    SELECT period.id, subscription.id, listing.terms_id, starts, ends, 1000, 0, 0, starts
    FROM scale.period JOIN scale.subscription ON subscription.n = period.subscription
    JOIN scale.listing ON listing.n = subscription.listing;

-- Everything that a call of a subscription says, on one row.
CREATE TABLE scale.known AS
    SELECT subscription.n, subscription.calls, subscription.failures, tokens_in, tokens_out, subscription.id AS subscription_id,
        consumer.id AS organisation_id, provider.id AS provider_id, listing.id AS listing_id, version_id, terms_id,
        CASE WHEN is_free THEN 0 ELSE price END AS price,
        (SELECT array_agg(key.id ORDER BY number) FROM scale.key WHERE key.consumer = subscription.consumer) AS keys
    FROM scale.subscription JOIN scale.consumer ON consumer.n = subscription.consumer
    JOIN scale.listing ON listing.n = subscription.listing JOIN scale.provider ON provider.number = listing.provider;
ANALYZE;
