-- What a call looks at does not grow with what it has nothing to do with.

-- Packages that nobody has claimed, of a device, or (p_device NULL) those that name none; by their
-- ids, so that of a suite few are read where few are wanted.
CREATE FUNCTION open_key_packages(p_user text, p_device text) RETURNS SETOF key_packages
LANGUAGE sql STABLE AS $$
    -- One condition for both would be served by no index.
    (SELECT k.* FROM key_packages k
     WHERE k.user_did = p_user AND k.device_id = p_device
       AND k.claimed_at IS NULL AND k.consumed_at IS NULL
     ORDER BY k.id)
    UNION ALL
    (SELECT k.* FROM key_packages k
     WHERE k.user_did = p_user AND k.device_id IS NULL AND p_device IS NULL
       AND k.claimed_at IS NULL AND k.consumed_at IS NULL
     ORDER BY k.id)
$$;

-- Publishes packages of a device, or of none. A package is the one that its reference names, bare or
-- in an MLSMessage: whoever publishes it twice, in one call or in two, has published it once.
-- Devices that nobody has registered count as devices.
-- Outcomes: done, foreign (a package of another account or device), too_many_devices,
-- too_many_key_packages.
CREATE OR REPLACE FUNCTION publish_key_packages(
    p_user text, p_device text, p_suite smallint[], p_package bytea[], p_hash bytea[],
    p_reference bytea[], p_last_resort boolean[], p_expires timestamptz[], p_open_max integer,
    p_devices_max integer DEFAULT 2147483647)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    -- One publisher of an account at a time, so that the bound holds.
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    IF EXISTS (SELECT FROM key_packages k WHERE k.reference = ANY (p_reference)
                   AND (k.user_did <> p_user OR k.device_id IS DISTINCT FROM p_device)) THEN
        RETURN 'foreign';
    END IF;
    IF p_device IS NOT NULL
       AND NOT EXISTS (SELECT FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device)
       AND (SELECT count(*) FROM (
                SELECT d.device_id FROM devices d WHERE d.user_did = p_user
                UNION SELECT k.device_id FROM key_packages k
                    WHERE k.user_did = p_user AND k.claimed_at IS NULL AND k.consumed_at IS NULL
                      AND k.device_id IS NOT NULL AND k.device_id <> p_device) other)
           >= p_devices_max THEN
        RETURN 'too_many_devices';
    END IF;
    IF (SELECT count(*) FROM open_key_packages(p_user, p_device) o
        WHERE NOT o.reference = ANY (p_reference))
       + (SELECT count(DISTINCT r) FROM unnest(p_reference) r) > p_open_max THEN
        RETURN 'too_many_key_packages';
    END IF;
    INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference,
                              last_resort, expires_at)
    SELECT DISTINCT ON (i.reference)
           p_user, p_device, i.suite, i.package, i.hash, i.reference, i.last_resort, i.expires
    FROM unnest(p_suite, p_package, p_hash, p_reference, p_last_resort, p_expires)
         AS i (suite, package, hash, reference, last_resort, expires)
    ORDER BY i.reference
    ON CONFLICT (reference) DO UPDATE SET expires_at = excluded.expires_at;
    RETURN 'done';
END $$;

-- What is given of a device, or (p_device NULL) of those that name none: the oldest ordinary package
-- that nobody else is about to take, or else the newest last-resort one, if there is one; and how many
-- ordinary ones stay, p_low if they are more.
CREATE FUNCTION offer_key_package(
    p_user text, p_suite smallint, p_device text, p_low integer,
    OUT package_id bigint, OUT bytes bytea, OUT hash bytea, OUT last_resort boolean,
    OUT remaining bigint)
LANGUAGE plpgsql AS $$
BEGIN
    IF p_device IS NULL THEN
        SELECT k.id, k.key_package, k.hash, false INTO package_id, bytes, hash, last_resort
            FROM key_packages k
            WHERE k.user_did = p_user AND k.cipher_suite = p_suite AND k.device_id IS NULL
              AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
              AND NOT k.last_resort
            ORDER BY k.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    ELSE
        SELECT k.id, k.key_package, k.hash, false INTO package_id, bytes, hash, last_resort
            FROM key_packages k
            WHERE k.user_did = p_user AND k.cipher_suite = p_suite AND k.device_id = p_device
              AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
              AND NOT k.last_resort
            ORDER BY k.id LIMIT 1 FOR UPDATE SKIP LOCKED;
    END IF;
    remaining := (SELECT count(*) FROM (
        SELECT FROM open_key_packages(p_user, p_device) o
        WHERE o.cipher_suite = p_suite AND o.expires_at > now() AND NOT o.last_resort
        LIMIT p_low::bigint + 1) o) - FOUND::integer;
    IF NOT FOUND THEN
        SELECT o.id, o.key_package, o.hash, true INTO package_id, bytes, hash, last_resort
            FROM open_key_packages(p_user, p_device) o
            WHERE o.cipher_suite = p_suite AND o.expires_at > now() AND o.last_resort
            ORDER BY o.id DESC LIMIT 1;
    END IF;
END $$;

-- Hands out one key package per device of each account: an ordinary one, which nobody gets again, or
-- the device's last-resort one, which stays. Of the devices with a package the last p_devices_max of
-- each account, and of accounts, in their order, as many as fit p_bytes_max: the others keep what
-- they have. Owners hear of it when their stock runs low. Nothing at all if one of the targets is
-- claimed from too often: then the one row has no package, and says of which account, and for how
-- many seconds; of several the one with the longest wait.
CREATE OR REPLACE FUNCTION claim_key_packages(
    p_users text[], p_suite smallint, p_keys bytea[], p_claims_max integer, p_window interval,
    p_low integer, p_devices_max integer DEFAULT 32, p_bytes_max bigint DEFAULT 4194304)
RETURNS TABLE (
    user_did text, device_id text, key_package bytea, hash bytea, wait_seconds bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_until   timestamptz;
    v_key     bytea;
    v_given   record;
    v_user    text[] := '{}';
    v_detail  text[] := '{}';
    v_claimed bigint[] := '{}';
BEGIN
    -- In the order of keys, so that two calls cannot wait for each other.
    WITH counted AS (
        INSERT INTO key_package_claims AS c (key, claims, expires_at)
        SELECT k.key, 1, now() + p_window FROM unnest(p_keys) AS k (key) ORDER BY k.key
        ON CONFLICT (key) DO UPDATE SET
            claims = CASE WHEN c.expires_at < now() THEN 1 ELSE c.claims + 1 END,
            expires_at = CASE WHEN c.expires_at < now() THEN excluded.expires_at
                              ELSE c.expires_at END
        RETURNING c.key, c.claims, c.expires_at)
    SELECT c.key, c.expires_at INTO v_key, v_until FROM counted c
        WHERE c.claims > p_claims_max ORDER BY c.expires_at DESC, c.key LIMIT 1;
    IF v_until IS NOT NULL THEN
        UPDATE key_package_claims c SET claims = c.claims - 1 WHERE c.key = ANY (p_keys);
        RETURN QUERY SELECT p_users[array_position(p_keys, v_key)], NULL::text, NULL::bytea,
            NULL::bytea,
            greatest(1, ceil(extract(epoch FROM v_until - now())))::bigint;
        RETURN;
    END IF;
    -- Each device, its newest package by which it has its place, and what is given of it are found by
    -- a look into the index: a stock is not read.
    FOR v_given IN
        WITH RECURSIVE device AS (
            SELECT u.who, k.* FROM (SELECT DISTINCT unnest(p_users)) AS u (who) CROSS JOIN LATERAL ((
                SELECT k.device_id, k.id FROM key_packages k
                WHERE k.user_did = u.who AND k.cipher_suite = p_suite AND k.device_id IS NULL
                  AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
                ORDER BY k.id DESC LIMIT 1)
            UNION ALL (
                SELECT k.device_id, k.id FROM key_packages k
                WHERE k.user_did = u.who AND k.cipher_suite = p_suite AND k.device_id IS NOT NULL
                  AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
                ORDER BY k.device_id DESC, k.id DESC LIMIT 1)) k
            UNION ALL
            SELECT d.who, k.* FROM device d CROSS JOIN LATERAL (
                SELECT k.device_id, k.id FROM key_packages k
                WHERE k.user_did = d.who AND k.cipher_suite = p_suite AND k.device_id < d.device_id
                  AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.expires_at > now()
                ORDER BY k.device_id DESC, k.id DESC LIMIT 1) k
        ), offer AS (
            SELECT d.who, d.device_id, o.* FROM (
                SELECT d.*, row_number() OVER (PARTITION BY d.who ORDER BY d.id DESC) AS place
                FROM device d) d
            CROSS JOIN LATERAL offer_key_package(d.who, p_suite, d.device_id, p_low) o
            WHERE d.place <= p_devices_max AND o.package_id IS NOT NULL
        )
        SELECT f.* FROM (
            SELECT o.*, sum(octet_length(o.bytes)) OVER (PARTITION BY o.who) AS own,
                   sum(octet_length(o.bytes)) OVER (ORDER BY array_position(p_users, o.who)) AS through
            FROM offer o) f
        WHERE f.through <= greatest(p_bytes_max, f.own)
    LOOP
        RETURN QUERY SELECT v_given.who::text, v_given.device_id::text, v_given.bytes::bytea,
                            v_given.hash::bytea, 0::bigint;
        IF NOT v_given.last_resort THEN
            v_claimed := v_claimed || v_given.package_id::bigint;
        END IF;
        -- A last resort is used again and again; its owner hears of it once a minute.
        IF v_given.remaining < p_low AND NOT (v_given.last_resort AND EXISTS (
            SELECT FROM event_stream e WHERE e.user_did = v_given.who
                AND e.kind = 'keyPackages' AND e.emitted_at > now() - interval '1 minute'
                AND e.payload ->> 'lastResortUsed' = 'true'
                AND e.payload ->> 'deviceId' IS NOT DISTINCT FROM v_given.device_id)) THEN
            v_user := v_user || v_given.who::text;
            v_detail := v_detail || format(
                ',"type":"keyPackages","did":"%s"%s,"remaining":%s,"lastResortUsed":%s',
                v_given.who,
                CASE WHEN v_given.device_id IS NULL THEN ''
                     ELSE ',"deviceId":"' || v_given.device_id || '"' END,
                v_given.remaining, v_given.last_resort::text);
        END IF;
    END LOOP;
    UPDATE key_packages k SET claimed_at = coarse_now() WHERE k.id = ANY (v_claimed);
    IF cardinality(v_user) > 0 THEN
        PERFORM emit_events(array_fill(NULL::text, ARRAY[cardinality(v_user)]), v_user,
                            array_fill('keyPackages'::text, ARRAY[cardinality(v_user)]), v_detail);
    END IF;
END $$;

-- Whether a change may be made, or whom the refusal is about, if it is about somebody; called with
-- the conversation's row locked. Who comes back takes no second seat; no account has more seats in
-- a conversation than it may have devices, is in more conversations than it may be, or has more
-- Welcomes waiting for it than it may leave waiting.
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

-- The change. Who comes back without a seat of its own takes the account's seat that has no name if
-- it has never had another and the account has no other, or if it can only be its own. Who is
-- welcomed again keeps its seat, and what it had asked for is done. With an account's last seat goes
-- how far it has read, and with its last seat the conversation is over.
-- Outcomes: the verdicts of judge_change; with epoch comes the one that has won.
CREATE OR REPLACE FUNCTION change_group(
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
