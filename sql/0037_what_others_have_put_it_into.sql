-- What an account can do does not hang on what others have put it into.

-- Ends the seats of one device, or of all devices of the account (p_device NULL), in these
-- conversations, which must be locked (see lock_seats), and tells them; says in how many there was
-- one. Where the account has no seat left, how far it has read goes, and if it was the last admin, its
-- role passes on. With its last seat a conversation is over.
CREATE OR REPLACE FUNCTION end_seats(p_user text, p_device text, p_convo text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text[];
    v_last  boolean[];
    v_led   text[]; -- whose admin goes
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
    v_led := pass_on_role(p_user, ARRAY(
        SELECT l.convo FROM unnest(v_convo, v_last) AS l (convo, last) WHERE l.last));
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
    PERFORM tell_updated(v_led);
    PERFORM end_conversations(v_convo);
    RETURN cardinality(v_convo);
END $$;

-- Ends a device: its packages, registration and Welcomes, also those of a founder's seat that can
-- only be its own, the account's tickets, and its seats in p_bite conversations after p_after, since
-- everybody's sends wait for the events of one transaction. Says how many packages and seats there
-- were; no row: there is no such device, though one that nobody registered may have seats as well.
-- The registration goes last: by it a founder's seat is known, and a deletion that was cut off is
-- found again.
-- Outcomes: done, more (call again, after the conversation that is named). It is more as long as there
-- is a seat: who added the device before its key packages were gone may have given it one that was not
-- there when the others were counted. Then no conversation is named: from the beginning.
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

-- Ends an account: all its devices with all that hangs on them, how far it has read, its consent,
-- and what was learned of its blocks. What conversations show stays with them: who founded them,
-- stays that are over, reports. Its seats end in bites, as in delete_device; after is NULL when
-- there is no more.
CREATE OR REPLACE FUNCTION delete_account(
    p_user text, p_mark bytea, p_until timestamptz, p_bite integer, p_after text)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint, after text)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo    text[];
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
    v_seats    bigint;
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
    v_seats := end_seats(p_user, NULL, v_convo);
    v_after := v_convo[p_bite];
    IF v_after IS NULL AND EXISTS (SELECT FROM seats_of(p_user, NULL)) THEN
        v_after := '';
    END IF;
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, v_seats, v_after;
END $$;

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
CREATE OR REPLACE FUNCTION judge_change(
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
