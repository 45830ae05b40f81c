-- Marks nonces as used, in the caller's transaction, and tells which of them were new.
-- NULL stands for a call without a nonce.
CREATE FUNCTION use_up_nonces(p_keys bytea[], p_expires timestamptz[]) RETURNS bytea[]
LANGUAGE plpgsql AS $$
DECLARE
    v_new bytea[];
BEGIN
    -- In the order of keys, so that two nodes cannot wait for each other.
    WITH new AS (
        INSERT INTO used_jti AS u (key, expires_at)
        SELECT DISTINCT ON (i.key) i.key, i.expires
        FROM unnest(p_keys, p_expires) AS i (key, expires)
        WHERE i.key IS NOT NULL
        ORDER BY i.key
        ON CONFLICT (key) DO NOTHING RETURNING u.key)
    SELECT coalesce(array_agg(n.key), '{}') INTO v_new FROM new n;
    RETURN v_new;
END $$;

-- The same for calls that write nothing else. Commits without waiting for the disk: a
-- crash forgets at most the last 0.6 s of nonces, whose tokens live for minutes at most.
CREATE FUNCTION claim_jtis(p_keys bytea[], p_expires timestamptz[]) RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY SELECT unnest(use_up_nonces(p_keys, p_expires));
END $$;
