-- What cost more, the more there was: the list of an account's conversations, claims from an
-- account with many packages, and a block between two members of very many conversations, for
-- which everybody waited.

-- An account's seats, latest first.
CREATE INDEX members_joined ON members (user_did, joined_seq);

-- As in 0025, but an account's packages are read once, and not twice for each of its devices.
CREATE OR REPLACE FUNCTION claim_key_packages(
    p_users text[], p_suite smallint, p_keys bytea[], p_claims_max integer, p_window interval,
    p_low integer, p_devices_max integer DEFAULT 32, p_bytes_max bigint DEFAULT 4194304)
RETURNS TABLE (
    user_did text, device_id text, key_package bytea, hash bytea, wait_seconds bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_until  timestamptz;
    v_key    bytea;
    v_given  record;
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
        RETURNING c.key, c.claims, c.expires_at)
    SELECT c.key, c.expires_at INTO v_key, v_until FROM counted c
        WHERE c.claims > p_claims_max ORDER BY c.expires_at DESC, c.key LIMIT 1;
    IF v_until IS NOT NULL THEN
        UPDATE key_package_claims c SET claims = c.claims - 1 WHERE c.key = ANY (p_keys);
        RETURN QUERY SELECT p_users[array_position(p_keys, v_key)], NULL::text, NULL::bytea,
            NULL::bytea,
            greatest(1, ceil(extract(epoch FROM v_until - now())))::bigint;
        RETURN;
    END IF;
    FOR v_given IN
        WITH device AS (
            SELECT d.* FROM (
                SELECT k.user_did, k.device_id,
                       array_agg(k.id) FILTER (WHERE NOT k.last_resort) AS stock,
                       max(k.id) FILTER (WHERE k.last_resort) AS last_resort,
                       row_number() OVER (PARTITION BY k.user_did ORDER BY max(k.id) DESC) AS place
                FROM key_packages k
                WHERE k.user_did = ANY (p_users) AND k.cipher_suite = p_suite
                  AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
                GROUP BY k.user_did, k.device_id) d
            WHERE d.place <= p_devices_max
        ), ordinary AS (
            SELECT k.*, cardinality(d.stock) - 1 AS remaining FROM device d CROSS JOIN LATERAL (
                SELECT p.id, p.user_did, p.device_id, octet_length(p.key_package) AS size
                FROM key_packages p
                WHERE p.id = ANY (d.stock) AND p.claimed_at IS NULL AND p.consumed_at IS NULL
                ORDER BY p.id LIMIT 1 FOR UPDATE SKIP LOCKED) k
        ), last_resort AS (
            SELECT k.id, k.user_did, k.device_id, octet_length(k.key_package) AS size,
                   coalesce(cardinality(d.stock), 0) AS remaining
            FROM device d JOIN key_packages k ON k.id = d.last_resort
            WHERE NOT EXISTS (SELECT FROM ordinary o WHERE o.user_did = d.user_did
                                  AND o.device_id IS NOT DISTINCT FROM d.device_id)
        ), fitting AS (
            SELECT s.user_did FROM (
                SELECT p.user_did, sum(p.size) AS own,
                       sum(sum(p.size)) OVER (ORDER BY array_position(p_users, p.user_did)) AS through
                FROM (SELECT * FROM ordinary UNION ALL SELECT * FROM last_resort) p
                GROUP BY p.user_did) s
            WHERE s.through <= greatest(p_bytes_max, s.own)
        ), claimed AS (
            UPDATE key_packages k SET claimed_at = coarse_now()
            FROM ordinary o JOIN fitting f ON f.user_did = o.user_did WHERE k.id = o.id
            RETURNING k.user_did, k.device_id, k.key_package, k.hash, o.remaining
        )
        SELECT c.*, false AS last_resort FROM claimed c
        UNION ALL
        SELECT k.user_did, k.device_id, k.key_package, k.hash, l.remaining, true
        FROM last_resort l JOIN fitting f ON f.user_did = l.user_did
        JOIN key_packages k ON k.id = l.id
    LOOP
        RETURN QUERY SELECT v_given.user_did::text, v_given.device_id::text,
                            v_given.key_package::bytea, v_given.hash::bytea, 0::bigint;
        -- A last resort is used again and again; its owner hears of it once a minute.
        IF v_given.remaining < p_low AND NOT (v_given.last_resort AND EXISTS (
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
                v_given.remaining, v_given.last_resort::text);
        END IF;
    END LOOP;
    IF cardinality(v_user) > 0 THEN
        PERFORM emit_events(array_fill(NULL::text, ARRAY[cardinality(v_user)]), v_user,
                            array_fill('keyPackages'::text, ARRAY[cardinality(v_user)]), v_detail);
    END IF;
END $$;

-- As in 0012, but of two accounts with very many conversations in common not all conflicts are
-- read for each of them, and everybody's sends wait for the events alone.
CREATE OR REPLACE FUNCTION change_block(p_blocker text, p_blocked text, p_exists boolean)
RETURNS TABLE (convo_id text, has_other_admin boolean, told_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_shared text[];
    v_new    text[];
BEGIN
    SELECT array_agg(DISTINCT a.convo_id) INTO v_shared
        FROM members a JOIN members b USING (convo_id)
        WHERE a.user_did = p_blocker AND b.user_did = p_blocked
          AND a.left_seq IS NULL AND b.left_seq IS NULL;
    IF p_exists THEN
        WITH told AS (
            INSERT INTO block_conflicts AS c (convo_id, blocker_did, blocked_did)
            SELECT s.id, p_blocker, p_blocked FROM unnest(v_shared) AS s (id) ORDER BY s.id
            ON CONFLICT (convo_id, blocker_did, blocked_did) DO UPDATE
                SET seen_at = excluded.seen_at, resolved_at = NULL
                WHERE c.resolved_at IS NOT NULL
            RETURNING c.convo_id)
        SELECT array_agg(t.convo_id) INTO v_new FROM told t;
    ELSE
        UPDATE block_conflicts c SET resolved_at = coarse_now()
        WHERE c.blocker_did = p_blocker AND c.blocked_did = p_blocked AND c.resolved_at IS NULL;
    END IF;
    -- A pair may have a conflict in each of very many conversations, and a conversation has few.
    RETURN QUERY SELECT s.id,
        EXISTS (SELECT FROM members m WHERE m.convo_id = s.id AND m.left_seq IS NULL
                    AND m.is_admin AND m.user_did NOT IN (p_blocker, p_blocked)),
        (SELECT c.seen_at
         FROM (SELECT * FROM block_conflicts b WHERE b.convo_id = s.id AND p_exists OFFSET 0) c
         WHERE c.blocker_did = p_blocker AND c.blocked_did = p_blocked)
        FROM unnest(v_shared) AS s (id) ORDER BY s.id;
    IF v_new IS NOT NULL THEN
        PERFORM emit_events(
            v_new, array_fill(NULL::text, ARRAY[cardinality(v_new)]),
            array_fill('conversationUpdated'::text, ARRAY[cardinality(v_new)]),
            array_fill(',"type":"conversationUpdated"'::text, ARRAY[cardinality(v_new)]));
    END IF;
END $$;
