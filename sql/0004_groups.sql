-- Everything that changes who is in a conversation, or its epoch: one function,
-- one statement, one transaction, so that a commit, its epoch, its Welcome, its
-- GroupInfo, the membership and the events stand or fall together.
--
-- Outcomes: done, repeated (the same commit was accepted before), absent (no such
-- conversation for this caller), exists, not_admin, target_absent, last_admin,
-- already_member, too_many_members, key_package_not_found, welcome_mismatch, epoch.
CREATE FUNCTION change_group(
    p_convo text, p_caller text,
    -- A commit made in p_epoch, or NULL: the epoch does not move. Its receipt names
    -- the receipt of the commit that led to p_epoch.
    p_epoch bigint, p_commit bytea, p_commit_id text,
    p_receipt text, p_receipt_hash bytea, p_previous_receipt bytea,
    -- Who joins, by the key packages that the Welcome is encrypted to.
    p_add text[], p_references bytea[], p_welcome bytea,
    -- Who goes: all devices of the account, or the one that is named.
    p_remove text, p_remove_device text, p_action text,
    p_admin_only boolean, p_group_info bytea, p_members_max integer,
    -- Whether the commit is external: the caller comes back by it, on this device, and
    -- perhaps takes out the leaf that the device had.
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
    v_kind     text[] := '{}';
    v_detail   text[] := '{}';
    v_subject  text[] := '{}'; -- whose first or last event it is
    v_base     bigint;
BEGIN
    SELECT * INTO v_convo FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    v_founding := NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo)
                  AND v_convo.creator_did = p_caller;
    v_verdict := group_verdict(v_convo, v_founding, p_caller, p_epoch, p_commit, p_add,
                               p_references, p_remove, p_remove_device, p_admin_only,
                               p_members_max, p_rejoin, p_rejoin_device);
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
    -- Who is welcomed again has no use for a Welcome of an earlier epoch.
    DELETE FROM welcomes w USING key_packages k
    WHERE k.reference = ANY (p_references) AND w.convo_id = p_convo AND w.user_did = k.user_did
      AND w.device_id IS NOT DISTINCT FROM k.device_id AND w.state <> 'confirmed';
    INSERT INTO welcomes (convo_id, user_did, device_id, welcome)
    SELECT p_convo, k.user_did, k.device_id, p_welcome
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
    -- The founder's seat names no device. When it comes back on one, it was that one.
    UPDATE members m SET device_id = k.device_id
    FROM (SELECT k.user_did, k.device_id FROM key_packages k WHERE k.reference = ANY (p_references)
          UNION SELECT p_caller, p_rejoin_device WHERE p_rejoin) k
    WHERE m.convo_id = p_convo AND m.user_did = k.user_did AND m.left_seq IS NULL
      AND m.device_id IS NULL AND k.device_id IS NOT NULL
      AND (m.rejoin_requested_at IS NOT NULL OR (p_resync AND m.user_did = p_caller))
      AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = p_convo
                          AND o.user_did = k.user_did AND o.left_seq IS NULL
                          AND o.device_id = k.device_id);
    -- A device that lost its state keeps its seat; what it asked for is done.
    WITH coming AS (
        SELECT k.user_did, k.device_id FROM key_packages k WHERE k.reference = ANY (p_references)
        UNION SELECT p_caller, p_rejoin_device WHERE p_rejoin
    ), answered AS (
        UPDATE members m SET rejoin_requested_at = NULL FROM coming k
        WHERE m.convo_id = p_convo AND m.user_did = k.user_did
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

CREATE FUNCTION membership_detail(p_did text, p_action text, p_epoch bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT ',"type":"membershipChange","did":"' || p_did || '","action":"' || p_action
           || '","epoch":' || p_epoch
$$;

-- Whether a change may be made; called with the conversation's row locked.
CREATE FUNCTION group_verdict(
    p_convo conversations, p_founding boolean, p_caller text, p_epoch bigint, p_commit bytea,
    p_add text[], p_references bytea[], p_remove text, p_remove_device text,
    p_admin_only boolean, p_members_max integer, p_rejoin boolean, p_rejoin_device text)
RETURNS text
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_targets text[];
    v_found   integer;
    v_admins  integer;
    v_others  integer;
BEGIN
    IF NOT p_founding AND NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = p_convo.convo_id AND m.user_did = p_caller
            AND m.left_seq IS NULL) THEN
        RETURN 'absent';
    END IF;
    IF p_commit IS NOT NULL AND p_epoch <> p_convo.epoch THEN
        IF EXISTS (SELECT FROM messages m WHERE m.convo_id = p_convo.convo_id
                       AND m.kind = 'commit' AND m.epoch = p_epoch + 1
                       AND m.ciphertext = p_commit) THEN
            RETURN 'repeated';
        END IF;
        RETURN 'epoch';
    END IF;
    IF p_admin_only AND NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = p_convo.convo_id AND m.user_did = p_caller
            AND m.left_seq IS NULL AND m.is_admin) THEN
        RETURN 'not_admin';
    END IF;
    IF p_remove IS NOT NULL THEN
        IF NOT EXISTS (
            SELECT FROM members m WHERE m.convo_id = p_convo.convo_id AND m.user_did = p_remove
                AND m.left_seq IS NULL
                AND (p_remove_device IS NULL OR m.device_id IS NOT DISTINCT FROM p_remove_device))
        THEN
            RETURN 'target_absent';
        END IF;
        SELECT count(*) FILTER (WHERE m.is_admin), count(*) INTO v_admins, v_others
            FROM members m WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL
                AND (m.user_did <> p_remove
                     OR (p_remove_device IS NOT NULL AND m.device_id IS DISTINCT FROM p_remove_device));
        IF v_others > 0 AND v_admins = 0 THEN
            RETURN 'last_admin';
        END IF;
    END IF;
    IF cardinality(p_add) > 0 THEN
        SELECT count(*), array_agg(DISTINCT k.user_did) INTO v_found, v_targets
            FROM key_packages k WHERE k.reference = ANY (p_references)
                AND (k.consumed_at IS NULL OR k.last_resort);
        IF v_found <> cardinality(p_references) THEN
            RETURN 'key_package_not_found';
        END IF;
        -- A founder may list itself: it is in, with or without a Welcome for a
        -- further device of its own.
        v_targets := coalesce(v_targets, '{}');
        IF p_founding THEN
            v_targets := array_remove(v_targets, p_caller);
            p_add := array_remove(p_add, p_caller);
        END IF;
        IF NOT (v_targets @> p_add AND p_add @> v_targets) THEN
            RETURN 'welcome_mismatch';
        END IF;
        IF EXISTS (
            SELECT FROM members m JOIN key_packages k ON k.user_did = m.user_did
                AND k.device_id IS NOT DISTINCT FROM m.device_id
            WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL
                AND m.rejoin_requested_at IS NULL
                AND k.reference = ANY (p_references)) THEN
            RETURN 'already_member';
        END IF;
        IF (SELECT count(*) FROM members m WHERE m.convo_id = p_convo.convo_id
                AND m.left_seq IS NULL) + v_found > p_members_max THEN
            RETURN 'too_many_members';
        END IF;
    END IF;
    IF p_rejoin AND NOT EXISTS (
            SELECT FROM members m WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL
                AND m.user_did = p_caller AND m.device_id IS NOT DISTINCT FROM p_rejoin_device)
        AND (SELECT count(*) FROM members m WHERE m.convo_id = p_convo.convo_id
                 AND m.left_seq IS NULL) >= p_members_max THEN
        RETURN 'too_many_members';
    END IF;
    RETURN 'done';
END $$;

-- Founds a conversation with its first members. A second call by the same
-- creator finds it founded and answers `exists`.
CREATE FUNCTION create_conversation(
    p_convo text, p_creator text, p_suite smallint, p_epoch bigint, p_name text,
    p_description text, p_add text[], p_references bytea[], p_welcome bytea,
    p_group_info bytea, p_members_max integer)
RETURNS TABLE (outcome text, epoch bigint, seq bigint, received_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_change record;
BEGIN
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch, name, description)
    VALUES (p_convo, p_creator, p_suite, p_epoch, p_name, p_description)
    ON CONFLICT (convo_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'exists'::text, p_epoch, 0::bigint, coarse_now();
        RETURN;
    END IF;
    SELECT * INTO v_change FROM change_group(
        p_convo, p_creator, NULL, NULL, NULL, NULL, NULL, NULL, p_add, p_references, p_welcome,
        NULL, NULL, NULL, false, p_group_info, p_members_max, false, NULL, false);
    IF v_change.outcome <> 'done' THEN
        DELETE FROM conversations c WHERE c.convo_id = p_convo;
    END IF;
    RETURN QUERY SELECT v_change.outcome, v_change.epoch, v_change.seq, v_change.received_at;
END $$;
