-- Key packages, which a device publishes so that others can add it: handed out within bounds, and
-- not behind their owner's back.

CREATE TABLE key_packages (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_did     text        NOT NULL,
    -- NULL: of a phone that never names one.
    device_id    text,
    cipher_suite smallint    NOT NULL,
    key_package  bytea       NOT NULL,
    -- SHA-256 of the bytes, by which clients name a package.
    hash         bytea       NOT NULL,
    -- KeyPackageRef (RFC 9420 section 5.2), by which a Welcome names it.
    reference    bytea       NOT NULL UNIQUE,
    last_resort  boolean     NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT coarse_now(),
    expires_at   timestamptz NOT NULL,
    claimed_at   timestamptz,
    consumed_at  timestamptz
);
CREATE INDEX key_packages_open ON key_packages (user_did, cipher_suite, device_id, id)
    WHERE claimed_at IS NULL AND consumed_at IS NULL;
-- A device's stock.
CREATE INDEX key_packages_of_device ON key_packages (user_did, device_id);
CREATE INDEX key_packages_consumed ON key_packages (consumed_at) WHERE consumed_at IS NOT NULL;
CREATE INDEX key_packages_expiry ON key_packages (expires_at);

-- How often one account has claimed from another lately, so that nobody empties somebody's stock.
-- The two are one hash. Under hashes of their own it is also known here how many conversations have
-- heard of an account's new devices lately, and whether one has heard that a device asks to be added
-- anew.
CREATE TABLE key_package_claims (
    key        bytea       NOT NULL PRIMARY KEY,
    claims     integer     NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX key_package_claims_expiry ON key_package_claims (expires_at);

-- Locks key packages, in the order of their references, whoever needs several.
CREATE FUNCTION lock_packages(p_references bytea[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM key_packages k WHERE k.reference = ANY (p_references)
        ORDER BY k.reference FOR UPDATE;
END $$;

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
CREATE FUNCTION publish_key_packages(
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

-- Drops the unclaimed packages of a device that it no longer has the keys of; without a device it
-- is about those that belong to none.
CREATE FUNCTION sync_key_packages(p_user text, p_device text, p_hashes bytea[])
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
CREATE FUNCTION claim_key_packages(
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

-- What follows waits for nobody: rows that somebody holds are forgotten the next time.

-- Expired packages, and those that were used longer ago than p_consumed.
CREATE FUNCTION forget_key_packages(p_consumed interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM key_packages k WHERE k.ctid = ANY (
            ARRAY(SELECT k.ctid FROM key_packages k WHERE k.expires_at < now()
                  LIMIT p_most FOR UPDATE SKIP LOCKED)
            || ARRAY(SELECT k.ctid FROM key_packages k WHERE k.consumed_at < now() - p_consumed
                     LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Open packages over the bound of a device, which it can have only from when the bound was higher:
-- the oldest first, a last-resort package never. Looks at the first p_most accounts after p_after;
-- says how many went, and after which account to go on: NULL when all have been looked at.
CREATE FUNCTION forget_surplus_key_packages(
    p_per_device integer, p_after text, p_most integer)
RETURNS TABLE (gone bigint, after text)
LANGUAGE plpgsql AS $$
DECLARE
    v_users text[] := ARRAY(
        SELECT DISTINCT k.user_did FROM key_packages k
        WHERE k.user_did > p_after AND k.claimed_at IS NULL AND k.consumed_at IS NULL
        ORDER BY k.user_did LIMIT p_most);
    v_gone  bigint;
BEGIN
    DELETE FROM key_packages k WHERE k.ctid = ANY (ARRAY(
        SELECT k.ctid FROM key_packages k
        WHERE k.claimed_at IS NULL AND k.consumed_at IS NULL AND k.id = ANY (ARRAY(
            SELECT o.id FROM (
                -- What the index knows: a last-resort package is counted as well.
                SELECT k.user_did, k.device_id FROM key_packages k
                WHERE k.user_did = ANY (v_users)
                  AND k.claimed_at IS NULL AND k.consumed_at IS NULL
                GROUP BY k.user_did, k.device_id HAVING count(*) > p_per_device) d
            CROSS JOIN LATERAL (
                SELECT k.id FROM key_packages k
                WHERE k.user_did = d.user_did AND k.device_id IS NOT DISTINCT FROM d.device_id
                  AND k.claimed_at IS NULL AND k.consumed_at IS NULL AND NOT k.last_resort
                ORDER BY k.id DESC OFFSET p_per_device) o))
        FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS v_gone = ROW_COUNT;
    RETURN QUERY SELECT v_gone, v_users[p_most];
END $$;

-- Counts that are over, and those that are said to go on for longer than any may (a week): a clock
-- has said so that ran ahead, and was set right since.
CREATE FUNCTION forget_claims(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM key_package_claims c WHERE c.ctid = ANY (ARRAY(
            SELECT c.ctid FROM key_package_claims c
            WHERE c.expires_at < now() OR c.expires_at > now() + interval '8 days'
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
