-- Whose the founder's seat is, and what a crowd of seats may cost: an account in very many
-- conversations is told, and ended, in bites, and strangers put it into so many only.

-- The seats that an account has.
CREATE INDEX members_seated ON members (user_did, convo_id) WHERE left_seq IS NULL;

-- Whose the founder's seat is that names no device: of all devices that were registered by
-- then, the only one that never had a seat of its own. NULL: it can be none, or several.
CREATE FUNCTION founding_device(p_convo text, p_user text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(*) = 1 THEN min(d.device_id) END
    FROM conversations c
    JOIN devices d ON d.user_did = c.creator_did AND d.registered_at <= c.created_at
    WHERE c.convo_id = p_convo AND c.creator_did = p_user
      AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = p_convo AND o.user_did = p_user
                          AND o.device_id = d.device_id)
$$;

-- The seats of one device, or of all devices of the account (p_device NULL).
CREATE FUNCTION seats_of(p_user text, p_device text)
RETURNS TABLE (place tid, convo_id text, is_admin boolean)
LANGUAGE sql STABLE AS $$
    SELECT m.ctid, m.convo_id, m.is_admin FROM members m
    WHERE m.user_did = p_user AND m.left_seq IS NULL
      AND CASE WHEN p_device IS NULL THEN true
               WHEN m.device_id IS NULL THEN founding_device(m.convo_id, p_user) = p_device
               ELSE m.device_id = p_device END
$$;

-- Locks the first p_most conversations of one device, or of all devices of the account,
-- before anything else: a change of a group locks in the same order.
DROP FUNCTION lock_seats(text, text);
CREATE FUNCTION lock_seats(p_user text, p_device text, p_most integer) RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text[] := ARRAY(SELECT DISTINCT s.convo_id FROM seats_of(p_user, p_device) s
                            ORDER BY s.convo_id LIMIT p_most);
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = ANY (v_convo)
        ORDER BY c.convo_id FOR NO KEY UPDATE;
    RETURN v_convo;
END $$;

-- As in 0008, but in these conversations only, which must be locked.
DROP FUNCTION end_seats(text, text);
CREATE FUNCTION end_seats(p_user text, p_device text, p_convo text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text[];
    v_last  boolean[];
    v_base  bigint;
BEGIN
    SELECT array_agg(s.convo_id ORDER BY s.convo_id), array_agg(s.last ORDER BY s.convo_id)
        INTO v_convo, v_last
        FROM (SELECT m.convo_id, p_device IS NULL OR NOT EXISTS (
                  SELECT FROM members o WHERE o.convo_id = m.convo_id AND o.user_did = p_user
                      AND o.left_seq IS NULL AND o.device_id IS DISTINCT FROM p_device) AS last
              FROM members m WHERE m.user_did = p_user AND m.left_seq IS NULL
                  AND m.convo_id = ANY (p_convo) AND (p_device IS NULL OR m.device_id = p_device)
              GROUP BY m.convo_id) s;
    IF v_convo IS NULL THEN
        RETURN 0;
    END IF;
    DELETE FROM read_cursors r USING unnest(v_convo, v_last) AS l (convo, last)
        WHERE r.user_did = p_user AND r.convo_id = l.convo AND l.last;
    v_base := emit_events(
        v_convo, array_fill(NULL::text, ARRAY[cardinality(v_convo)]),
        ARRAY(SELECT CASE WHEN l.last THEN 'membershipChange' ELSE 'conversationUpdated' END
              FROM unnest(v_last) WITH ORDINALITY AS l (last, ord) ORDER BY l.ord),
        ARRAY(SELECT CASE WHEN l.last THEN membership_detail(p_user, 'left', c.epoch)
                          ELSE ',"type":"conversationUpdated"' END
              FROM unnest(v_convo, v_last) WITH ORDINALITY AS l (convo, last, ord)
              JOIN conversations c ON c.convo_id = l.convo ORDER BY l.ord));
    UPDATE members m SET left_seq = v_base + l.ord, left_at = coarse_now()
    FROM unnest(v_convo) WITH ORDINALITY AS l (convo, ord)
    WHERE m.convo_id = l.convo AND m.user_did = p_user AND m.left_seq IS NULL
      AND (p_device IS NULL OR m.device_id = p_device);
    RETURN cardinality(v_convo);
END $$;

-- As in 0008, but ends the seats of p_bite conversations at most: everybody's sends wait for
-- the events of one transaction. Outcomes: done, more (call again), last_admin (of any of its
-- conversations, whichever bite they are in). The registration goes last: by it a founder's
-- seat is known, and a deletion that was cut off is found again. A device that nobody
-- registered may have seats as well.
DROP FUNCTION delete_device(text, text, bytea, timestamptz);
CREATE FUNCTION delete_device(
    p_user text, p_device text, p_mark bytea, p_until timestamptz,
    p_bite integer DEFAULT 2147483647)
RETURNS TABLE (outcome text, packages bigint, seats bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_known    boolean;
    v_convo    text[];
    v_packages bigint;
    v_seats    bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    -- Nobody founds a conversation on it meanwhile.
    PERFORM FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device FOR UPDATE;
    v_known := FOUND;
    v_convo := lock_seats(p_user, p_device, p_bite);
    IF NOT v_known AND cardinality(v_convo) = 0 THEN
        RETURN;
    END IF;
    IF EXISTS (
        SELECT FROM seats_of(p_user, p_device) s
        WHERE s.is_admin
          AND EXISTS (SELECT FROM members o WHERE o.convo_id = s.convo_id
                          AND o.left_seq IS NULL AND o.user_did <> p_user)
          AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = s.convo_id
                              AND o.left_seq IS NULL AND o.is_admin AND o.ctid <> s.place)) THEN
        RETURN QUERY SELECT 'last_admin'::text, 0::bigint, 0::bigint;
        RETURN;
    END IF;
    UPDATE members m SET device_id = p_device
    WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.convo_id = ANY (v_convo)
      AND m.device_id IS NULL AND founding_device(m.convo_id, p_user) = p_device;
    DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    DELETE FROM welcomes w WHERE w.user_did = p_user AND w.device_id = p_device;
    PERFORM revoke_tickets(p_mark, p_until);
    v_seats := end_seats(p_user, p_device, v_convo);
    IF cardinality(v_convo) >= p_bite THEN
        RETURN QUERY SELECT 'more'::text, v_packages, v_seats;
        RETURN;
    END IF;
    DELETE FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device;
    RETURN QUERY SELECT 'done'::text, v_packages, v_seats;
END $$;

-- As in 0021, but in bites: more says that there are seats left.
DROP FUNCTION delete_account(text, bytea, timestamptz);
CREATE FUNCTION delete_account(
    p_user text, p_mark bytea, p_until timestamptz, p_bite integer DEFAULT 2147483647)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint, more boolean)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo    text[];
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    v_convo := lock_seats(p_user, NULL, p_bite);
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    DELETE FROM welcomes w WHERE w.user_did = p_user;
    GET DIAGNOSTICS v_welcomes = ROW_COUNT;
    DELETE FROM read_cursors r WHERE r.user_did = p_user;
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    DELETE FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did);
    DELETE FROM block_conflicts c WHERE p_user IN (c.blocker_did, c.blocked_did);
    PERFORM revoke_tickets(p_mark, p_until);
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, end_seats(p_user, NULL, v_convo),
                        cardinality(v_convo) >= p_bite;
END $$;

-- As in 0016, but of an account's new devices p_told_max conversations hear in p_told_window,
-- all together: those of the latest messages. They are counted where claims are, under a key
-- of their own. One more outcome: untold (done, but not all have heard of it).
DROP FUNCTION register_device(text, text, text, bytea, integer, smallint[], bytea[], bytea[],
                              bytea[], boolean[], timestamptz[], integer);
CREATE FUNCTION register_device(
    p_user text, p_device text, p_name text, p_signature_key bytea, p_devices_max integer,
    p_suite smallint[], p_package bytea[], p_hash bytea[], p_reference bytea[],
    p_last_resort boolean[], p_expires timestamptz[], p_open_max integer,
    p_told_key bytea DEFAULT NULL, p_told_max integer DEFAULT 500,
    p_told_window interval DEFAULT '1 hour')
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_outcome text;
    v_known   boolean;
    v_convo   text[];
    v_told    integer;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    v_known := EXISTS (SELECT FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device);
    IF EXISTS (SELECT FROM devices d WHERE d.signature_key = p_signature_key
                   AND (d.user_did <> p_user OR d.device_id <> p_device)) THEN
        RETURN 'duplicate_key';
    END IF;
    IF (SELECT count(*) FROM devices d WHERE d.user_did = p_user AND d.device_id <> p_device)
       >= p_devices_max THEN
        RETURN 'too_many_devices';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device
        AND k.claimed_at IS NULL AND NOT k.reference = ANY (p_reference);
    v_outcome := publish_key_packages(p_user, p_device, p_suite, p_package, p_hash, p_reference,
                                      p_last_resort, p_expires, p_open_max);
    IF v_outcome = 'done' THEN
        INSERT INTO devices (user_did, device_id, name, signature_key)
        VALUES (p_user, p_device, p_name, p_signature_key)
        ON CONFLICT (user_did, device_id) DO UPDATE SET
            name = excluded.name, signature_key = excluded.signature_key,
            last_seen_at = excluded.last_seen_at;
    END IF;
    -- The account's conversations hear of a device that somebody may add.
    IF v_outcome = 'done' AND NOT v_known THEN
        SELECT c.claims INTO v_told FROM key_package_claims c
            WHERE c.key = p_told_key AND c.expires_at > now();
        SELECT array_agg(t.convo_id) INTO v_convo FROM (
            SELECT c.convo_id FROM conversations c
            JOIN (SELECT DISTINCT m.convo_id FROM members m
                  WHERE m.user_did = p_user AND m.left_seq IS NULL) s ON s.convo_id = c.convo_id
            ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.convo_id
            LIMIT greatest(p_told_max - coalesce(v_told, 0), 0)) t;
    END IF;
    IF v_convo IS NOT NULL THEN
        INSERT INTO key_package_claims AS c (key, claims, expires_at)
        SELECT p_told_key, cardinality(v_convo), coarse_now() + p_told_window
        WHERE p_told_key IS NOT NULL
        ON CONFLICT (key) DO UPDATE SET
            claims = coalesce(v_told, 0) + excluded.claims,
            expires_at = CASE WHEN v_told IS NULL THEN excluded.expires_at ELSE c.expires_at END;
        PERFORM emit_events(
            v_convo, array_fill(NULL::text, ARRAY[cardinality(v_convo)]),
            array_fill('newDevice'::text, ARRAY[cardinality(v_convo)]),
            array_fill(',"type":"newDevice","did":"' || p_user || '","deviceId":"' || p_device
                       || '"', ARRAY[cardinality(v_convo)]));
    END IF;
    IF v_outcome = 'done' AND NOT v_known AND p_told_key IS NOT NULL
       AND coalesce(cardinality(v_convo), 0) < (
           SELECT count(DISTINCT m.convo_id) FROM members m
           WHERE m.user_did = p_user AND m.left_seq IS NULL) THEN
        RETURN 'untold';
    END IF;
    RETURN v_outcome;
END $$;

-- Welcomes that nobody has confirmed in this time go, wherever they lead.
CREATE FUNCTION forget_old_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
