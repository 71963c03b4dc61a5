-- The names of things, and ids that a seed fixes. In a schema of its own, so that the marketplace's tables are as
-- they always are.
CREATE SCHEMA scale;

CREATE FUNCTION scale.noise(what text, n bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN hashtextextended(what || n::text, {seed}) & 9223372036854775807;

-- A UUIDv7: `ms` of unix time, and the rest from what it names.
CREATE FUNCTION scale.id(ms bigint, what text) RETURNS uuid LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (lpad(to_hex(ms), 12, '0') || overlay(overlay(substr(md5(what || '{seed}'), 1, 20)
        PLACING '7' FROM 1) PLACING '8' FROM 5))::uuid;

-- The small numbers come often, the large ones seldom: 0 to `most` - 1.
CREATE FUNCTION scale.skewed(what text, n bigint, most bigint) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN floor(most * power((scale.noise(what, n) % 1000000) / 1000000.0, 3))::bigint;

CREATE TABLE scale.words (
    families text[], traits text[], purposes text[], sizes text[], nouns text[], tags text[], languages text[],
    licences text[], tasks text[]
);
INSERT INTO scale.words VALUES (
    string_to_array('atlas birch cobalt delta ember fjord glacier harbour iris juniper kestrel lumen meadow nimbus '
        'onyx pine quartz river saffron tundra umber vesper willow xenon yarrow zephyr', ' '),
    string_to_array('tiny swift quiet bright steady deep broad keen patient nimble plain careful', ' '),
    string_to_array('chat code summary retrieval medical legal finance support translation reasoning vision '
        'extraction routing moderation ranking story tutoring biology chemistry geography', ' '),
    string_to_array('70m 160m 410m 1b 3b 7b 13b 34b 70b', ' '),
    string_to_array('contracts invoices papers recipes tickets reviews questions answers notes lectures protocols '
        'sentences reports letters manuals proofs maps dialogues functions captions headlines poems patents forms', ' '),
    string_to_array('instruct chat multilingual quantised distilled long-context tools json safety edge', ' '),
    string_to_array('en zh de fr es hi ar pt ja ko', ' '),
    string_to_array('apache-2.0 mit cc-by-4.0 bsd-3-clause openrail gpl-3.0', ' '),
    ARRAY['text-generation', 'feature-extraction', 'text-classification', 'image-classification']
);
CREATE FUNCTION scale.pick(words text[], what text, n bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN words[1 + scale.skewed(what, n, cardinality(words))];
