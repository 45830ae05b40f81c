-- Marks nonces as used and tells which were new. Commits without waiting for the
-- disk: a crash forgets at most the last 0.6 s of nonces, whose tokens live for
-- minutes at most.
CREATE FUNCTION claim_jtis(p_keys bytea[], p_expires timestamptz[]) RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    -- In the order of keys, so that two nodes cannot wait for each other.
    RETURN QUERY INSERT INTO used_jti AS u (key, expires_at)
        SELECT DISTINCT ON (i.key) i.key, i.expires FROM unnest(p_keys, p_expires) AS i (key, expires)
        ORDER BY i.key
        ON CONFLICT (key) DO NOTHING RETURNING u.key;
END $$;
