-- What a device has published is found among what all devices of its account have.

-- Drops the unclaimed packages of a device that it no longer has the keys of; without a device it
-- is about those that belong to none.
CREATE OR REPLACE FUNCTION sync_key_packages(p_user text, p_device text, p_hashes bytea[])
RETURNS TABLE (dropped bytea[], kept bytea[])
LANGUAGE plpgsql AS $$
DECLARE
    v_dropped bytea[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT o.reference FROM open_key_packages(p_user, p_device) o
        WHERE NOT o.hash = ANY (p_hashes)));
    WITH gone AS (
        DELETE FROM key_packages k USING open_key_packages(p_user, p_device) o
        WHERE k.id = o.id AND NOT o.hash = ANY (p_hashes)
        RETURNING k.hash)
    SELECT coalesce(array_agg(g.hash), '{}') INTO v_dropped FROM gone g;
    RETURN QUERY SELECT v_dropped, coalesce(array_agg(o.hash ORDER BY o.id), '{}')
        FROM open_key_packages(p_user, p_device) o;
END $$;

-- Asking to be added anew: a device that has lost its keys, a new device, or an account that left by
-- its own will, leaves a key package, and the members are told, once in p_quiet, however often it is
-- asked. Of the device's key packages those go whose keys are lost: not what it has published since
-- it registered anew, or, where it did not, since it first asked in another conversation.
--
-- Who asks is a device. A seat that names none is the asker's if it is the founder's; those of the
-- account's other devices are left alone. That the members were told of a device without a seat is
-- known where claims are counted, under a key of its own: the conversation's events may be many. That
-- they were told at a time to come, by a clock that ran ahead, counts for nothing. Of stays that are
-- over the one that ended last tells whether the account may ask.
--
-- Outcomes: done, absent (it may not ask, or nobody is left who could answer), suite (the
-- conversation has another), and those of publish_key_packages.
CREATE OR REPLACE FUNCTION request_rejoin(
    p_convo text, p_user text, p_device text, p_suite smallint, p_package bytea, p_hash bytea,
    p_reference bytea, p_last_resort boolean, p_expires timestamptz, p_open_max integer,
    p_quiet interval, p_devices_max integer DEFAULT 2147483647)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_convo   conversations;
    v_seat    record;
    v_founder boolean; -- a seat without a name is its own
    v_seated  boolean; -- the seat is its own, or nobody's any more
    v_quiet   boolean;
    v_outcome text;
    v_at      timestamptz := coarse_now();
    v_kept    timestamptz;
    v_key     bytea := sha256(convert_to(
        concat_ws(' ', 'rejoin', p_convo, p_user, p_device), 'UTF8'));
BEGIN
    SELECT * INTO v_convo FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    -- A founder's seat may name no device.
    v_founder := coalesce(founding_device(p_convo, p_user) = p_device, false);
    -- Its own seat, or another of the account's, or the account's last stay.
    SELECT m.ctid AS place, m.left_seq, m.removed, m.joined_at, m.rejoin_requested_at, m.device_id
        INTO v_seat
        FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_user
        ORDER BY m.left_seq DESC NULLS FIRST, m.device_id IS NOT DISTINCT FROM p_device DESC,
                 v_founder AND m.device_id IS NULL DESC, m.joined_seq DESC LIMIT 1;
    IF NOT FOUND OR (v_seat.left_seq IS NOT NULL AND v_seat.removed)
       OR NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.left_seq IS NULL) THEN
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
    PERFORM lock_packages(p_reference || ARRAY(
        SELECT o.reference FROM open_key_packages(p_user, p_device) o
        WHERE v_kept IS NULL OR o.created_at < v_kept));
    BEGIN
        DELETE FROM key_packages k USING open_key_packages(p_user, p_device) o
        WHERE k.id = o.id AND k.reference <> p_reference
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
    v_seated := v_seat.left_seq IS NOT NULL OR v_seat.device_id IS NOT DISTINCT FROM p_device
        OR (v_founder AND v_seat.device_id IS NULL);
    v_quiet := CASE WHEN v_seated
        THEN coalesce(v_seat.rejoin_requested_at > v_at - p_quiet
                      AND v_seat.rejoin_requested_at <= v_at + p_quiet, false)
        ELSE EXISTS (SELECT FROM key_package_claims c
                     WHERE c.key = v_key AND c.expires_at > v_at
                         AND c.expires_at <= v_at + p_quiet) END;
    UPDATE members m SET rejoin_requested_at = v_at
    WHERE v_seated AND NOT v_quiet AND m.ctid = v_seat.place;
    IF v_founder AND v_seat.left_seq IS NULL AND v_seat.device_id IS NULL THEN
        PERFORM name_seats(p_user, p_device, ARRAY[p_convo]);
    END IF;
    IF v_quiet THEN
        RETURN 'done';
    END IF;
    INSERT INTO key_package_claims AS c (key, claims, expires_at)
    SELECT v_key, 1, v_at + p_quiet WHERE NOT v_seated
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at;
    PERFORM emit_events(
        ARRAY[p_convo], ARRAY[NULL::text], ARRAY['readditionRequested'],
        ARRAY[format(',"type":"readditionRequested","userDid":"%s"%s,"requestedAt":"%s"', p_user,
                     CASE WHEN p_device IS NULL THEN ''
                          ELSE ',"deviceId":"' || p_device || '"' END,
                     to_char(v_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))]);
    RETURN 'done';
END $$;
