-- Who is in the way of a change is named, what is refused changes nothing, and whoever waits for a
-- lock waits in the one order of docs/architecture.md ("Who waits for whom").

-- Kept by 0027 for calls of schema 22 that were under way.
DROP FUNCTION group_verdict(conversations, boolean, text, bigint, bytea, text[], bytea[], text,
                            text, boolean, integer, boolean, text);
DROP FUNCTION lock_seats(text, text);
DROP FUNCTION end_seats(text, text);

-- Locks key packages, in the order of their references, whoever needs several.
CREATE FUNCTION lock_packages(p_references bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM key_packages k WHERE k.reference = ANY (p_references)
        ORDER BY k.reference FOR UPDATE;
END $$;

-- As group_verdict in 0023, but it also names those whom the verdict is about, and a founder's
-- seat without a name is known without naming it. With welcome_mismatch and the rest, whom is
-- empty: it is about nobody in particular.
CREATE FUNCTION judge_change(
    p_convo conversations, p_founding boolean, p_caller text, p_epoch bigint, p_commit bytea,
    p_add text[], p_references bytea[], p_remove text, p_remove_device text,
    p_admin_only boolean, p_members_max integer, p_rejoin boolean, p_rejoin_device text,
    p_devices_max integer, p_welcome_bytes bigint, p_waiting_max integer,
    p_waiting_bytes_max bigint, OUT verdict text, OUT whom text[])
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
            SELECT DISTINCT m.user_did FROM members m JOIN key_packages k
                ON k.user_did = m.user_did AND k.device_id IS NOT DISTINCT FROM m.device_id
            WHERE m.convo_id = p_convo.convo_id AND m.left_seq IS NULL
                AND m.rejoin_requested_at IS NULL
                AND k.reference = ANY (p_references));
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
    -- What others put an account into waits for it, until it does something about it.
    whom := ARRAY(
        SELECT n.who FROM (SELECT k.user_did AS who, count(*) AS copies FROM key_packages k
                     WHERE k.reference = ANY (p_references) GROUP BY k.user_did) n
        CROSS JOIN LATERAL (
            SELECT count(DISTINCT w.convo_id) FILTER (WHERE w.state <> 'confirmed') AS waiting,
                   coalesce(sum(octet_length(w.welcome)), 0) AS bytes
            FROM welcomes w WHERE w.user_did = n.who AND w.convo_id <> p_convo.convo_id) w
        WHERE w.bytes + n.copies * p_welcome_bytes > p_waiting_bytes_max
           OR (w.waiting >= p_waiting_max AND n.who <> p_caller AND NOT EXISTS (
                   SELECT FROM members m WHERE m.convo_id = p_convo.convo_id
                       AND m.user_did = n.who AND m.left_seq IS NULL)));
    IF whom <> '{}' THEN
        verdict := 'too_many_welcomes';
        RETURN;
    END IF;
    verdict := 'done';
END $$;

-- For calls of the version before that are under way. The version after may drop it.
CREATE OR REPLACE FUNCTION group_verdict(
    p_convo conversations, p_founding boolean, p_caller text, p_epoch bigint, p_commit bytea,
    p_add text[], p_references bytea[], p_remove text, p_remove_device text,
    p_admin_only boolean, p_members_max integer, p_rejoin boolean, p_rejoin_device text,
    p_devices_max integer, p_welcome_bytes bigint, p_waiting_max integer,
    p_waiting_bytes_max bigint)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT j.verdict FROM judge_change(
        p_convo, p_founding, p_caller, p_epoch, p_commit, p_add, p_references, p_remove,
        p_remove_device, p_admin_only, p_members_max, p_rejoin, p_rejoin_device, p_devices_max,
        p_welcome_bytes, p_waiting_max, p_waiting_bytes_max) j
$$;

-- As in 0023, but it also names those whom a refusal is about; a refused removal names no seat;
-- who comes back without a seat of its own takes the account's seat that has no name if it has
-- never had another and the account has no other, or if it can only be its own; with an account's
-- last seat goes how far it had read, and with a conversation's its GroupInfo.
DROP FUNCTION change_group(
    text, text, bigint, bytea, text, text, bytea, bytea, text[], bytea[], bytea, text, text, text,
    boolean, bytea, integer, boolean, text, boolean, text, integer, integer, bigint);
CREATE FUNCTION change_group(
    p_convo text, p_caller text, p_epoch bigint, p_commit bytea, p_commit_id text,
    p_receipt text, p_receipt_hash bytea, p_previous_receipt bytea,
    p_add text[], p_references bytea[], p_welcome bytea,
    p_remove text, p_remove_device text, p_action text,
    p_admin_only boolean, p_group_info bytea, p_members_max integer,
    p_rejoin boolean, p_rejoin_device text, p_resync boolean,
    p_founder_device text DEFAULT NULL, p_devices_max integer DEFAULT 2147483647,
    p_waiting_max integer DEFAULT 2147483647,
    p_waiting_bytes_max bigint DEFAULT 9223372036854775807)
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
        octet_length(p_welcome), p_waiting_max, p_waiting_bytes_max) j;
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
    UPDATE members m SET device_id = p_rejoin_device
    WHERE v_unnamed AND m.convo_id = p_convo AND m.user_did = p_caller AND m.left_seq IS NULL
      AND m.device_id IS NULL;
    -- A founder's seat may name no device. It is taken from the one that it can be, if that goes.
    UPDATE members m SET device_id = p_remove_device
    WHERE p_remove_device IS NOT NULL AND m.convo_id = p_convo AND m.user_did = p_remove
      AND m.left_seq IS NULL AND m.device_id IS NULL
      AND founding_device(p_convo, p_remove) = p_remove_device;
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
    UPDATE conversations c SET group_info = NULL, group_info_epoch = NULL
    WHERE p_remove IS NOT NULL AND c.convo_id = p_convo
      AND NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.left_seq IS NULL);
    IF v_founding THEN
        INSERT INTO members (convo_id, user_did, device_id, is_admin, joined_seq,
                             joined_message_seq, joined_at)
        VALUES (p_convo, p_caller, p_founder_device, true, v_base + 1, 0, v_at);
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
    RETURN QUERY SELECT 'done'::text, v_epoch, v_seq, v_at, p_receipt, v_whom;
END $$;

-- As in 0023, and likewise.
DROP FUNCTION create_conversation(
    text, text, smallint, bigint, text, text, text[], bytea[], bytea, bytea, integer, text, integer,
    integer, bigint);
CREATE FUNCTION create_conversation(
    p_convo text, p_creator text, p_suite smallint, p_epoch bigint, p_name text,
    p_description text, p_add text[], p_references bytea[], p_welcome bytea,
    p_group_info bytea, p_members_max integer,
    p_device text DEFAULT NULL, p_devices_max integer DEFAULT 2147483647,
    p_waiting_max integer DEFAULT 2147483647,
    p_waiting_bytes_max bigint DEFAULT 9223372036854775807)
RETURNS TABLE (outcome text, epoch bigint, seq bigint, received_at timestamptz, whom text[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_change record;
BEGIN
    -- It is not deleted before it has its seat.
    PERFORM FROM devices d WHERE d.user_did = p_creator AND d.device_id = p_device FOR KEY SHARE;
    IF p_device IS NOT NULL AND NOT FOUND THEN
        RETURN QUERY SELECT 'unknown_device'::text, p_epoch, 0::bigint, coarse_now(), '{}'::text[];
        RETURN;
    END IF;
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch, name, description)
    VALUES (p_convo, p_creator, p_suite, p_epoch, p_name, p_description)
    ON CONFLICT (convo_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'exists'::text, p_epoch, 0::bigint, coarse_now(), '{}'::text[];
        RETURN;
    END IF;
    SELECT * INTO v_change FROM change_group(
        p_convo, p_creator, NULL, NULL, NULL, NULL, NULL, NULL, p_add, p_references, p_welcome,
        NULL, NULL, NULL, false, p_group_info, p_members_max, false, NULL, false,
        p_device, p_devices_max, p_waiting_max, p_waiting_bytes_max);
    IF v_change.outcome <> 'done' THEN
        DELETE FROM conversations c WHERE c.convo_id = p_convo;
    END IF;
    RETURN QUERY SELECT v_change.outcome, v_change.epoch, v_change.seq, v_change.received_at,
        v_change.whom;
END $$;

-- Deletes the Welcomes of a device, or of all devices of the account; says how many there were.
CREATE FUNCTION drop_welcomes(p_user text, p_device text, p_all boolean DEFAULT false)
RETURNS bigint
LANGUAGE sql AS $$
    WITH mine AS (
        SELECT w.id FROM welcomes w
        WHERE w.user_did = p_user AND (p_all OR w.device_id = p_device)
        ORDER BY w.id FOR UPDATE
    ), gone AS (
        DELETE FROM welcomes w USING mine m WHERE w.id = m.id RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- As in 0023, but the device comes before its packages; of two accounts that register one
-- signature key at once the second is told that it is taken; and the account's conversations are
-- counted before everybody's sends wait for the events.
CREATE OR REPLACE FUNCTION register_device(
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
    v_untold  boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    PERFORM FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device FOR UPDATE;
    v_known := FOUND;
    IF EXISTS (SELECT FROM devices d WHERE d.signature_key = p_signature_key
                   AND (d.user_did <> p_user OR d.device_id <> p_device)) THEN
        RETURN 'duplicate_key';
    END IF;
    IF (SELECT count(*) FROM devices d WHERE d.user_did = p_user AND d.device_id <> p_device)
       >= p_devices_max THEN
        RETURN 'too_many_devices';
    END IF;
    BEGIN
        INSERT INTO devices (user_did, device_id, name, signature_key)
        VALUES (p_user, p_device, p_name, p_signature_key)
        ON CONFLICT (user_did, device_id) DO UPDATE SET
            name = excluded.name, signature_key = excluded.signature_key,
            last_seen_at = excluded.last_seen_at;
        PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
        PERFORM lock_packages(p_reference || ARRAY(
            SELECT k.reference FROM key_packages k
            WHERE k.user_did = p_user AND k.device_id = p_device AND k.claimed_at IS NULL));
        DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device
            AND k.claimed_at IS NULL AND NOT k.reference = ANY (p_reference);
        v_outcome := publish_key_packages(p_user, p_device, p_suite, p_package, p_hash,
                                          p_reference, p_last_resort, p_expires, p_open_max);
        IF v_outcome <> 'done' THEN
            RAISE EXCEPTION USING ERRCODE = 'MR001', MESSAGE = 'the packages are refused';
        END IF;
    EXCEPTION
        WHEN SQLSTATE 'MR001' THEN RETURN v_outcome;
        WHEN unique_violation THEN RETURN 'duplicate_key';
    END;
    -- The account's conversations hear of a device that somebody may add.
    IF NOT v_known THEN
        SELECT c.claims INTO v_told FROM key_package_claims c
            WHERE c.key = p_told_key AND c.expires_at > now();
        SELECT array_agg(t.convo_id) INTO v_convo FROM (
            SELECT c.convo_id FROM conversations c
            JOIN (SELECT DISTINCT m.convo_id FROM members m
                  WHERE m.user_did = p_user AND m.left_seq IS NULL) s ON s.convo_id = c.convo_id
            ORDER BY coalesce(c.last_message_at, c.created_at) DESC, c.convo_id
            LIMIT greatest(p_told_max - coalesce(v_told, 0), 0)) t;
    END IF;
    v_untold := NOT v_known AND p_told_key IS NOT NULL
        AND coalesce(cardinality(v_convo), 0) < (
            SELECT count(DISTINCT m.convo_id) FROM members m
            WHERE m.user_did = p_user AND m.left_seq IS NULL);
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
    RETURN CASE WHEN v_untold THEN 'untold' ELSE 'done' END;
END $$;

-- As in 0023, and with a conversation's last seat goes its GroupInfo, by which nobody comes back.
CREATE OR REPLACE FUNCTION end_seats(p_user text, p_device text, p_convo text[]) RETURNS bigint
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
    UPDATE conversations c SET group_info = NULL, group_info_epoch = NULL
    WHERE c.convo_id = ANY (v_convo) AND c.group_info IS NOT NULL
      AND NOT EXISTS (SELECT FROM members m WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL);
    RETURN cardinality(v_convo);
END $$;

-- As in 0026, in the one order.
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
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT k.reference FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id = p_device));
    DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    PERFORM drop_welcomes(p_user, p_device);
    PERFORM revoke_tickets(p_mark, p_until);
    v_seats := end_seats(p_user, p_device, v_convo);
    IF EXISTS (SELECT FROM seats_of(p_user, p_device)) THEN
        RETURN QUERY SELECT 'more'::text, v_packages, v_seats;
        RETURN;
    END IF;
    DELETE FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device;
    RETURN QUERY SELECT 'done'::text, v_packages, v_seats;
END $$;

-- Likewise.
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
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    v_convo := lock_seats(p_user, NULL, p_bite);
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT k.reference FROM key_packages k WHERE k.user_did = p_user));
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    v_welcomes := drop_welcomes(p_user, NULL, true);
    DELETE FROM read_cursors r WHERE r.user_did = p_user;
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    DELETE FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did);
    DELETE FROM block_conflicts c WHERE p_user IN (c.blocker_did, c.blocked_did);
    PERFORM revoke_tickets(p_mark, p_until);
    v_seats := end_seats(p_user, NULL, v_convo);
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, v_seats,
                        EXISTS (SELECT FROM seats_of(p_user, NULL));
END $$;

-- Likewise; what is refused names no seat; and that the members were told of a device without a
-- seat is counted where claims are, under a key of its own: the conversation's events may be many.
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
    PERFORM lock_packages(p_reference || ARRAY(
        SELECT k.reference FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
          AND k.claimed_at IS NULL AND k.consumed_at IS NULL
          AND (v_kept IS NULL OR k.created_at < v_kept)));
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
    v_seated := v_seat.left_seq IS NOT NULL OR v_seat.device_id IS NOT DISTINCT FROM p_device
        OR (v_founder AND v_seat.device_id IS NULL);
    v_quiet := CASE WHEN v_seated
        THEN coalesce(v_seat.rejoin_requested_at > v_at - p_quiet, false)
        ELSE EXISTS (SELECT FROM key_package_claims c
                     WHERE c.key = v_key AND c.expires_at > v_at) END;
    UPDATE members m SET
        device_id = CASE WHEN m.left_seq IS NULL THEN p_device ELSE m.device_id END,
        rejoin_requested_at = CASE WHEN v_quiet THEN m.rejoin_requested_at ELSE v_at END
    WHERE v_seated AND m.ctid = v_seat.place;
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

-- As in 0020, likewise.
CREATE OR REPLACE FUNCTION sync_key_packages(p_user text, p_device text, p_hashes bytea[])
RETURNS TABLE (dropped bytea[], kept bytea[])
LANGUAGE plpgsql AS $$
DECLARE
    v_dropped bytea[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT k.reference FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
          AND k.consumed_at IS NULL AND k.claimed_at IS NULL AND NOT k.hash = ANY (p_hashes)));
    WITH gone AS (
        DELETE FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
            AND k.consumed_at IS NULL AND k.claimed_at IS NULL AND NOT k.hash = ANY (p_hashes)
        RETURNING k.hash)
    SELECT coalesce(array_agg(g.hash), '{}') INTO v_dropped FROM gone g;
    RETURN QUERY SELECT v_dropped, coalesce(array_agg(k.hash ORDER BY k.id), '{}')
        FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
            AND k.consumed_at IS NULL AND k.claimed_at IS NULL;
END $$;

-- What is forgotten in bites waits for nobody: rows that somebody holds go the next time.

CREATE OR REPLACE FUNCTION forget_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state = 'confirmed' AND w.confirmed_at < now() - p_older
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

CREATE OR REPLACE FUNCTION forget_unconfirmed_welcomes(p_older interval, p_most integer)
RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            JOIN conversations c ON c.convo_id = w.convo_id AND c.epoch > w.epoch
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older
              AND NOT EXISTS (SELECT FROM messages m WHERE m.convo_id = w.convo_id
                                  AND m.kind = 'commit' AND m.epoch = w.epoch + 1)
            LIMIT p_most FOR UPDATE OF w SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

CREATE OR REPLACE FUNCTION forget_old_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- All devices' packages are counted when nothing else is left to forget, and not again for each
-- bite of it.
CREATE OR REPLACE FUNCTION forget_key_packages(
    p_consumed interval, p_per_device integer, p_most integer)
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_due  tid[];
    v_gone bigint;
BEGIN
    v_due := ARRAY(
        SELECT k.ctid FROM key_packages k WHERE k.expires_at < now()
        LIMIT p_most FOR UPDATE SKIP LOCKED);
    v_due := v_due || ARRAY(
        SELECT k.ctid FROM key_packages k
        WHERE k.consumed_at < now() - p_consumed AND k.expires_at >= now()
        LIMIT p_most FOR UPDATE SKIP LOCKED);
    IF cardinality(v_due) < p_most THEN
        -- Over the bound the oldest go first, a last-resort package never.
        v_due := v_due || ARRAY(
            SELECT k.ctid FROM key_packages k
            WHERE k.id = ANY (ARRAY(
                SELECT o.id FROM (
                    SELECT k.user_did, k.device_id FROM key_packages k
                    WHERE k.claimed_at IS NULL AND k.consumed_at IS NULL AND NOT k.last_resort
                    GROUP BY k.user_did, k.device_id HAVING count(*) > p_per_device) d
                CROSS JOIN LATERAL (
                    SELECT k.id FROM key_packages k
                    WHERE k.user_did = d.user_did AND k.device_id IS NOT DISTINCT FROM d.device_id
                      AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND NOT k.last_resort
                    ORDER BY k.id DESC OFFSET p_per_device) o
                LIMIT p_most))
              AND k.claimed_at IS NULL AND k.consumed_at IS NULL
            FOR UPDATE SKIP LOCKED);
    END IF;
    DELETE FROM key_packages k WHERE k.ctid = ANY (v_due);
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN v_gone;
END $$;

CREATE OR REPLACE FUNCTION forget_claims(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM key_package_claims c WHERE c.ctid = ANY (ARRAY(
            SELECT c.ctid FROM key_package_claims c WHERE c.expires_at < now()
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
