-- Who keeps, tells of or forgets blocks waits in the one order of docs/architecture.md ("Who waits
-- for whom"); what is done in very many conversations is done in bites that go on where the one
-- before ended, and not from the beginning.

-- Kept by 0028 for calls of schema 27 that were under way.
DROP FUNCTION group_verdict(conversations, boolean, text, bigint, bytea, text[], bytea[], text,
                            text, boolean, integer, boolean, text, integer, bigint, integer, bigint);

-- As in 0012, one pair after the other: of what is deleted and what is kept at once nobody would
-- know the order.
CREATE OR REPLACE FUNCTION record_blocks(
    p_blocker text[], p_blocked text[], p_uri text[], p_exists boolean[])
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_said record;
BEGIN
    FOR v_said IN
        SELECT s.* FROM unnest(p_blocker, p_blocked, p_uri, p_exists) AS s (blocker, blocked, uri, there)
        WHERE s.there OR EXISTS (SELECT FROM blocks b WHERE b.blocker_did = s.blocker
                                     AND b.blocked_did = s.blocked)
        ORDER BY s.blocker, s.blocked
    LOOP
        IF v_said.there THEN
            INSERT INTO blocks (blocker_did, blocked_did, block_uri)
            VALUES (v_said.blocker, v_said.blocked, v_said.uri)
            ON CONFLICT (blocker_did, blocked_did) DO UPDATE
                SET block_uri = excluded.block_uri, seen_at = excluded.seen_at;
        ELSE
            DELETE FROM blocks b
            WHERE b.blocker_did = v_said.blocker AND b.blocked_did = v_said.blocked;
        END IF;
    END LOOP;
END $$;

-- Deletes what was learned of an account's blocks, and what conversations remember of them.
CREATE FUNCTION drop_blocks(p_user text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_mine tid[];
BEGIN
    v_mine := ARRAY(
        SELECT b.ctid FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did)
        ORDER BY b.blocker_did, b.blocked_did FOR UPDATE);
    DELETE FROM blocks b WHERE b.ctid = ANY (v_mine);
    v_mine := ARRAY(
        SELECT c.ctid FROM block_conflicts c WHERE p_user IN (c.blocker_did, c.blocked_did)
        ORDER BY c.convo_id, c.blocker_did, c.blocked_did FOR UPDATE);
    DELETE FROM block_conflicts c WHERE c.ctid = ANY (v_mine);
END $$;

-- As in 0029, but of p_most conversations after p_after: everybody's sends wait for the events of
-- one transaction.
DROP FUNCTION change_block(text, text, boolean);
CREATE FUNCTION change_block(
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
    IF v_new IS NOT NULL THEN
        PERFORM emit_events(
            v_new, array_fill(NULL::text, ARRAY[cardinality(v_new)]),
            array_fill('conversationUpdated'::text, ARRAY[cardinality(v_new)]),
            array_fill(',"type":"conversationUpdated"'::text, ARRAY[cardinality(v_new)]));
    END IF;
END $$;

-- As in 0023, but who did not found a conversation has no founder's seat in it.
CREATE OR REPLACE FUNCTION seats_of(p_user text, p_device text)
RETURNS TABLE (place tid, convo_id text, is_admin boolean)
LANGUAGE sql STABLE AS $$
    SELECT m.ctid, m.convo_id, m.is_admin FROM members m
    WHERE m.user_did = p_user AND m.left_seq IS NULL
      AND CASE WHEN p_device IS NULL THEN true
               WHEN m.device_id IS NULL THEN
                   EXISTS (SELECT FROM conversations c
                           WHERE c.convo_id = m.convo_id AND c.creator_did = p_user)
                   AND founding_device(m.convo_id, p_user) = p_device
               ELSE m.device_id = p_device END
$$;

-- As in 0023, after p_after.
DROP FUNCTION lock_seats(text, text, integer);
CREATE FUNCTION lock_seats(
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
    RETURN v_convo;
END $$;

-- As in 0028, but where it is more, the next bite goes on after the conversation that is named;
-- what was judged once is judged again in the bite that it is in. Nothing: from the beginning, for
-- there is a seat that was not there before.
DROP FUNCTION delete_device(text, text, bytea, timestamptz, integer);
CREATE FUNCTION delete_device(
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
    IF v_through IS NOT NULL OR EXISTS (SELECT FROM seats_of(p_user, p_device)) THEN
        RETURN QUERY SELECT 'more'::text, v_packages, v_seats, coalesce(v_through, '');
        RETURN;
    END IF;
    DELETE FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device;
    RETURN QUERY SELECT 'done'::text, v_packages, v_seats, NULL::text;
END $$;

-- Of an account that goes whatever it is: where no other admin stays, whoever of those who stay has
-- been in longest becomes one, since nobody could make one any more. Says where.
CREATE FUNCTION pass_on_role(p_user text, p_convo text[]) RETURNS text[]
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
        UPDATE members m SET is_admin = true, promoted_at = coarse_now() FROM heir h
        WHERE m.convo_id = h.convo_id AND m.user_did = h.user_did AND m.left_seq IS NULL
        RETURNING m.convo_id)
    SELECT coalesce(array_agg(DISTINCT p.convo_id), '{}') FROM promoted p
$$;

-- Likewise; after is NULL when there is no more.
DROP FUNCTION delete_account(text, bytea, timestamptz, integer);
CREATE FUNCTION delete_account(
    p_user text, p_mark bytea, p_until timestamptz, p_bite integer DEFAULT 2147483647,
    p_after text DEFAULT '')
RETURNS TABLE (
    devices bigint, packages bigint, welcomes bigint, seats bigint, more boolean, after text)
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
    DELETE FROM read_cursors r WHERE r.user_did = p_user;
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    PERFORM drop_blocks(p_user);
    PERFORM revoke_tickets(p_mark, p_until);
    v_led := pass_on_role(p_user, v_convo);
    v_seats := end_seats(p_user, NULL, v_convo);
    IF v_led <> '{}' THEN
        PERFORM emit_events(
            v_led, array_fill(NULL::text, ARRAY[cardinality(v_led)]),
            array_fill('conversationUpdated'::text, ARRAY[cardinality(v_led)]),
            array_fill(',"type":"conversationUpdated"'::text, ARRAY[cardinality(v_led)]));
    END IF;
    v_after := v_convo[p_bite];
    IF v_after IS NULL AND EXISTS (SELECT FROM seats_of(p_user, NULL)) THEN
        v_after := '';
    END IF;
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, v_seats, v_after IS NOT NULL, v_after;
END $$;

-- What conversations were told of the account's devices: members hear of a change instead, and
-- look. Begins in conversation p_convo after event p_after, and in later ones after p_since; each
-- call looks at p_most events and conversations. Says where to go on; nothing when all has been
-- looked at.
CREATE FUNCTION blank_device_events(
    p_user text, p_since bigint, p_convo text, p_after bigint, p_most integer)
RETURNS TABLE (convo text, after bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text;
    v_event record;
    v_count integer := 0;
    v_after bigint := p_after;
BEGIN
    FOR v_convo IN SELECT DISTINCT m.convo_id FROM members m
        WHERE m.user_did = p_user AND m.convo_id >= p_convo ORDER BY m.convo_id
    LOOP
        IF v_convo <> p_convo THEN
            v_after := p_since;
        END IF;
        FOR v_event IN SELECT e.emitted_at, e.seq, e.kind, e.payload FROM event_stream e
            WHERE e.convo_id = v_convo AND e.seq > v_after ORDER BY e.seq LIMIT p_most - v_count
        LOOP
            v_count := v_count + 1;
            v_after := v_event.seq;
            IF v_event.kind IN ('newDevice', 'readditionRequested')
               AND p_user IN (v_event.payload ->> 'did', v_event.payload ->> 'userDid') THEN
                UPDATE event_stream e SET kind = 'conversationUpdated',
                    payload = ('{"cursor":"' || (e.payload ->> 'cursor') || '","convoId":"'
                               || v_convo || '","type":"conversationUpdated"}')::json
                WHERE e.emitted_at = v_event.emitted_at AND e.seq = v_event.seq;
            END IF;
        END LOOP;
        v_count := v_count + 1;
        IF v_count >= p_most THEN
            RETURN QUERY SELECT v_convo, v_after;
            RETURN;
        END IF;
    END LOOP;
END $$;

-- As in 0020, but nobody leaves between the question and the answer: what the last one leaves is of
-- no use.
CREATE OR REPLACE FUNCTION update_group_info(
    p_convo text, p_caller text, p_epoch bigint, p_info bytea)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    IF NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_caller
                       AND m.left_seq IS NULL) THEN
        RETURN 'absent';
    END IF;
    UPDATE conversations c SET group_info = p_info, group_info_epoch = p_epoch
    WHERE c.convo_id = p_convo AND c.epoch = p_epoch;
    RETURN CASE WHEN FOUND THEN 'done' ELSE 'stale' END;
END $$;

-- As in 0003, but it numbers messages in conversations only that it has locked: two that had one
-- number would be one to who reads on by it.
CREATE OR REPLACE FUNCTION append_messages(
    p_convo text[], p_user text[], p_msg text[], p_epoch bigint[], p_ciphertext bytea[],
    p_nonce bytea[], p_nonce_expires timestamptz[], p_since interval, p_again boolean)
RETURNS TABLE (outcome text, seq bigint, epoch bigint, received_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_at       timestamptz := coarse_now();
    v_fresh    bytea[];
    v_locked   text[];
    v_outcome  text[];
    v_seq      bigint[];
    v_epoch    bigint[];
    v_received timestamptz[];
    v_convo    text[];
    v_detail   text[];
BEGIN
    v_fresh := use_up_nonces(p_nonce, p_nonce_expires);
    -- In the order of ids, so that two batches cannot wait for each other.
    v_locked := ARRAY(
        SELECT c.convo_id FROM conversations c WHERE c.convo_id = ANY (p_convo)
        ORDER BY c.convo_id FOR NO KEY UPDATE);
    -- One that is founded meanwhile is there now, and not ours to number messages in.
    IF cardinality(v_locked) < (SELECT count(DISTINCT u.convo) FROM unnest(p_convo) AS u (convo)) THEN
        p_convo := ARRAY(
            SELECT CASE WHEN u.convo = ANY (v_locked) THEN u.convo END
            FROM unnest(p_convo) WITH ORDINALITY AS u (convo, ord) ORDER BY u.ord);
    END IF;
    WITH judged AS (
        SELECT i.ord, i.convo, i.msg, i.ciphertext, c.last_seq, c.epoch AS current,
               d.seq AS old_seq, d.epoch AS old_epoch, d.received_at AS old_received,
               CASE
                   WHEN i.nonce IS NOT NULL AND i.nonce <> ALL (v_fresh)
                        AND NOT (p_again AND d.same IS TRUE) THEN 'replayed'
                   WHEN c.convo_id IS NULL OR NOT EXISTS (
                       SELECT FROM members m WHERE m.convo_id = i.convo
                           AND m.user_did = i.sender AND m.left_seq IS NULL) THEN 'absent'
                   WHEN d.same THEN 'repeated'
                   WHEN d.seq IS NOT NULL THEN 'conflict'
                   WHEN i.epoch <> c.epoch THEN 'epoch'
                   ELSE 'stored'
               END AS outcome
        FROM unnest(p_convo, p_user, p_msg, p_epoch, p_ciphertext, p_nonce)
             WITH ORDINALITY AS i (convo, sender, msg, epoch, ciphertext, nonce, ord)
        LEFT JOIN conversations c ON c.convo_id = i.convo
        LEFT JOIN LATERAL (
            SELECT m.seq, m.epoch, m.received_at, m.kind = 'app' AND m.epoch = i.epoch
                   AND m.ciphertext = i.ciphertext AS same
            FROM messages m
            WHERE m.convo_id = i.convo AND m.msg_id = i.msg
              AND m.received_at >= v_at - p_since
            LIMIT 1) d ON true
    ), numbered AS MATERIALIZED (
        SELECT j.*, j.last_seq + count(*) FILTER (WHERE j.outcome = 'stored')
                    OVER (PARTITION BY j.convo ORDER BY j.ord) AS new_seq
        FROM judged j
    ), stored AS (
        INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                              padded_size, received_at)
        SELECT n.convo, n.new_seq, n.msg, 'app', n.current, n.ciphertext,
               octet_length(n.ciphertext), octet_length(n.ciphertext), v_at
        FROM numbered n WHERE n.outcome = 'stored'
    ), bumped AS (
        UPDATE conversations c SET last_seq = n.most, last_message_at = v_at
        FROM (SELECT n.convo, max(n.new_seq) AS most FROM numbered n
              WHERE n.outcome = 'stored' GROUP BY n.convo) n
        WHERE c.convo_id = n.convo
    )
    SELECT array_agg(n.outcome),
           array_agg(coalesce(n.old_seq, n.new_seq)),
           array_agg(CASE WHEN n.outcome = 'repeated' THEN n.old_epoch ELSE n.current END),
           array_agg(coalesce(n.old_received, v_at)),
           array_agg(n.convo) FILTER (WHERE n.outcome = 'stored'),
           array_agg(',"messageId":"' || n.msg || '"') FILTER (WHERE n.outcome = 'stored')
        INTO v_outcome, v_seq, v_epoch, v_received, v_convo, v_detail
        FROM (SELECT * FROM numbered ORDER BY ord) n;
    IF v_convo IS NOT NULL THEN
        PERFORM emit_events(v_convo, array_fill(NULL::text, ARRAY[cardinality(v_convo)]),
                            array_fill('message'::text, ARRAY[cardinality(v_convo)]), v_detail);
    END IF;
    RETURN QUERY SELECT * FROM unnest(v_outcome, v_seq, v_epoch, v_received);
END $$;
