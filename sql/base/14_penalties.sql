-- Whoever kept hitting limits, as the nodes tell each other: keyed hashes, never an address or an
-- account.

CREATE TABLE penalty_keys (
    day bigint PRIMARY KEY, -- days since 1970
    key bytea NOT NULL CHECK (octet_length(key) = 16)
);

CREATE TABLE penalties (
    subject bytea PRIMARY KEY CHECK (octet_length(subject) = 16),
    level smallint NOT NULL CHECK (level >= 0),
    until_ms bigint NOT NULL, -- milliseconds since 1970; in the past: lifted
    -- Who is named by a hash only should not be known by the moment either.
    changed_at timestamptz NOT NULL DEFAULT coarse_now()
);
CREATE INDEX penalties_changed ON penalties (changed_at);

-- Today's key and yesterday's, newest first; older ones go, so that old hashes can be linked to
-- nobody. The day is of the node's clock, and what is old is by Postgres': a node whose clock is
-- ahead would take the keys of all others. They go first, so that one whose clock is behind has at
-- least its own.
CREATE FUNCTION penalty_keys_of(p_day bigint, p_fresh bytea) RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM penalty_keys WHERE day < floor(extract(epoch FROM now()) / 86400) - 1;
    DELETE FROM penalties WHERE changed_at < now() - interval '2 days';
    INSERT INTO penalty_keys (day, key) VALUES (p_day, p_fresh) ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT k.key FROM penalty_keys k WHERE k.day <= p_day ORDER BY k.day DESC;
END $$;

-- Tells of stays, and asks for those that changed within so many seconds.
CREATE FUNCTION exchange_penalties(
    p_subjects bytea[], p_levels smallint[], p_untils bigint[], p_seconds double precision)
RETURNS TABLE (subject bytea, level smallint, until_ms bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    -- In the order of subjects, so that two nodes cannot wait for each other.
    INSERT INTO penalties AS p (subject, level, until_ms)
        SELECT DISTINCT ON (i.subject) i.subject, i.level, i.until_ms
        FROM unnest(p_subjects, p_levels, p_untils) WITH ORDINALITY AS i (subject, level, until_ms, nth)
        ORDER BY i.subject, i.nth DESC
        ON CONFLICT (subject) DO UPDATE
        SET level = excluded.level, until_ms = excluded.until_ms, changed_at = coarse_now();
    RETURN QUERY SELECT p.subject, p.level, p.until_ms FROM penalties p
        WHERE p.changed_at > now() - make_interval(secs => p_seconds)
        ORDER BY p.changed_at DESC LIMIT 100000;
END $$;
