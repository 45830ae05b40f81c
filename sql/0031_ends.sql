-- Nothing stays longer than it is of use: how far an account has read ends with its stay, whatever
-- comes at the same time; a conversation that all have left goes but for its id; and a Welcome goes
-- with the seat that it was for.

-- Kept by 0030 for nodes of schema 29.
DROP FUNCTION blank_device_events(text, text, bigint, integer);

-- Who said how far it had read just when its stay ended has left it behind.
DELETE FROM read_cursors r WHERE r.ctid = ANY (ARRAY(
    SELECT r.ctid FROM read_cursors r WHERE NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = r.convo_id AND m.user_did = r.user_did
            AND m.left_seq IS NULL)
    FOR UPDATE SKIP LOCKED));

-- Conversations that nobody is in any more, and so nobody ever will be. They are forgotten some time
-- after that, but for their ids: what clients remember by an id is never taken for something else.
CREATE TABLE ended_conversations (
    convo_id text PRIMARY KEY,
    ended_at timestamptz DEFAULT coarse_now() -- nothing: it is forgotten
);

CREATE INDEX conversations_to_forget ON ended_conversations (ended_at) WHERE ended_at IS NOT NULL;

INSERT INTO ended_conversations (convo_id)
SELECT c.convo_id FROM conversations c
WHERE NOT EXISTS (SELECT FROM members m WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL);

-- Of these conversations, those that nobody is in any more: their GroupInfo, by which nobody comes
-- back, goes at once.
CREATE FUNCTION end_conversations(p_convo text[]) RETURNS void
LANGUAGE sql AS $$
    WITH ended AS (
        UPDATE conversations c SET group_info = NULL, group_info_epoch = NULL
        WHERE c.convo_id = ANY (p_convo)
          AND NOT EXISTS (SELECT FROM members m
                          WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL)
        RETURNING c.convo_id)
    INSERT INTO ended_conversations (convo_id) SELECT e.convo_id FROM ended e
    ON CONFLICT (convo_id) DO NOTHING
$$;

-- Forgets conversations that ended longer ago than p_older, when no message and no event is left of
-- them: at most p_most, and at most so many rows of each kind that hang on them. Says how many rows
-- there were.
CREATE FUNCTION forget_conversations(p_older interval, p_most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_due   text[];
    v_table text;
    v_count bigint;
    v_gone  bigint := 0;
BEGIN
    v_due := ARRAY(
        SELECT c.convo_id FROM ended_conversations e JOIN conversations c USING (convo_id)
        WHERE e.ended_at < now() - p_older
          AND NOT EXISTS (SELECT FROM messages m WHERE m.convo_id = e.convo_id OFFSET 0)
          AND NOT EXISTS (SELECT FROM event_stream s WHERE s.convo_id = e.convo_id OFFSET 0)
        ORDER BY e.ended_at LIMIT p_most FOR UPDATE OF c SKIP LOCKED);
    -- Stays go last: whoever founded a conversation that has none would found it anew.
    FOREACH v_table IN ARRAY ARRAY[
        'welcomes', 'read_cursors', 'block_conflicts', 'reports', 'members']
    LOOP
        EXECUTE format(
            'DELETE FROM %1$I t WHERE t.ctid = ANY (ARRAY(
                 SELECT h.ctid FROM unnest($1) AS d (id) CROSS JOIN LATERAL (
                     SELECT t.ctid FROM %1$I t WHERE t.convo_id = d.id FOR UPDATE SKIP LOCKED) h
                 LIMIT $2))', v_table) USING v_due, p_most;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_gone := v_gone + v_count;
        EXECUTE format(
            'SELECT ARRAY(SELECT d.id FROM unnest($1) AS d (id)
                 WHERE NOT EXISTS (SELECT FROM %I t WHERE t.convo_id = d.id OFFSET 0))', v_table)
            INTO v_due USING v_due;
    END LOOP;
    DELETE FROM conversations c WHERE c.convo_id = ANY (v_due);
    UPDATE ended_conversations e SET ended_at = NULL WHERE e.convo_id = ANY (v_due);
    RETURN v_gone + cardinality(v_due);
END $$;

-- A seat without a name is this device's, and so are the Welcomes that wait for it: they go with it.
CREATE FUNCTION name_seats(p_user text, p_device text, p_convo text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE members m SET device_id = p_device
    WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.convo_id = ANY (p_convo)
      AND m.device_id IS NULL;
    UPDATE welcomes w SET device_id = p_device WHERE w.id = ANY (ARRAY(
        SELECT w.id FROM welcomes w
        WHERE w.user_did = p_user AND w.convo_id = ANY (p_convo) AND w.device_id IS NULL
          AND w.state <> 'confirmed'
        ORDER BY w.id FOR UPDATE));
END $$;

-- Tells the members of each of these conversations that something has changed.
CREATE FUNCTION tell_updated(p_convo text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_convo) > 0 THEN
        PERFORM emit_events(
            p_convo, array_fill(NULL::text, ARRAY[cardinality(p_convo)]),
            array_fill('conversationUpdated'::text, ARRAY[cardinality(p_convo)]),
            array_fill(',"type":"conversationUpdated"'::text, ARRAY[cardinality(p_convo)]));
    END IF;
END $$;

-- As in 0028, but Welcomes get the name of the seat that they are for, how far an account has read
-- ends with its stay whoever says so at the same time, and that the last has left is noted.
CREATE OR REPLACE FUNCTION change_group(
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
    IF v_unnamed THEN
        PERFORM name_seats(p_caller, p_rejoin_device, ARRAY[p_convo]);
    END IF;
    -- A founder's seat may name no device. It is taken from the one that it can be, if that goes.
    IF founding_device(p_convo, p_remove) = p_remove_device THEN
        PERFORM name_seats(p_remove, p_remove_device, ARRAY[p_convo]);
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
    IF p_remove IS NOT NULL THEN
        PERFORM end_conversations(ARRAY[p_convo]);
    END IF;
    RETURN QUERY SELECT 'done'::text, v_epoch, v_seq, v_at, p_receipt, v_whom;
END $$;

-- As in 0028, but an id is given once, whatever has become of the conversation.
CREATE OR REPLACE FUNCTION create_conversation(
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
    SELECT p_convo, p_creator, p_suite, p_epoch, p_name, p_description
    WHERE NOT EXISTS (SELECT FROM ended_conversations e WHERE e.convo_id = p_convo)
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

-- As in 0030, and likewise with those seats: whoever says meanwhile how far it has read has done so,
-- or is out.
CREATE OR REPLACE FUNCTION lock_seats(
    p_user text, p_device text, p_most integer, p_after text DEFAULT '')
RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text[] := ARRAY(
        SELECT DISTINCT s.convo_id FROM seats_of(p_user, p_device) s WHERE s.convo_id > p_after
        ORDER BY s.convo_id LIMIT p_most);
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = ANY (v_convo)
        ORDER BY c.convo_id FOR NO KEY UPDATE;
    PERFORM FROM members m WHERE m.user_did = p_user AND m.convo_id = ANY (v_convo)
        AND m.left_seq IS NULL FOR NO KEY UPDATE;
    RETURN v_convo;
END $$;

-- As in 0028, and likewise.
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
    PERFORM end_conversations(v_convo);
    RETURN cardinality(v_convo);
END $$;

-- As in 0030, but a Welcome goes with the seat that it was for.
CREATE OR REPLACE FUNCTION delete_device(
    p_user text, p_device text, p_mark bytea, p_until timestamptz,
    p_bite integer DEFAULT 2147483647, p_after text DEFAULT '')
RETURNS TABLE (outcome text, packages bigint, seats bigint, after text)
LANGUAGE plpgsql AS $$
DECLARE
    v_known    boolean;
    v_convo    text[];
    v_through  text; -- the last one, if there may be more
    v_packages bigint;
    v_seats    bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    -- Nobody founds a conversation on it meanwhile.
    PERFORM FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device FOR UPDATE;
    v_known := FOUND;
    v_convo := lock_seats(p_user, p_device, p_bite, p_after);
    v_through := v_convo[p_bite];
    IF NOT v_known AND p_after = '' AND cardinality(v_convo) = 0 THEN
        RETURN;
    END IF;
    IF EXISTS (
        SELECT FROM seats_of(p_user, p_device) s
        WHERE s.is_admin AND s.convo_id > p_after
          AND (p_after = '' OR v_through IS NULL OR s.convo_id <= v_through)
          AND EXISTS (SELECT FROM members o WHERE o.convo_id = s.convo_id
                          AND o.left_seq IS NULL AND o.user_did <> p_user)
          AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = s.convo_id
                              AND o.left_seq IS NULL AND o.is_admin AND o.ctid <> s.place)) THEN
        RETURN QUERY SELECT 'last_admin'::text, 0::bigint, 0::bigint, NULL::text;
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT k.reference FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id = p_device));
    DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    PERFORM name_seats(p_user, p_device, ARRAY(
        SELECT m.convo_id FROM members m
        WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.convo_id = ANY (v_convo)
          AND m.device_id IS NULL AND founding_device(m.convo_id, p_user) = p_device));
    PERFORM drop_welcomes(p_user, p_device);
    PERFORM revoke_tickets(p_mark, p_until);
    v_seats := end_seats(p_user, p_device, v_convo);
    IF v_through IS NOT NULL OR EXISTS (SELECT FROM seats_of(p_user, p_device)) THEN
        RETURN QUERY SELECT 'more'::text, v_packages, v_seats, coalesce(v_through, '');
        RETURN;
    END IF;
    DELETE FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device;
    RETURN QUERY SELECT 'done'::text, v_packages, v_seats, NULL::text;
END $$;

-- As in 0028, but nobody asks where nobody is left who could answer, and a Welcome goes with the seat
-- that it was for.
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

-- As in 0030, but nobody has promoted the heir, whoever did so once.
CREATE OR REPLACE FUNCTION pass_on_role(p_user text, p_convo text[]) RETURNS text[]
LANGUAGE sql AS $$
    WITH orphan AS MATERIALIZED (
        SELECT DISTINCT m.convo_id FROM members m
        WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.is_admin
          AND m.convo_id = ANY (p_convo)
          AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = m.convo_id
                              AND o.left_seq IS NULL AND o.is_admin AND o.user_did <> p_user)
    ), heir AS MATERIALIZED (
        SELECT h.* FROM orphan c CROSS JOIN LATERAL (
            SELECT m.convo_id, m.user_did FROM members m
            WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL AND m.user_did <> p_user
            ORDER BY m.joined_seq, m.user_did LIMIT 1) h
    ), promoted AS (
        UPDATE members m SET is_admin = true, promoted_at = coarse_now(), promoted_by = NULL
        FROM heir h
        WHERE m.convo_id = h.convo_id AND m.user_did = h.user_did AND m.left_seq IS NULL
        RETURNING m.convo_id)
    SELECT coalesce(array_agg(DISTINCT p.convo_id), '{}') FROM promoted p
$$;

-- As in 0030; how far the account has read ends with its seats.
DROP FUNCTION delete_account(text, bytea, timestamptz, integer, text);
CREATE FUNCTION delete_account(
    p_user text, p_mark bytea, p_until timestamptz, p_bite integer, p_after text)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint, after text)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo    text[];
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
    v_seats    bigint;
    v_led      text[];
    v_after    text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    v_convo := lock_seats(p_user, NULL, p_bite, p_after);
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT k.reference FROM key_packages k WHERE k.user_did = p_user));
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    v_welcomes := drop_welcomes(p_user, NULL, true);
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    PERFORM drop_blocks(p_user);
    PERFORM revoke_tickets(p_mark, p_until);
    v_led := pass_on_role(p_user, v_convo);
    v_seats := end_seats(p_user, NULL, v_convo);
    PERFORM tell_updated(v_led);
    v_after := v_convo[p_bite];
    IF v_after IS NULL AND EXISTS (SELECT FROM seats_of(p_user, NULL)) THEN
        v_after := '';
    END IF;
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, v_seats, v_after;
END $$;

-- As in 0028, from the oldest on: one that is young, or confirmed, is not looked at.
CREATE OR REPLACE FUNCTION forget_unconfirmed_welcomes(p_older interval, p_most integer)
RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older
              AND EXISTS (SELECT FROM conversations c
                          WHERE c.convo_id = w.convo_id AND c.epoch > w.epoch OFFSET 0)
              AND NOT EXISTS (SELECT FROM messages m
                              WHERE m.convo_id = w.convo_id AND m.kind = 'commit'
                                AND m.epoch = w.epoch + 1 OFFSET 0)
            ORDER BY w.created_at LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- As in 0007, but what somebody is about to keep longer is passed over.
CREATE OR REPLACE FUNCTION forget_jtis(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM used_jti j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM used_jti j WHERE j.expires_at < now() LIMIT p_most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- As in 0008, and likewise.
CREATE OR REPLACE FUNCTION forget_idempotency_keys(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM idempotency_keys j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM idempotency_keys j WHERE j.expires_at < now() LIMIT p_most
            FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- As in 0030.
CREATE OR REPLACE FUNCTION change_block(
    p_blocker text, p_blocked text, p_exists boolean, p_after text DEFAULT '',
    p_most integer DEFAULT 2147483647)
RETURNS TABLE (convo_id text, has_other_admin boolean, told_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_shared text[] := ARRAY(
        SELECT DISTINCT a.convo_id FROM members a JOIN members b USING (convo_id)
        WHERE a.user_did = p_blocker AND b.user_did = p_blocked
          AND a.left_seq IS NULL AND b.left_seq IS NULL AND a.convo_id > p_after
        ORDER BY a.convo_id LIMIT p_most);
    v_new    text[];
BEGIN
    IF p_exists THEN
        WITH told AS (
            INSERT INTO block_conflicts AS c (convo_id, blocker_did, blocked_did)
            SELECT s.id, p_blocker, p_blocked FROM unnest(v_shared) AS s (id) ORDER BY s.id
            ON CONFLICT (convo_id, blocker_did, blocked_did) DO UPDATE
                SET seen_at = excluded.seen_at, resolved_at = NULL
                WHERE c.resolved_at IS NOT NULL
            RETURNING c.convo_id)
        SELECT array_agg(t.convo_id) INTO v_new FROM told t;
    ELSIF p_after = '' THEN
        -- Also where the two are no longer together.
        UPDATE block_conflicts c SET resolved_at = coarse_now()
        WHERE c.ctid = ANY (ARRAY(
            SELECT o.ctid FROM block_conflicts o
            WHERE o.blocker_did = p_blocker AND o.blocked_did = p_blocked
              AND o.resolved_at IS NULL
            ORDER BY o.convo_id FOR UPDATE));
    END IF;
    -- A pair may have a conflict in each of very many conversations, and a conversation has few.
    RETURN QUERY SELECT s.id,
        EXISTS (SELECT FROM members m WHERE m.convo_id = s.id AND m.left_seq IS NULL
                    AND m.is_admin AND m.user_did NOT IN (p_blocker, p_blocked)),
        (SELECT c.seen_at
         FROM (SELECT * FROM block_conflicts b WHERE b.convo_id = s.id AND p_exists OFFSET 0) c
         WHERE c.blocker_did = p_blocker AND c.blocked_did = p_blocked)
        FROM unnest(v_shared) AS s (id) ORDER BY s.id;
    PERFORM tell_updated(v_new);
END $$;
