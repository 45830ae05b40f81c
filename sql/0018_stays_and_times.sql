-- An account's stays are found by when they ended: those that ended before the stream begins
-- are of no use to a session, and an account may have any number of them.
CREATE INDEX members_stays ON members (user_did, left_seq);

-- Times of penalties are coarse, as all others are: who is named by a hash only should not be
-- known by the moment.

ALTER TABLE penalties ALTER changed_at SET DEFAULT coarse_now();
UPDATE penalties SET changed_at = date_bin('2 seconds', changed_at, 'epoch');
-- So are, from now on, the ends of these; the queries have it.
UPDATE acme SET turn_until = date_bin('2 seconds', turn_until, 'epoch');
UPDATE key_package_claims SET expires_at = date_bin('2 seconds', expires_at, 'epoch');
UPDATE idempotency_keys SET expires_at = date_bin('2 seconds', expires_at, 'epoch');

-- As before, but for the time.
CREATE OR REPLACE FUNCTION exchange_penalties(p_subjects bytea[], p_levels smallint[], p_untils bigint[], p_seconds double precision)
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
