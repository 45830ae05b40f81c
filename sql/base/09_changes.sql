-- Everything that changes who is in a conversation, or its epoch: one function, one statement, one
-- transaction, so that a commit, its epoch, its Welcome, its GroupInfo, the membership and the
-- events stand or fall together.

-- What the members hear of one who joins or goes.
CREATE FUNCTION membership_detail(p_did text, p_action text, p_epoch bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT ',"type":"membershipChange","did":"' || p_did || '","action":"' || p_action
           || '","epoch":' || p_epoch
$$;

-- Whether an account shares with another a conversation that it has joined by its own will.
CREATE FUNCTION knows(p_user text, p_other text) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT FROM members m JOIN members o ON o.convo_id = m.convo_id
        WHERE m.user_did = p_user AND m.left_seq IS NULL
          AND o.user_did = p_other AND o.left_seq IS NULL
          AND NOT EXISTS (
              SELECT FROM welcomes w WHERE w.user_did = p_user AND w.convo_id = m.convo_id
                  AND w.device_id IS NOT DISTINCT FROM m.device_id AND w.state <> 'confirmed'))
$$;

-- Whether a change may be made, or whom the refusal is about, if it is about somebody; called with
-- the conversation's row locked. Who comes back takes no second seat; no account has more seats in
-- a conversation than it may have devices, is in more conversations than it may be, or has more
-- Welcomes waiting for it than it may leave waiting, of which strangers fill half.
-- Verdicts: done, repeated (the same commit was accepted before), absent (no such conversation for
-- this caller), epoch (not the conversation's), not_admin, target_absent, last_admin,
-- key_package_not_found, welcome_mismatch, already_member, too_many_members, too_many_devices,
-- too_many_convos, too_many_welcomes.
CREATE FUNCTION judge_change(
    p_convo conversations, p_founding boolean, p_caller text, p_epoch bigint, p_commit bytea,
    p_add text[], p_references bytea[], p_remove text, p_remove_device text,
    p_admin_only boolean, p_members_max integer, p_rejoin boolean, p_rejoin_device text,
    p_devices_max integer, p_welcome_bytes bigint, p_waiting_max integer,
    p_waiting_bytes_max bigint, p_convos_max integer DEFAULT 2147483647,
    OUT verdict text, OUT whom text[])
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_targets text[];
    v_going   tid[];
    v_found   integer;
    v_admins  integer;
    v_others  integer;
BEGIN
    whom := '{}';
    IF NOT p_founding AND NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = p_convo.convo_id AND m.user_did = p_caller
            AND m.left_seq IS NULL) THEN
        verdict := 'absent';
        RETURN;
    END IF;
    IF p_commit IS NOT NULL AND p_epoch <> p_convo.epoch THEN
        IF EXISTS (SELECT FROM messages m WHERE m.convo_id = p_convo.convo_id
                       AND m.kind = 'commit' AND m.epoch = p_epoch + 1
                       AND m.ciphertext = p_commit) THEN
            verdict := 'repeated';
            RETURN;
        END IF;
        verdict := 'epoch';
        RETURN;
    END IF;
    IF p_admin_only AND NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = p_convo.convo_id AND m.user_did = p_caller
            AND m.left_seq IS NULL AND m.is_admin) THEN
        verdict := 'not_admin';
        RETURN;
    END IF;
    IF p_remove IS NOT NULL THEN
        v_going := ARRAY(SELECT s.place FROM seats_of(p_remove, p_remove_device) s
                         WHERE s.convo_id = p_convo.convo_id);
        IF v_going = '{}' THEN
            verdict := 'target_absent';
            RETURN;
        END IF;
        SELECT count(*) FILTER (WHERE m.is_admin), count(*) INTO v_admins, v_others
            FROM members m WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL
                AND m.ctid <> ALL (v_going);
        IF v_others > 0 AND v_admins = 0 THEN
            verdict := 'last_admin';
            RETURN;
        END IF;
    END IF;
    IF cardinality(p_add) > 0 THEN
        -- A founder may list itself: it is in, with or without a Welcome for a
        -- further device of its own.
        IF p_founding THEN
            p_add := array_remove(p_add, p_caller);
        END IF;
        SELECT count(*), array_agg(DISTINCT k.user_did) INTO v_found, v_targets
            FROM key_packages k WHERE k.reference = ANY (p_references)
                AND (k.consumed_at IS NULL OR k.last_resort);
        IF v_found <> cardinality(p_references) THEN
            whom := ARRAY(SELECT unnest(p_add) EXCEPT SELECT unnest(v_targets));
            verdict := 'key_package_not_found';
            RETURN;
        END IF;
        v_targets := coalesce(v_targets, '{}');
        IF p_founding THEN
            v_targets := array_remove(v_targets, p_caller);
        END IF;
        IF NOT (v_targets @> p_add AND p_add @> v_targets) THEN
            verdict := 'welcome_mismatch';
            RETURN;
        END IF;
        whom := ARRAY(
            SELECT DISTINCT m.user_did
            FROM (SELECT k.user_did, k.device_id FROM key_packages k
                  WHERE k.reference = ANY (p_references) OFFSET 0) k
            JOIN members m ON m.user_did = k.user_did AND m.device_id IS NOT DISTINCT FROM k.device_id
            WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL
                AND m.rejoin_requested_at IS NULL);
        IF whom <> '{}' THEN
            verdict := 'already_member';
            RETURN;
        END IF;
    END IF;
    -- Who comes back has a seat.
    SELECT coalesce(array_agg(n.user_did), '{}') INTO v_targets FROM (
        (SELECT k.user_did, k.device_id FROM key_packages k WHERE k.reference = ANY (p_references)
         UNION SELECT p_caller, p_rejoin_device WHERE p_rejoin)
        EXCEPT SELECT m.user_did, m.device_id FROM members m
        WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL) n;
    v_found := cardinality(v_targets);
    IF v_found > 0 AND v_found + p_founding::integer + (
           SELECT count(*) FROM members m
           WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL) > p_members_max THEN
        verdict := 'too_many_members';
        RETURN;
    END IF;
    whom := ARRAY(
        SELECT n.who FROM unnest(v_targets) AS n (who) GROUP BY n.who
        HAVING count(*) + (p_founding AND n.who = p_caller)::integer + (
                   SELECT count(*) FROM members m WHERE m.convo_id = p_convo.convo_id
                       AND m.user_did = n.who AND m.left_seq IS NULL) > p_devices_max);
    IF whom <> '{}' THEN
        verdict := 'too_many_devices';
        RETURN;
    END IF;
    -- Whoever subscribes reads all that it is in. Of two that come at once both may. Who has fewer
    -- seats than the bound is not asked in how many conversations they are.
    whom := ARRAY(
        SELECT n.who
        FROM (SELECT unnest(v_targets) UNION SELECT p_caller WHERE p_founding) AS n (who)
        WHERE NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo.convo_id
                              AND m.user_did = n.who AND m.left_seq IS NULL)
          AND EXISTS (SELECT FROM members m WHERE m.user_did = n.who AND m.left_seq IS NULL
                      OFFSET p_convos_max - 1)
          AND EXISTS (SELECT DISTINCT m.convo_id FROM members m
                      WHERE m.user_did = n.who AND m.left_seq IS NULL
                      ORDER BY m.convo_id OFFSET p_convos_max - 1));
    IF whom <> '{}' THEN
        verdict := 'too_many_convos';
        -- Whoever founds it cannot be left out.
        IF p_caller = ANY (whom) THEN
            whom := '{}';
        END IF;
        RETURN;
    END IF;
    -- What others put an account into waits for it, until it does something about it: how much of what
    -- may wait would wait then.
    whom := ARRAY(
        SELECT n.who FROM (SELECT k.user_did AS who, count(*) AS copies FROM key_packages k
                     WHERE k.reference = ANY (p_references) GROUP BY k.user_did) n
        CROSS JOIN LATERAL (
            SELECT greatest(
                (coalesce(sum(octet_length(w.welcome)), 0) + n.copies * p_welcome_bytes)::float8
                    / p_waiting_bytes_max,
                CASE WHEN n.who <> p_caller AND NOT EXISTS (
                         SELECT FROM members m WHERE m.convo_id = p_convo.convo_id
                             AND m.user_did = n.who AND m.left_seq IS NULL)
                     THEN (count(DISTINCT w.convo_id) FILTER (WHERE w.state <> 'confirmed')
                           + 1)::float8 / p_waiting_max END) AS part
            FROM welcomes w WHERE w.user_did = n.who AND w.convo_id <> p_convo.convo_id) w
        WHERE CASE WHEN w.part > 1 THEN true
                   WHEN w.part > 0.5 THEN n.who <> p_caller AND NOT knows(n.who, p_caller)
                   ELSE false END);
    IF whom <> '{}' THEN
        verdict := 'too_many_welcomes';
        RETURN;
    END IF;
    verdict := 'done';
END $$;

-- The change. Who comes back without a seat of its own takes the account's seat that has no name if
-- it has never had another and the account has no other, or if it can only be its own. Who is
-- welcomed again keeps its seat, and what it had asked for is done. With an account's last seat goes
-- how far it has read, and with its last seat the conversation is over.
-- Outcomes: the verdicts of judge_change; with epoch comes the one that has won.
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
    p_rejoin boolean, p_rejoin_device text, p_resync boolean,
    -- The device that the conversation is founded on, if that is told.
    p_founder_device text DEFAULT NULL, p_devices_max integer DEFAULT 2147483647,
    -- How many Welcomes may wait for one account, and how large; in how many conversations it
    -- may be.
    p_waiting_max integer DEFAULT 2147483647,
    p_waiting_bytes_max bigint DEFAULT 9223372036854775807,
    p_convos_max integer DEFAULT 2147483647)
RETURNS TABLE (outcome text, epoch bigint, seq bigint, received_at timestamptz, receipt text,
               whom text[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_convo    conversations;
    v_at       timestamptz := coarse_now();
    v_epoch    bigint;
    v_seq      bigint;
    v_verdict  text;
    v_whom     text[];
    v_founding boolean;
    v_unnamed  boolean;
    v_kind     text[] := '{}';
    v_detail   text[] := '{}';
    v_subject  text[] := '{}'; -- whose first or last event it is
    v_base     bigint;
    v_leap     bigint := (SELECT f.leap FROM stream_floor f);
BEGIN
    SELECT * INTO v_convo FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    -- What is judged here must not be used up or deleted before it is used.
    PERFORM lock_packages(p_references);
    -- Who had a leaf had a seat: one without a name, if it never had another.
    SELECT p_resync AND bool_or(m.device_id IS NULL AND m.left_seq IS NULL)
           AND bool_and(m.device_id IS DISTINCT FROM p_rejoin_device)
           AND (count(*) FILTER (WHERE m.left_seq IS NULL) = 1
                OR founding_device(p_convo, p_caller) = p_rejoin_device)
        INTO v_unnamed
        FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_caller;
    v_founding := NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo)
                  AND v_convo.creator_did = p_caller;
    SELECT j.verdict, j.whom INTO v_verdict, v_whom FROM judge_change(
        v_convo, v_founding, p_caller, p_epoch, p_commit, p_add, p_references, p_remove,
        p_remove_device, p_admin_only, p_members_max, p_rejoin,
        CASE WHEN v_unnamed THEN NULL ELSE p_rejoin_device END, p_devices_max,
        octet_length(p_welcome), p_waiting_max, p_waiting_bytes_max, p_convos_max) j;
    -- In one epoch there is one last receipt: another means that it was read too early.
    IF v_verdict = 'done' AND p_commit IS NOT NULL
       AND p_previous_receipt IS DISTINCT FROM v_convo.receipt_hash THEN
        v_verdict := 'epoch';
    END IF;
    IF v_verdict = 'repeated' THEN
        RETURN QUERY SELECT v_verdict, m.epoch, m.seq, m.received_at, m.receipt::text, v_whom
            FROM messages m
            WHERE m.convo_id = p_convo AND m.kind = 'commit' AND m.epoch = p_epoch + 1;
        RETURN;
    ELSIF v_verdict <> 'done' THEN
        RETURN QUERY SELECT v_verdict, v_convo.epoch, v_convo.last_seq, v_at, NULL::text,
            v_whom;
        RETURN;
    END IF;
    IF v_unnamed THEN
        PERFORM name_seats(p_caller, p_rejoin_device, ARRAY[p_convo]);
    END IF;
    -- A founder's seat may name no device. It is taken from the one that it can be, if that goes.
    IF founding_device(p_convo, p_remove) = p_remove_device THEN
        PERFORM name_seats(p_remove, p_remove_device, ARRAY[p_convo]);
    END IF;
    v_epoch := CASE WHEN p_commit IS NULL THEN v_convo.epoch ELSE p_epoch + 1 END;
    v_seq := CASE WHEN v_convo.leap = v_leap THEN v_convo.last_seq ELSE v_leap END
             + CASE WHEN p_commit IS NULL THEN 0 ELSE 1 END;
    IF p_commit IS NOT NULL THEN
        INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                              padded_size, received_at, receipt)
        VALUES (p_convo, v_seq, p_commit_id, 'commit', v_epoch, p_commit,
                octet_length(p_commit), octet_length(p_commit), v_at, p_receipt::json);
    END IF;
    UPDATE conversations c SET
        epoch = v_epoch, last_seq = v_seq, leap = v_leap,
        receipt_hash = coalesce(p_receipt_hash, c.receipt_hash),
        group_info = coalesce(p_group_info, c.group_info),
        group_info_epoch = CASE WHEN p_group_info IS NULL THEN c.group_info_epoch ELSE v_epoch END
    WHERE c.convo_id = p_convo;
    -- Who goes, or is in by a later epoch, has no use for a Welcome of an earlier one.
    WITH gone AS (
        SELECT w.id FROM welcomes w JOIN (
            SELECT k.user_did, k.device_id, false FROM key_packages k
            WHERE k.reference = ANY (p_references)
            UNION SELECT p_caller, p_rejoin_device, false WHERE p_rejoin
            UNION SELECT p_remove, p_remove_device, p_remove_device IS NULL) d (who, device, whole)
            ON w.user_did = d.who AND (d.whole OR w.device_id IS NOT DISTINCT FROM d.device)
        WHERE w.convo_id = p_convo AND w.state <> 'confirmed'
        ORDER BY w.id FOR UPDATE OF w)
    DELETE FROM welcomes w USING gone g WHERE w.id = g.id;
    -- Whoever says meanwhile how far it has read has done so, or is out.
    PERFORM FROM members m
    WHERE m.convo_id = p_convo AND m.user_did = p_remove AND m.left_seq IS NULL FOR NO KEY UPDATE;
    DELETE FROM read_cursors r WHERE r.convo_id = p_convo AND r.user_did = p_remove
        AND (p_remove_device IS NULL OR NOT EXISTS (
                SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_remove
                    AND m.left_seq IS NULL AND m.device_id IS DISTINCT FROM p_remove_device));
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
        INSERT INTO members (convo_id, user_did, device_id, is_admin, joined_seq,
                             joined_message_seq, joined_at)
        VALUES (p_convo, p_caller, p_founder_device, true, v_base + 1, 0, v_at);
    END IF;
    -- A device that lost its state keeps its seat; what it asked for is done. Of a conversation's
    -- stays, of which there may be very many, only theirs are looked at.
    WITH coming AS (
        SELECT k.user_did, k.device_id FROM key_packages k WHERE k.reference = ANY (p_references)
        UNION SELECT p_caller, p_rejoin_device WHERE p_rejoin
    ), answered AS (
        UPDATE members m SET rejoin_requested_at = NULL WHERE m.ctid = ANY (ARRAY(
            SELECT s.place FROM coming k CROSS JOIN LATERAL (
                SELECT m.ctid AS place FROM members m
                WHERE m.convo_id = p_convo AND m.user_did = k.user_did
                  AND (m.left_seq IS NOT NULL OR m.device_id IS NOT DISTINCT FROM k.device_id)
                  AND m.rejoin_requested_at IS NOT NULL OFFSET 0) s))
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
    IF p_remove IS NOT NULL THEN
        PERFORM end_conversations(ARRAY[p_convo]);
    END IF;
    RETURN QUERY SELECT 'done'::text, v_epoch, v_seq, v_at, p_receipt, v_whom;
END $$;
