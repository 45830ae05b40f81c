-- Who asks to be added anew is a device: another of its account neither answers for it nor
-- asks through its seat.

-- As in 0016, but only the device's own request is done when it comes.
CREATE OR REPLACE FUNCTION change_group(
    p_convo text, p_caller text, p_epoch bigint, p_commit bytea, p_commit_id text,
    p_receipt text, p_receipt_hash bytea, p_previous_receipt bytea,
    p_add text[], p_references bytea[], p_welcome bytea,
    p_remove text, p_remove_device text, p_action text,
    p_admin_only boolean, p_group_info bytea, p_members_max integer,
    p_rejoin boolean, p_rejoin_device text, p_resync boolean)
RETURNS TABLE (outcome text, epoch bigint, seq bigint, received_at timestamptz, receipt text)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_convo    conversations;
    v_at       timestamptz := coarse_now();
    v_epoch    bigint;
    v_seq      bigint;
    v_verdict  text;
    v_founding boolean;
    v_unnamed  boolean;
    v_kind     text[] := '{}';
    v_detail   text[] := '{}';
    v_subject  text[] := '{}'; -- whose first or last event it is
    v_base     bigint;
BEGIN
    SELECT * INTO v_convo FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    -- What is judged here must not be used up or deleted before it is used.
    PERFORM FROM key_packages k WHERE k.reference = ANY (p_references)
        ORDER BY k.reference FOR UPDATE;
    -- The founder's seat names no device. Who had a leaf, and has no other seat, had that one.
    SELECT p_resync AND bool_or(m.device_id IS NULL)
           AND bool_and(m.device_id IS DISTINCT FROM p_rejoin_device) INTO v_unnamed
        FROM members m
        WHERE m.convo_id = p_convo AND m.user_did = p_caller AND m.left_seq IS NULL;
    v_founding := NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo)
                  AND v_convo.creator_did = p_caller;
    v_verdict := group_verdict(v_convo, v_founding, p_caller, p_epoch, p_commit, p_add,
                               p_references, p_remove, p_remove_device, p_admin_only,
                               p_members_max, p_rejoin,
                               CASE WHEN v_unnamed THEN NULL ELSE p_rejoin_device END);
    -- In one epoch there is one last receipt: another means that it was read too early.
    IF v_verdict = 'done' AND p_commit IS NOT NULL
       AND p_previous_receipt IS DISTINCT FROM v_convo.receipt_hash THEN
        v_verdict := 'epoch';
    END IF;
    IF v_verdict = 'repeated' THEN
        RETURN QUERY SELECT v_verdict, m.epoch, m.seq, m.received_at, m.receipt::text
            FROM messages m
            WHERE m.convo_id = p_convo AND m.kind = 'commit' AND m.epoch = p_epoch + 1;
        RETURN;
    ELSIF v_verdict <> 'done' THEN
        RETURN QUERY SELECT v_verdict, v_convo.epoch, v_convo.last_seq, v_at, NULL::text;
        RETURN;
    END IF;
    UPDATE members m SET device_id = p_rejoin_device
    WHERE v_unnamed AND m.convo_id = p_convo AND m.user_did = p_caller AND m.left_seq IS NULL
      AND m.device_id IS NULL;
    v_epoch := CASE WHEN p_commit IS NULL THEN v_convo.epoch ELSE p_epoch + 1 END;
    v_seq := v_convo.last_seq + CASE WHEN p_commit IS NULL THEN 0 ELSE 1 END;
    IF p_commit IS NOT NULL THEN
        INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                              padded_size, received_at, receipt)
        VALUES (p_convo, v_seq, p_commit_id, 'commit', v_epoch, p_commit,
                octet_length(p_commit), octet_length(p_commit), v_at, p_receipt::json);
    END IF;
    UPDATE conversations c SET
        epoch = v_epoch, last_seq = v_seq,
        receipt_hash = coalesce(p_receipt_hash, c.receipt_hash),
        group_info = coalesce(p_group_info, c.group_info),
        group_info_epoch = CASE WHEN p_group_info IS NULL THEN c.group_info_epoch ELSE v_epoch END
    WHERE c.convo_id = p_convo;
    -- Who goes, or is in by a later epoch, has no use for a Welcome of an earlier one.
    DELETE FROM welcomes w USING (
        SELECT k.user_did, k.device_id, false FROM key_packages k
        WHERE k.reference = ANY (p_references)
        UNION ALL SELECT p_caller, p_rejoin_device, false WHERE p_rejoin
        UNION ALL SELECT p_remove, p_remove_device, p_remove_device IS NULL) d (who, device, whole)
    WHERE w.convo_id = p_convo AND w.user_did = d.who AND w.state <> 'confirmed'
      AND (d.whole OR w.device_id IS NOT DISTINCT FROM d.device);
    INSERT INTO welcomes (convo_id, user_did, device_id, welcome, epoch)
    SELECT p_convo, k.user_did, k.device_id, p_welcome, v_epoch
    FROM key_packages k WHERE k.reference = ANY (p_references);
    UPDATE key_packages k SET consumed_at = v_at, claimed_at = coalesce(k.claimed_at, v_at)
    WHERE k.reference = ANY (p_references) AND NOT k.last_resort;
    -- The events, in the order in which members may see them: one who goes sees
    -- nothing after its own going, one who comes nothing before its coming.
    IF v_founding THEN
        v_kind := v_kind || 'membershipChange'::text;
        v_subject := v_subject || p_caller;
        v_detail := v_detail || membership_detail(p_caller, 'joined', v_epoch);
    END IF;
    IF p_remove IS NOT NULL THEN
        IF p_remove_device IS NOT NULL AND EXISTS (
            SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_remove
                AND m.left_seq IS NULL AND m.device_id IS DISTINCT FROM p_remove_device) THEN
            v_kind := v_kind || 'conversationUpdated'::text;
            v_detail := v_detail || ',"type":"conversationUpdated"'::text;
        ELSE
            v_kind := v_kind || 'membershipChange'::text;
            v_detail := v_detail || membership_detail(p_remove, p_action, v_epoch);
        END IF;
        v_subject := v_subject || p_remove;
    END IF;
    IF p_commit IS NOT NULL THEN
        v_kind := v_kind || 'epochAdvanced'::text;
        v_subject := v_subject || ''::text;
        v_detail := v_detail
            || format(',"type":"epochAdvanced","epoch":%s,"messageId":"%s","receipt":%s',
                      v_epoch, p_commit_id, p_receipt);
    END IF;
    SELECT v_kind || coalesce(array_agg(n.kind ORDER BY n.who), '{}'),
           v_subject || coalesce(array_agg(n.who ORDER BY n.who), '{}'),
           v_detail || coalesce(array_agg(n.detail ORDER BY n.who), '{}')
        INTO v_kind, v_subject, v_detail
        FROM (
            SELECT u.who,
                   CASE WHEN known THEN 'conversationUpdated' ELSE 'membershipChange' END AS kind,
                   CASE WHEN known THEN ',"type":"conversationUpdated"'
                        ELSE membership_detail(u.who, 'joined', v_epoch) END AS detail
            FROM (SELECT DISTINCT a.who, (v_founding AND a.who = p_caller) OR EXISTS (
                      SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = a.who
                          AND m.left_seq IS NULL) AS known
                  FROM (SELECT k.user_did FROM key_packages k
                        WHERE k.reference = ANY (p_references)
                        UNION SELECT p_caller WHERE p_rejoin) AS a (who)) u) n;
    IF cardinality(v_kind) > 0 THEN
        v_base := emit_events(array_fill(p_convo, ARRAY[cardinality(v_kind)]),
                              array_fill(NULL::text, ARRAY[cardinality(v_kind)]), v_kind, v_detail);
    END IF;
    -- Each stay begins and ends with its own event.
    UPDATE members m SET left_seq = v_base + array_position(v_subject, p_remove), left_at = v_at,
        removed = p_action = 'removed'
    WHERE m.convo_id = p_convo AND m.user_did = p_remove AND m.left_seq IS NULL
      AND (p_remove_device IS NULL OR m.device_id IS NOT DISTINCT FROM p_remove_device);
    IF v_founding THEN
        INSERT INTO members (convo_id, user_did, is_admin, joined_seq, joined_message_seq, joined_at)
        VALUES (p_convo, p_caller, true, v_base + 1, 0, v_at);
    END IF;
    -- A device that lost its state keeps its seat; what it asked for is done.
    WITH coming AS (
        SELECT k.user_did, k.device_id FROM key_packages k WHERE k.reference = ANY (p_references)
        UNION SELECT p_caller, p_rejoin_device WHERE p_rejoin
    ), answered AS (
        UPDATE members m SET rejoin_requested_at = NULL FROM coming k
        WHERE m.convo_id = p_convo AND m.user_did = k.user_did
          AND (m.left_seq IS NOT NULL OR m.device_id IS NOT DISTINCT FROM k.device_id)
          AND m.rejoin_requested_at IS NOT NULL
    )
    INSERT INTO members (convo_id, user_did, device_id, is_admin, joined_seq, joined_message_seq,
                         joined_at)
    SELECT p_convo, k.user_did, k.device_id,
           EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = k.user_did
                       AND m.left_seq IS NULL AND m.is_admin),
           v_base + array_position(v_subject, k.user_did), v_seq, v_at
    FROM coming k
    WHERE NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo
                          AND m.user_did = k.user_did AND m.left_seq IS NULL
                          AND m.device_id IS NOT DISTINCT FROM k.device_id);
    RETURN QUERY SELECT 'done'::text, v_epoch, v_seq, v_at, p_receipt;
END $$;

-- As in 0016, but a device without a seat leaves those of the account's other devices alone:
-- what was last told of it says whether it is told again.
DROP FUNCTION request_rejoin(text, text, text, smallint, bytea, bytea, bytea, boolean, timestamptz,
                             integer, interval);
CREATE FUNCTION request_rejoin(
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
    DELETE FROM key_packages k WHERE k.user_did = p_user
        AND k.device_id IS NOT DISTINCT FROM p_device
        AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.reference <> p_reference
        AND (v_kept IS NULL OR k.created_at < v_kept);
    v_outcome := publish_key_packages(
        p_user, p_device, ARRAY[p_suite], ARRAY[p_package], ARRAY[p_hash], ARRAY[p_reference],
        ARRAY[p_last_resort], ARRAY[p_expires], p_open_max, p_devices_max);
    v_seated := v_seat.left_seq IS NOT NULL OR v_seat.device_id IS NOT DISTINCT FROM p_device;
    v_quiet := CASE WHEN v_seated THEN v_seat.rejoin_requested_at > v_at - p_quiet
        ELSE EXISTS (
            SELECT FROM event_stream e WHERE e.convo_id = p_convo
                AND e.kind = 'readditionRequested' AND e.emitted_at > v_at - p_quiet
                AND e.payload ->> 'userDid' = p_user
                AND e.payload ->> 'deviceId' IS NOT DISTINCT FROM p_device) END;
    IF v_outcome <> 'done' OR v_quiet THEN
        RETURN v_outcome;
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
