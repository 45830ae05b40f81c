-- Admins, reports, blocks, consent, the end of a device, and answers that are
-- given twice.

CREATE TABLE reports (
    report_id         text        NOT NULL PRIMARY KEY,
    convo_id          text        NOT NULL REFERENCES conversations,
    reporter_did      text        NOT NULL,
    reported_did      text        NOT NULL,
    category          text        NOT NULL,
    -- Ciphertext for the conversation's admins: opaque here.
    encrypted_content bytea       NOT NULL CHECK (octet_length(encrypted_content) <= 51200),
    message_ids       text[]      NOT NULL CHECK (cardinality(message_ids) <= 20),
    status            text        NOT NULL DEFAULT 'pending'
                                  CHECK (status IN ('pending', 'resolved', 'dismissed')),
    created_at        timestamptz NOT NULL DEFAULT coarse_now(),
    resolved_by       text,
    resolved_at       timestamptz,
    resolution        text        CHECK (resolution IN ('removed_member', 'dismissed', 'no_action')),
    notes             text        CHECK (length(notes) <= 1000)
);
CREATE INDEX reports_of_convo ON reports (convo_id, created_at DESC, report_id);

-- What the AppView said of blocks between two accounts, and when.
CREATE TABLE blocks (
    blocker_did text        NOT NULL,
    blocked_did text        NOT NULL,
    block_uri   text,
    seen_at     timestamptz NOT NULL DEFAULT coarse_now(),
    PRIMARY KEY (blocker_did, blocked_did)
);

CREATE TABLE opt_ins (
    user_did    text        NOT NULL PRIMARY KEY,
    opted_in_at timestamptz NOT NULL DEFAULT coarse_now()
);

-- Answers to procedures that may be asked again. The caller and its key are one
-- hash; the request is another.
CREATE TABLE idempotency_keys (
    key          bytea       NOT NULL PRIMARY KEY,
    request_hash bytea       NOT NULL,
    -- NULL while the first asker is still at it.
    answer       bytea,
    expires_at   timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);

CREATE FUNCTION forget_idempotency_keys(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM idempotency_keys j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM idempotency_keys j WHERE j.expires_at < now() LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Gives or takes the role of admin, on all devices of the account.
-- Outcomes: done, absent, not_admin, target_absent, unchanged, last_admin.
CREATE FUNCTION set_admin(p_convo text, p_caller text, p_target text, p_admin boolean)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_role boolean;
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    SELECT bool_or(m.is_admin) INTO v_role FROM members m
        WHERE m.convo_id = p_convo AND m.user_did = p_caller AND m.left_seq IS NULL;
    IF v_role IS NULL THEN
        RETURN 'absent';
    ELSIF NOT v_role AND (p_admin OR p_caller <> p_target) THEN
        RETURN 'not_admin';
    END IF;
    SELECT bool_or(m.is_admin) INTO v_role FROM members m
        WHERE m.convo_id = p_convo AND m.user_did = p_target AND m.left_seq IS NULL;
    IF v_role IS NULL THEN
        RETURN 'target_absent';
    ELSIF v_role = p_admin THEN
        RETURN 'unchanged';
    ELSIF NOT p_admin AND NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = p_convo AND m.left_seq IS NULL
            AND m.is_admin AND m.user_did <> p_target) THEN
        RETURN 'last_admin';
    END IF;
    UPDATE members m SET is_admin = p_admin,
        promoted_at = CASE WHEN p_admin THEN coarse_now() ELSE m.promoted_at END,
        promoted_by = CASE WHEN p_admin THEN p_caller ELSE m.promoted_by END
    WHERE m.convo_id = p_convo AND m.user_did = p_target AND m.left_seq IS NULL;
    PERFORM emit_events(ARRAY[p_convo], ARRAY[NULL::text], ARRAY['conversationUpdated'],
                        ARRAY[',"type":"conversationUpdated"']);
    RETURN 'done';
END $$;

-- Keeps a GroupInfo for later joiners; an older epoch never replaces a newer one.
-- Outcomes: done, absent, stale.
CREATE FUNCTION update_group_info(p_convo text, p_caller text, p_epoch bigint, p_info bytea)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_caller
                       AND m.left_seq IS NULL) THEN
        RETURN 'absent';
    END IF;
    UPDATE conversations c SET group_info = p_info, group_info_epoch = p_epoch
    WHERE c.convo_id = p_convo AND p_epoch <= c.epoch AND p_epoch >= coalesce(c.group_info_epoch, 0);
    RETURN CASE WHEN FOUND THEN 'done' ELSE 'stale' END;
END $$;

-- Ends the seats of one device, or of all devices of the account (p_device NULL), and
-- tells the conversations; returns how many there were. Their rows must be locked:
-- see lock_seats. What the account had read goes where it has no seat left.
CREATE FUNCTION end_seats(p_user text, p_device text) RETURNS bigint
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
                  AND (p_device IS NULL OR m.device_id = p_device)
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
    UPDATE members m SET left_seq = v_base + array_position(v_convo, m.convo_id),
        left_at = coarse_now()
    WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.convo_id = ANY (v_convo)
      AND (p_device IS NULL OR m.device_id = p_device);
    RETURN cardinality(v_convo);
END $$;

-- Locks the conversations of one device, or of all devices of the account, before
-- anything else: a change of a group locks in the same order.
CREATE FUNCTION lock_seats(p_user text, p_device text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id IN (
            SELECT m.convo_id FROM members m WHERE m.user_did = p_user AND m.left_seq IS NULL
                AND (p_device IS NULL OR m.device_id = p_device))
        ORDER BY c.convo_id FOR NO KEY UPDATE;
END $$;

-- Tickets are not stored; those that were given out until now are refused by a mark
-- that outlives them. Like a nonce, it is a hash.
CREATE FUNCTION revoke_tickets(p_mark bytea, p_until timestamptz) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO used_jti AS u (key, expires_at) VALUES (p_mark, p_until)
    ON CONFLICT (key) DO UPDATE SET expires_at = greatest(u.expires_at, excluded.expires_at)
$$;

-- Ends a device: its seats, packages, Welcomes and registration, and the account's
-- tickets, at once. Returns how many packages and seats it had; no row if there is
-- no such device. Outcomes: done, last_admin (others would stay behind without an
-- admin).
CREATE FUNCTION delete_device(p_user text, p_device text, p_mark bytea, p_until timestamptz)
RETURNS TABLE (outcome text, packages bigint, seats bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_packages bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    IF NOT EXISTS (SELECT FROM devices d
                   WHERE d.user_did = p_user AND d.device_id = p_device) THEN
        RETURN;
    END IF;
    PERFORM lock_seats(p_user, p_device);
    IF EXISTS (
        SELECT FROM members m WHERE m.user_did = p_user AND m.device_id = p_device
            AND m.left_seq IS NULL AND m.is_admin
            AND EXISTS (SELECT FROM members o WHERE o.convo_id = m.convo_id
                            AND o.left_seq IS NULL AND o.user_did <> p_user)
            AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = m.convo_id
                                AND o.left_seq IS NULL AND o.is_admin
                                AND (o.user_did <> p_user
                                     OR o.device_id IS DISTINCT FROM p_device))) THEN
        RETURN QUERY SELECT 'last_admin'::text, 0::bigint, 0::bigint;
        RETURN;
    END IF;
    DELETE FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device;
    DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    DELETE FROM welcomes w WHERE w.user_did = p_user AND w.device_id = p_device;
    PERFORM revoke_tickets(p_mark, p_until);
    RETURN QUERY SELECT 'done'::text, v_packages, end_seats(p_user, p_device);
END $$;

-- Ends an account: all its devices with all that hangs on them, what it has read, its
-- consent, and what was learned of its blocks, at once. What conversations show stays
-- with them: who founded them, stays that are over, reports.
CREATE FUNCTION delete_account(p_user text, p_mark bytea, p_until timestamptz)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    PERFORM lock_seats(p_user, NULL);
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    DELETE FROM welcomes w WHERE w.user_did = p_user;
    GET DIAGNOSTICS v_welcomes = ROW_COUNT;
    DELETE FROM read_cursors r WHERE r.user_did = p_user;
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    DELETE FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did);
    PERFORM revoke_tickets(p_mark, p_until);
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, end_seats(p_user, NULL);
END $$;

-- Drops the unclaimed packages of a device that it no longer has the keys of.
CREATE FUNCTION sync_key_packages(p_user text, p_device text, p_hashes bytea[])
RETURNS TABLE (dropped bytea[], kept bytea[])
LANGUAGE plpgsql AS $$
DECLARE
    v_dropped bytea[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    WITH gone AS (
        DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device
            AND k.consumed_at IS NULL AND k.claimed_at IS NULL AND NOT k.hash = ANY (p_hashes)
        RETURNING k.hash)
    SELECT coalesce(array_agg(g.hash), '{}') INTO v_dropped FROM gone g;
    RETURN QUERY SELECT v_dropped, coalesce(array_agg(k.hash ORDER BY k.id), '{}')
        FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device
            AND k.consumed_at IS NULL AND k.claimed_at IS NULL;
END $$;
