-- What is good once: tokens, and procedures that are asked for twice.

-- Hashes of (issuer, nonce) of tokens already used.
CREATE TABLE used_jti (
    key        bytea       NOT NULL PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_jti_expiry ON used_jti (expires_at);

-- Marks nonces as used, in the caller's transaction, and tells which of them were new. NULL stands
-- for a call without a nonce.
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

-- The same for calls that write nothing else. Commits without waiting for the disk: a crash forgets
-- at most the last 0.6 s of nonces, whose tokens live for minutes at most.
CREATE FUNCTION claim_jtis(p_keys bytea[], p_expires timestamptz[]) RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('synchronous_commit', 'off', true);
    RETURN QUERY SELECT unnest(use_up_nonces(p_keys, p_expires));
END $$;

-- Tickets are not stored; those that were given out until now are refused by a mark that outlives
-- them. Like a nonce, it is a hash.
CREATE FUNCTION revoke_tickets(p_mark bytea, p_until timestamptz) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO used_jti AS u (key, expires_at) VALUES (p_mark, p_until)
    ON CONFLICT (key) DO UPDATE SET expires_at = greatest(u.expires_at, excluded.expires_at)
$$;

-- What somebody is about to keep longer is passed over.
CREATE FUNCTION forget_jtis(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM used_jti j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM used_jti j WHERE j.expires_at < now() LIMIT p_most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Answers to procedures that may be asked again. The caller and its key are one hash; the request is
-- another.
CREATE TABLE idempotency_keys (
    key          bytea       NOT NULL PRIMARY KEY,
    request_hash bytea       NOT NULL,
    -- NULL while the first asker is still at it.
    answer       bytea,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

-- What somebody is about to keep longer is passed over.
CREATE FUNCTION forget_idempotency_keys(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM idempotency_keys j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM idempotency_keys j WHERE j.expires_at < now() LIMIT p_most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
