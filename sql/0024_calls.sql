-- What is refused changes nothing, and what an account leaves behind names it no longer.

-- Cursors that the relay never gave out, which stood in the way of those it did. Numbers stay
-- below 2^53; the time is the first ten characters.
DELETE FROM read_cursors r WHERE substr(r.cursor, 11, 5) <> '00000';

-- As in 0022, but the packages from before stay where the new one is refused.
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
    -- The founder's seat names no device. It is the asker's if of all devices that were
    -- registered by then only this one never had a seat of its own.
    UPDATE members m SET device_id = p_device
    WHERE m.convo_id = p_convo AND m.user_did = p_user AND m.left_seq IS NULL
      AND m.device_id IS NULL AND ARRAY[p_device] = ARRAY(
          SELECT d.device_id FROM devices d
          WHERE d.user_did = p_user AND d.registered_at <= v_convo.created_at
            AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = p_convo
                                AND o.user_did = p_user AND o.device_id = d.device_id));
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

-- Makes events that were told of an account tell of nobody. They are not deleted: numbers are
-- dense, and the last one is where the stream goes on. Each call looks at p_most events, from
-- an index of their topic, so that it is short however busy a conversation was.

-- News for the account's own devices; says how many there were.
CREATE FUNCTION blank_own_events(p_user text, p_most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    -- Nobody's: names under .invalid are never given (RFC 2606).
    v_nobody CONSTANT text := 'did:web:gone.invalid';
    v_event  record;
    v_count  bigint := 0;
BEGIN
    FOR v_event IN SELECT e.emitted_at, e.seq FROM event_stream e
        WHERE e.user_did = p_user ORDER BY e.seq LIMIT p_most
    LOOP
        v_count := v_count + 1;
        UPDATE event_stream e SET user_did = v_nobody, kind = 'gone',
            payload = ('{"cursor":"' || (e.payload ->> 'cursor') || '","type":"gone","did":"'
                       || v_nobody || '"}')::json
        WHERE e.emitted_at = v_event.emitted_at AND e.seq = v_event.seq;
    END LOOP;
    RETURN v_count;
END $$;

-- What a conversation was told of the account's devices: members hear of a change instead, and
-- look. Begins after p_after; says where to go on, NULL when all has been looked at.
CREATE FUNCTION blank_device_events(p_user text, p_convo text, p_after bigint, p_most integer)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_event record;
    v_count integer := 0;
    v_last  bigint;
BEGIN
    FOR v_event IN SELECT e.emitted_at, e.seq, e.kind, e.payload FROM event_stream e
        WHERE e.convo_id = p_convo AND e.seq > p_after ORDER BY e.seq LIMIT p_most
    LOOP
        v_count := v_count + 1;
        v_last := v_event.seq;
        IF v_event.kind IN ('newDevice', 'readditionRequested')
           AND p_user IN (v_event.payload ->> 'did', v_event.payload ->> 'userDid') THEN
            UPDATE event_stream e SET kind = 'conversationUpdated',
                payload = ('{"cursor":"' || (e.payload ->> 'cursor') || '","convoId":"' || p_convo
                           || '","type":"conversationUpdated"}')::json
            WHERE e.emitted_at = v_event.emitted_at AND e.seq = v_event.seq;
        END IF;
    END LOOP;
    RETURN CASE WHEN v_count = p_most THEN v_last END;
END $$;
