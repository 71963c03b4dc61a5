-- Providers, listings, versions, plans and prices. {born} is when the first listing came, in unix milliseconds.
INSERT INTO accounts_user (id, email, name, password, is_staff, is_active, is_superuser, date_joined)
VALUES (scale.id({born}, 'user'), 'scale@example.com', 'Scale', '!', false, true, false, to_timestamp({born} / 1000.0));

CREATE TABLE scale.provider AS
    SELECT number, scale.id({born} + number, 'provider' || number) AS id,
        scale.pick(families, 'org', number) || '-labs-' || number AS owner
    FROM generate_series(0, {providers} - 1) number, scale.words;
INSERT INTO accounts_organisation (id, slug, name, kind, created_at, requests_per_minute, tokens_per_minute, concurrent_requests)
    SELECT id, owner, initcap(replace(owner, '-', ' ')), 'company', to_timestamp({born} / 1000.0), 0, 0, 0 FROM scale.provider;

CREATE TABLE scale.listing AS
    SELECT n, {born} + n * 1000 AS ms, scale.id({born} + n * 1000, 'listing' || n) AS id,
        scale.id({born} + n * 1000, 'version' || n) AS version_id, scale.id({born} + n * 1000, 'plan' || n) AS plan_id,
        scale.id({born} + n * 1000, 'terms' || n) AS terms_id,
        -- The first listings are those that are called, and the first provider's are the first of them.
        CASE WHEN n < 40 THEN 0 ELSE 1 + scale.noise('owner', n) % ({providers} - 1) END AS provider,
        (1 + scale.noise('price', n) % 40) * 10 AS price, n % 5 = 4 AS is_free,
        scale.pick(traits, 'trait', n) AS trait, scale.pick(families, 'family', n) AS family,
        scale.pick(purposes, 'purpose', n) AS purpose, scale.noise('size', n) % 9 AS size
    FROM generate_series(0, {listings} - 1) n, scale.words;

INSERT INTO marketplace_listing (id, organisation_id, slug, name, summary, card, task, licence, languages, tags,
        playground_without_sign_in, current_version_id, created_by_id, created_at, published_at, withdrawn_reason, prominent)
    SELECT listing.id, provider.id, family || '-' || purpose || '-' || n, initcap(trait || ' ' || family || ' ' || purpose)
        || ' ' || sizes[size + 1], 'A ' || trait || ' model of ' || sizes[size + 1] || ' parameters for ' || purpose || ' over '
        || scale.pick(nouns, 'a', n) || ' and ' || scale.pick(nouns, 'b', n) || '.',
        '# ' || initcap(family) || E'\n\n' || 'It reads ' || scale.pick(nouns, 'c', n) || ', writes ' || scale.pick(nouns, 'd', n)
        || ' and was trained on ' || scale.pick(nouns, 'e', n) || ' by ' || owner || E'.\n\n## Use\n\nFor '
        || purpose || ', with ' || scale.pick(nouns, 'f', n) || '. Its build is called rare' || to_hex(n) || '.',
        scale.pick(tasks, 'task', n), scale.pick(licences, 'licence', n), ARRAY[scale.pick(languages, 'language', n)],
        ARRAY[scale.pick(tags, 'tag', n), purpose], false, version_id, scale.id({born}, 'user'), to_timestamp(ms / 1000.0),
        to_timestamp(ms / 1000.0), '', false
    FROM scale.listing JOIN scale.provider ON provider.number = listing.provider, scale.words;
INSERT INTO marketplace_version (id, listing_id, number, digest, task, architecture, context_length, parameter_count,
        weight_bytes, memory_bytes, kind, state, report, evaluation, training, notes, created_by_id, created_at)
    SELECT version_id, id, 1, md5('digest' || n) || md5('more' || n), scale.pick(tasks, 'task', n), 'LlamaForCausalLM', 4096,
        (ARRAY[70, 160, 410, 1000, 3000, 7000, 13000, 34000, 70000]::bigint[])[size + 1] * 1000000, 10^9, 2 * 10^9, 'weights', 'ready',
        '{{"facts": {{}}}}', '[]', '{{}}', '', scale.id({born}, 'user'), to_timestamp(ms / 1000.0)
    FROM scale.listing, scale.words;
INSERT INTO marketplace_plan (id, listing_id, slug, name, kind, created_at)
    SELECT plan_id, id, 'standard', 'Standard', CASE WHEN is_free THEN 'free' ELSE 'paid' END, to_timestamp(ms / 1000.0)
    FROM scale.listing;
INSERT INTO marketplace_planversion (id, plan_id, number, currency, monthly_fee, spend_cap, requests_per_minute,
        tokens_per_minute, concurrent_requests, published_at)
    SELECT terms_id, plan_id, 1, 'USD', 0, 10^15, 0, 0, 0, to_timestamp(ms / 1000.0) FROM scale.listing;
INSERT INTO marketplace_pricecomponent (id, plan_version_id, meter, included, amount, per)
    SELECT scale.id(ms, meter || n), terms_id, meter, 0, price * factor, 1
    FROM scale.listing, (VALUES ('input_tokens', 1), ('output_tokens', 3)) meters (meter, factor) WHERE NOT is_free;
INSERT INTO marketplace_figures (listing_id, parameter_count, monthly_fee, unit_price, token_rate, calls)
    SELECT id, (ARRAY[70, 160, 410, 1000, 3000, 7000, 13000, 34000, 70000]::bigint[])[size + 1] * 1000000, 0,
        CASE WHEN is_free THEN 0 ELSE price::bigint * 4000000 END, CASE WHEN NOT is_free THEN price::bigint * 3000000 END, 0
    FROM scale.listing;
