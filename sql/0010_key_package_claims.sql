-- Handing out key packages: within bounds, and not behind their owner's back.

-- How often one account has claimed from another lately, so that nobody empties
-- somebody's stock. The two are one hash.
CREATE TABLE key_package_claims (
    key        bytea       NOT NULL PRIMARY KEY,
    claims     integer     NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX key_package_claims_expiry ON key_package_claims (expires_at);

-- Hands out one key package per device of each account: an ordinary one, which
-- nobody gets again, or the device's last-resort one, which stays. Nothing at all
-- if one of the targets is claimed from too often: then the one row has no package
-- and says for how many seconds. Owners hear of it when their stock runs low.
CREATE FUNCTION claim_key_packages(
    p_users text[], p_suite smallint, p_keys bytea[], p_claims_max integer, p_window interval,
    p_low integer)
RETURNS TABLE (user_did text, key_package bytea, hash bytea, wait_seconds bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_until  timestamptz;
    v_given  record;
    v_left   bigint;
    v_user   text[] := '{}';
    v_detail text[] := '{}';
BEGIN
    -- In the order of keys, so that two calls cannot wait for each other.
    WITH counted AS (
        INSERT INTO key_package_claims AS c (key, claims, expires_at)
        SELECT k.key, 1, now() + p_window FROM unnest(p_keys) AS k (key) ORDER BY k.key
        ON CONFLICT (key) DO UPDATE SET
            claims = CASE WHEN c.expires_at < now() THEN 1 ELSE c.claims + 1 END,
            expires_at = CASE WHEN c.expires_at < now() THEN excluded.expires_at
                              ELSE c.expires_at END
        RETURNING c.claims, c.expires_at)
    SELECT max(c.expires_at) INTO v_until FROM counted c WHERE c.claims > p_claims_max;
    IF v_until IS NOT NULL THEN
        UPDATE key_package_claims c SET claims = c.claims - 1 WHERE c.key = ANY (p_keys);
        RETURN QUERY SELECT NULL::text, NULL::bytea, NULL::bytea,
            greatest(1, ceil(extract(epoch FROM v_until - now())))::bigint;
        RETURN;
    END IF;
    FOR v_given IN
        WITH device AS (
            SELECT DISTINCT k.user_did, k.device_id FROM key_packages k
            WHERE k.user_did = ANY (p_users) AND k.cipher_suite = p_suite
              AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
        ), pick AS (
            SELECT k.id FROM device d CROSS JOIN LATERAL (
                SELECT p.id FROM key_packages p
                WHERE p.user_did = d.user_did AND p.cipher_suite = p_suite
                  AND p.device_id IS NOT DISTINCT FROM d.device_id
                  AND p.claimed_at IS NULL AND p.consumed_at IS NULL AND p.expires_at > now()
                  AND NOT p.last_resort
                ORDER BY p.id LIMIT 1 FOR UPDATE SKIP LOCKED) k
        ), claimed AS (
            UPDATE key_packages k SET claimed_at = coarse_now() FROM pick p WHERE k.id = p.id
            RETURNING k.user_did, k.device_id, k.key_package, k.hash
        )
        SELECT c.user_did, c.device_id, c.key_package, c.hash, false AS last_resort FROM claimed c
        UNION ALL
        SELECT l.user_did, d.device_id, l.key_package, l.hash, true
        FROM device d CROSS JOIN LATERAL (
            SELECT k.user_did, k.key_package, k.hash FROM key_packages k
            WHERE k.user_did = d.user_did AND k.cipher_suite = p_suite
              AND k.device_id IS NOT DISTINCT FROM d.device_id AND k.last_resort
              AND k.expires_at > now()
            ORDER BY k.id DESC LIMIT 1) l
        WHERE NOT EXISTS (SELECT FROM claimed c WHERE c.user_did = d.user_did
                              AND c.device_id IS NOT DISTINCT FROM d.device_id)
    LOOP
        RETURN QUERY SELECT v_given.user_did::text, v_given.key_package::bytea,
                            v_given.hash::bytea, 0::bigint;
        SELECT count(*) INTO v_left FROM key_packages k
            WHERE k.user_did = v_given.user_did AND k.cipher_suite = p_suite
              AND k.device_id IS NOT DISTINCT FROM v_given.device_id
              AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND NOT k.last_resort
              AND k.expires_at > now();
        -- A last resort is used again and again; its owner hears of it once a minute.
        IF v_left < p_low AND NOT (v_given.last_resort AND EXISTS (
            SELECT FROM event_stream e WHERE e.user_did = v_given.user_did
                AND e.kind = 'keyPackages' AND e.emitted_at > now() - interval '1 minute'
                AND e.payload ->> 'lastResortUsed' = 'true'
                AND e.payload ->> 'deviceId' IS NOT DISTINCT FROM v_given.device_id)) THEN
            v_user := v_user || v_given.user_did::text;
            v_detail := v_detail || format(
                ',"type":"keyPackages","did":"%s"%s,"remaining":%s,"lastResortUsed":%s',
                v_given.user_did,
                CASE WHEN v_given.device_id IS NULL THEN ''
                     ELSE ',"deviceId":"' || v_given.device_id || '"' END,
                v_left, v_given.last_resort::text);
        END IF;
    END LOOP;
    IF cardinality(v_user) > 0 THEN
        PERFORM emit_events(array_fill(NULL::text, ARRAY[cardinality(v_user)]), v_user,
                            array_fill('keyPackages'::text, ARRAY[cardinality(v_user)]), v_detail);
    END IF;
END $$;

CREATE FUNCTION forget_claims(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM key_package_claims c WHERE c.ctid = ANY (ARRAY(
            SELECT c.ctid FROM key_package_claims c WHERE c.expires_at < now() LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
