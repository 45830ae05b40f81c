-- Devices and their key packages.
-- Outcomes: done, duplicate_key (another device has this signature key),
-- too_many_devices, too_many_key_packages, foreign (a package of another account).

CREATE FUNCTION publish_key_packages(
    p_user text, p_device text, p_suite smallint[], p_package bytea[], p_hash bytea[],
    p_reference bytea[], p_last_resort boolean[], p_expires timestamptz[], p_open_max integer)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    -- One publisher of an account at a time, so that the bound holds.
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    IF EXISTS (SELECT FROM key_packages k WHERE k.hash = ANY (p_hash)
                   AND (k.user_did <> p_user OR k.device_id IS DISTINCT FROM p_device)) THEN
        RETURN 'foreign';
    END IF;
    IF (SELECT count(*) FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
          AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND NOT k.hash = ANY (p_hash))
       + cardinality(p_hash) > p_open_max THEN
        RETURN 'too_many_key_packages';
    END IF;
    INSERT INTO key_packages (user_did, device_id, cipher_suite, key_package, hash, reference,
                              last_resort, expires_at)
    SELECT p_user, p_device, i.suite, i.package, i.hash, i.reference, i.last_resort, i.expires
    FROM unnest(p_suite, p_package, p_hash, p_reference, p_last_resort, p_expires)
         AS i (suite, package, hash, reference, last_resort, expires)
    ON CONFLICT (hash) DO UPDATE SET expires_at = excluded.expires_at;
    RETURN 'done';
END $$;

-- Registers a device with its first key packages. A device that registers again
-- starts over: what it had published and nobody had claimed is dropped.
CREATE FUNCTION register_device(
    p_user text, p_device text, p_name text, p_signature_key bytea, p_devices_max integer,
    p_suite smallint[], p_package bytea[], p_hash bytea[], p_reference bytea[],
    p_last_resort boolean[], p_expires timestamptz[], p_open_max integer)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_outcome text;
    v_known   boolean;
    v_convo   text[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    v_known := EXISTS (SELECT FROM devices d WHERE d.user_did = p_user AND d.device_id = p_device);
    IF EXISTS (SELECT FROM devices d WHERE d.signature_key = p_signature_key
                   AND (d.user_did <> p_user OR d.device_id <> p_device)) THEN
        RETURN 'duplicate_key';
    END IF;
    IF (SELECT count(*) FROM devices d WHERE d.user_did = p_user AND d.device_id <> p_device)
       >= p_devices_max THEN
        RETURN 'too_many_devices';
    END IF;
    DELETE FROM key_packages k WHERE k.user_did = p_user AND k.device_id = p_device
        AND k.claimed_at IS NULL AND NOT k.hash = ANY (p_hash);
    v_outcome := publish_key_packages(p_user, p_device, p_suite, p_package, p_hash, p_reference,
                                      p_last_resort, p_expires, p_open_max);
    IF v_outcome = 'done' THEN
        INSERT INTO devices (user_did, device_id, name, signature_key)
        VALUES (p_user, p_device, p_name, p_signature_key)
        ON CONFLICT (user_did, device_id) DO UPDATE SET
            name = excluded.name, signature_key = excluded.signature_key,
            last_seen_at = excluded.last_seen_at;
    END IF;
    -- The account's conversations hear of a device that somebody may add.
    IF v_outcome = 'done' AND NOT v_known THEN
        SELECT array_agg(DISTINCT m.convo_id) INTO v_convo
            FROM members m WHERE m.user_did = p_user AND m.left_seq IS NULL;
    END IF;
    IF v_convo IS NOT NULL THEN
        PERFORM emit_events(
            v_convo, array_fill(NULL::text, ARRAY[cardinality(v_convo)]),
            array_fill('newDevice'::text, ARRAY[cardinality(v_convo)]),
            array_fill(',"type":"newDevice","did":"' || p_user || '","deviceId":"' || p_device
                       || '"', ARRAY[cardinality(v_convo)]));
    END IF;
    RETURN v_outcome;
END $$;
