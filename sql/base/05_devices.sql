-- Devices, from their registration to their end.

CREATE TABLE devices (
    user_did      text        NOT NULL,
    device_id     text        NOT NULL,
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    signature_key bytea       NOT NULL UNIQUE,
    registered_at timestamptz NOT NULL DEFAULT coarse_now(),
    last_seen_at  timestamptz NOT NULL DEFAULT coarse_now(),
    PRIMARY KEY (user_did, device_id)
);

-- Registers a device with its first key packages. A device that registers again starts over: what it
-- had published and nobody had claimed is dropped. Of an account's new devices p_told_max
-- conversations hear in p_told_window, all together: those of the latest messages. They are counted
-- where claims are, under a key of their own, and before everybody's sends wait for the events.
-- Outcomes: done, untold (done, but not all have heard of it), duplicate_key (another device has
-- this signature key), too_many_devices, and those of publish_key_packages.
CREATE FUNCTION register_device(
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

-- Ends a device: its packages, registration and Welcomes, also those of a founder's seat that can
-- only be its own, the account's tickets, and its seats in p_bite conversations after p_after, since
-- everybody's sends wait for the events of one transaction. Says how many packages and seats there
-- were; no row: there is no such device, though one that nobody registered may have seats as well.
-- The registration goes last: by it a founder's seat is known, and a deletion that was cut off is
-- found again.
-- Outcomes: done, more (call again, after the conversation that is named). It is more as long as there
-- is a seat: who added the device before its key packages were gone may have given it one that was not
-- there when the others were counted. Then no conversation is named: from the beginning.
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
