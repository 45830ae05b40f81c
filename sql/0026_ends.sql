-- Who is put into a conversation while its device or its account ends is out when that is done,
-- and a seat that names no device is the founder's if it is the first.

-- As in 0023, but where the account had an older seat, that was the founder's, and the one that
-- names no device is that of a phone which never names one.
CREATE OR REPLACE FUNCTION founding_device(p_convo text, p_user text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(*) = 1 THEN min(d.device_id) END
    FROM conversations c
    JOIN devices d ON d.user_did = c.creator_did AND d.registered_at <= c.created_at
    WHERE c.convo_id = p_convo AND c.creator_did = p_user
      AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = p_convo AND o.user_did = p_user
                          AND o.device_id = d.device_id)
      AND NOT EXISTS (SELECT FROM members o JOIN members n USING (convo_id, user_did)
                      WHERE o.convo_id = p_convo AND o.user_did = p_user
                        AND n.device_id IS NULL AND n.left_seq IS NULL
                        AND o.joined_seq < n.joined_seq)
$$;

-- As in 0023, but it is more as long as there is a seat: who added the device before its key
-- packages were gone may have given it one that was not there when the others were counted.
CREATE OR REPLACE FUNCTION delete_device(
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
    IF EXISTS (SELECT FROM seats_of(p_user, p_device)) THEN
        RETURN QUERY SELECT 'more'::text, v_packages, v_seats;
        RETURN;
    END IF;
    DELETE FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device;
    RETURN QUERY SELECT 'done'::text, v_packages, v_seats;
END $$;

-- As in 0023, and likewise. Its key packages are locked in the order in which who adds several
-- of its devices locks them, so that the two do not wait for each other.
CREATE OR REPLACE FUNCTION delete_account(
    p_user text, p_mark bytea, p_until timestamptz, p_bite integer DEFAULT 2147483647)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint, more boolean)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo    text[];
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
    v_seats    bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    v_convo := lock_seats(p_user, NULL, p_bite);
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    PERFORM FROM key_packages k WHERE k.user_did = p_user ORDER BY k.reference FOR UPDATE;
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    DELETE FROM welcomes w WHERE w.user_did = p_user;
    GET DIAGNOSTICS v_welcomes = ROW_COUNT;
    DELETE FROM read_cursors r WHERE r.user_did = p_user;
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    DELETE FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did);
    DELETE FROM block_conflicts c WHERE p_user IN (c.blocker_did, c.blocked_did);
    PERFORM revoke_tickets(p_mark, p_until);
    v_seats := end_seats(p_user, NULL, v_convo);
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, v_seats,
                        EXISTS (SELECT FROM seats_of(p_user, NULL));
END $$;

-- As in 0024, but a seat that names no device is the asker's if it is the founder's.
CREATE OR REPLACE FUNCTION request_rejoin(
    p_convo text, p_user text, p_device text, p_suite smallint, p_package bytea, p_hash bytea,
    p_reference bytea, p_last_resort boolean, p_expires timestamptz, p_open_max integer,
    p_quiet interval, p_devices_max integer DEFAULT 2147483647)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_convo   conversations;
    v_seat    record;
    v_seated  boolean; -- the seat is its own, or nobody's any more
    v_quiet   boolean;
    v_outcome text;
    v_at      timestamptz := coarse_now();
    v_kept    timestamptz;
BEGIN
    SELECT * INTO v_convo FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    -- A founder's seat may name no device.
    UPDATE members m SET device_id = p_device
    WHERE m.convo_id = p_convo AND m.user_did = p_user AND m.left_seq IS NULL
      AND m.device_id IS NULL AND founding_device(p_convo, p_user) = p_device;
    -- Its own seat, or another of the account's, or the account's last stay.
    SELECT m.ctid AS place, m.left_seq, m.removed, m.joined_at, m.rejoin_requested_at, m.device_id
        INTO v_seat
        FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_user
        ORDER BY m.left_seq DESC NULLS FIRST, m.device_id IS NOT DISTINCT FROM p_device DESC,
                 m.joined_seq DESC LIMIT 1;
    IF NOT FOUND OR (v_seat.left_seq IS NOT NULL AND v_seat.removed) THEN
        RETURN 'absent';
    ELSIF v_convo.cipher_suite <> p_suite THEN
        RETURN 'suite';
    END IF;
    v_kept := coalesce(
        (SELECT d.last_seen_at FROM devices d WHERE d.user_did = p_user
            AND d.device_id = p_device AND d.last_seen_at > v_seat.joined_at),
        (SELECT min(m.rejoin_requested_at) FROM members m WHERE m.user_did = p_user
            AND m.convo_id <> p_convo AND m.device_id IS NOT DISTINCT FROM p_device
            AND m.left_seq IS NULL));
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    BEGIN
        DELETE FROM key_packages k WHERE k.user_did = p_user
            AND k.device_id IS NOT DISTINCT FROM p_device
            AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.reference <> p_reference
            AND (v_kept IS NULL OR k.created_at < v_kept);
        v_outcome := publish_key_packages(
            p_user, p_device, ARRAY[p_suite], ARRAY[p_package], ARRAY[p_hash], ARRAY[p_reference],
            ARRAY[p_last_resort], ARRAY[p_expires], p_open_max, p_devices_max);
        IF v_outcome <> 'done' THEN
            RAISE EXCEPTION USING ERRCODE = 'MR001', MESSAGE = 'the package is refused';
        END IF;
    EXCEPTION WHEN SQLSTATE 'MR001' THEN
        RETURN v_outcome;
    END;
    v_seated := v_seat.left_seq IS NOT NULL OR v_seat.device_id IS NOT DISTINCT FROM p_device;
    v_quiet := CASE WHEN v_seated THEN v_seat.rejoin_requested_at > v_at - p_quiet
        ELSE EXISTS (
            SELECT FROM event_stream e WHERE e.convo_id = p_convo
                AND e.kind = 'readditionRequested' AND e.emitted_at > v_at - p_quiet
                AND e.payload ->> 'userDid' = p_user
                AND e.payload ->> 'deviceId' IS NOT DISTINCT FROM p_device) END;
    IF v_quiet THEN
        RETURN 'done';
    END IF;
    UPDATE members m SET rejoin_requested_at = v_at WHERE v_seated AND m.ctid = v_seat.place;
    PERFORM emit_events(
        ARRAY[p_convo], ARRAY[NULL::text], ARRAY['readditionRequested'],
        ARRAY[format(',"type":"readditionRequested","userDid":"%s"%s,"requestedAt":"%s"', p_user,
                     CASE WHEN p_device IS NULL THEN ''
                          ELSE ',"deviceId":"' || p_device || '"' END,
                     to_char(v_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))]);
    RETURN 'done';
END $$;
