-- A token whose nonce may have been forgotten counts as used: a node whose clock is behind takes it
-- for good, and cannot tell.

-- Nonces that were good until before then are forgotten. No finer than any stored time.
CREATE TABLE nonce_floor (
    only_row  boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    forgotten timestamptz NOT NULL
);
INSERT INTO nonce_floor (forgotten) VALUES ('-infinity');

-- Marks nonces as used, in the caller's transaction, and tells which of them were new. NULL stands
-- for a call without a nonce. A floor that is yet to come is of a clock that ran ahead, and counts
-- for nothing.
CREATE OR REPLACE FUNCTION use_up_nonces(p_keys bytea[], p_expires timestamptz[]) RETURNS bytea[]
LANGUAGE plpgsql AS $$
DECLARE
    v_new bytea[];
BEGIN
    -- In the order of keys, so that two nodes cannot wait for each other.
    WITH new AS (
        INSERT INTO used_jti AS u (key, expires_at)
        SELECT DISTINCT ON (i.key) i.key, i.expires
        FROM unnest(p_keys, p_expires) AS i (key, expires)
        WHERE i.key IS NOT NULL AND (i.expires < (
            SELECT f.forgotten FROM nonce_floor f WHERE f.forgotten <= now())) IS NOT TRUE
        ORDER BY i.key
        ON CONFLICT (key) DO NOTHING RETURNING u.key)
    SELECT coalesce(array_agg(n.key), '{}') INTO v_new FROM new n;
    RETURN v_new;
END $$;

-- What somebody is about to keep longer is passed over.
CREATE OR REPLACE FUNCTION forget_jtis(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    UPDATE nonce_floor f SET forgotten = date_bin('2 seconds', now(), 'epoch');
    WITH gone AS (
        DELETE FROM used_jti j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM used_jti j
            WHERE j.expires_at < (SELECT f.forgotten FROM nonce_floor f)
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- The same for one send that comes alone, as on a node that is not busy, without what a batch
-- needs: starting the executor of a large statement takes longer than its work.
CREATE OR REPLACE FUNCTION append_message(
    p_convo text, p_user text, p_msg text, p_epoch bigint, p_ciphertext bytea,
    p_nonce bytea, p_nonce_expires timestamptz, p_since interval, p_again boolean,
    OUT outcome text, OUT seq bigint, OUT epoch bigint, OUT received_at timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    v_at        timestamptz := coarse_now();
    v_size      integer := octet_length(p_ciphertext);
    v_used      boolean := false;
    v_present   boolean;
    v_last      bigint;
    v_leap      bigint;
    v_old_seq   bigint;
    v_old_epoch bigint;
    v_same      boolean;
BEGIN
    -- As use_up_nonces does for many, which starts what this function is there to avoid.
    IF p_nonce IS NOT NULL THEN
        INSERT INTO used_jti AS u (key, expires_at)
        SELECT p_nonce, p_nonce_expires
        WHERE (p_nonce_expires < (
            SELECT f.forgotten FROM nonce_floor f WHERE f.forgotten <= now())) IS NOT TRUE
        ON CONFLICT (key) DO NOTHING;
        v_used := NOT FOUND;
    END IF;
    SELECT c.epoch, CASE WHEN c.leap = f.leap THEN c.last_seq ELSE f.leap END, f.leap
        INTO epoch, v_last, v_leap
        FROM conversations c, stream_floor f WHERE c.convo_id = p_convo FOR NO KEY UPDATE OF c;
    v_present := FOUND AND EXISTS (
        SELECT FROM members m
        WHERE m.convo_id = p_convo AND m.user_did = p_user AND m.left_seq IS NULL);
    SELECT m.seq, m.epoch, m.received_at, m.kind = 'app' AND m.epoch = p_epoch
           AND m.ciphertext = p_ciphertext
        INTO v_old_seq, v_old_epoch, received_at, v_same
        FROM messages m
        WHERE m.convo_id = p_convo AND m.msg_id = p_msg AND m.received_at >= v_at - p_since
        LIMIT 1;
    outcome := CASE
        WHEN v_used AND NOT (p_again AND v_same IS TRUE) THEN 'replayed'
        WHEN NOT v_present THEN 'absent'
        WHEN v_same THEN 'repeated'
        WHEN v_old_seq IS NOT NULL THEN 'conflict'
        WHEN p_epoch <> epoch THEN 'epoch'
        ELSE 'stored'
    END;
    IF outcome = 'repeated' THEN
        seq := v_old_seq;
        epoch := v_old_epoch;
    ELSIF outcome = 'stored' THEN
        seq := v_last + 1;
        received_at := v_at;
        INSERT INTO messages (convo_id, seq, msg_id, kind, epoch, ciphertext, declared_size,
                              padded_size, received_at)
        VALUES (p_convo, seq, p_msg, 'app', p_epoch, p_ciphertext, v_size, v_size, v_at);
        UPDATE conversations c SET last_seq = seq, leap = v_leap, last_message_at = v_at
        WHERE c.convo_id = p_convo;
        PERFORM emit_events(ARRAY[p_convo], ARRAY[NULL::text], ARRAY['message'],
                            ARRAY[',"messageId":"' || p_msg || '"']);
    END IF;
END $$;
