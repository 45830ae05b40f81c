-- Asking to be added anew: a device that has lost its keys, a new device, or an
-- account that left by its own will, leaves a key package, and the members are told.
-- They are told once in p_quiet, however often it is asked. Of the device's key packages those
-- go whose keys are lost: not what it has published since it registered anew, or, where it did
-- not, since it first asked in another conversation.
-- Outcomes: done, absent, suite (the conversation has another), and those of
-- publish_key_packages.
CREATE OR REPLACE FUNCTION request_rejoin(
    p_convo text, p_user text, p_device text, p_suite smallint, p_package bytea, p_hash bytea,
    p_reference bytea, p_last_resort boolean, p_expires timestamptz, p_open_max integer,
    p_quiet interval)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_suite   smallint;
    v_seat    record;
    v_outcome text;
    v_at      timestamptz := coarse_now();
    v_kept    timestamptz;
BEGIN
    SELECT c.cipher_suite INTO v_suite FROM conversations c WHERE c.convo_id = p_convo
        FOR NO KEY UPDATE;
    -- Its own seat, or another of the account's, or the account's last stay.
    SELECT m.ctid AS place, m.left_seq, m.removed, m.joined_at, m.rejoin_requested_at INTO v_seat
        FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_user
        ORDER BY m.left_seq IS NULL DESC, m.device_id IS NOT DISTINCT FROM p_device DESC,
                 m.joined_seq DESC LIMIT 1;
    IF NOT FOUND OR (v_seat.left_seq IS NOT NULL AND v_seat.removed) THEN
        RETURN 'absent';
    ELSIF v_suite <> p_suite THEN
        RETURN 'suite';
    END IF;
    v_kept := coalesce(
        (SELECT d.last_seen_at FROM devices d WHERE d.user_did = p_user
            AND d.device_id = p_device AND d.last_seen_at > v_seat.joined_at),
        (SELECT min(m.rejoin_requested_at) FROM members m WHERE m.user_did = p_user
            AND m.convo_id <> p_convo AND m.device_id IS NOT DISTINCT FROM p_device
            AND m.left_seq IS NULL));
    -- In the order in which whoever publishes takes them.
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    DELETE FROM key_packages k WHERE k.user_did = p_user
        AND k.device_id IS NOT DISTINCT FROM p_device
        AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.hash <> p_hash
        AND (v_kept IS NULL OR k.created_at < v_kept);
    v_outcome := publish_key_packages(
        p_user, p_device, ARRAY[p_suite], ARRAY[p_package], ARRAY[p_hash], ARRAY[p_reference],
        ARRAY[p_last_resort], ARRAY[p_expires], p_open_max);
    IF v_outcome <> 'done' OR v_seat.rejoin_requested_at > v_at - p_quiet THEN
        RETURN v_outcome;
    END IF;
    UPDATE members m SET rejoin_requested_at = v_at WHERE m.ctid = v_seat.place;
    PERFORM emit_events(
        ARRAY[p_convo], ARRAY[NULL::text], ARRAY['readditionRequested'],
        ARRAY[format(',"type":"readditionRequested","userDid":"%s"%s,"requestedAt":"%s"', p_user,
                     CASE WHEN p_device IS NULL THEN ''
                          ELSE ',"deviceId":"' || p_device || '"' END,
                     to_char(v_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))]);
    RETURN 'done';
END $$;
