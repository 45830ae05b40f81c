-- A send or an event that comes alone, as on a node that is not busy, without what a batch
-- needs: starting the executor of a large statement takes longer than its work.

-- As before, and a lone event is written by plain statements.
CREATE OR REPLACE FUNCTION emit_events(p_convo text[], p_user text[], p_kind text[], p_detail text[])
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_digits   CONSTANT text := '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
    v_base     bigint;
    v_at       timestamptz;
    v_time     text;
    v_block    bigint;
    v_head     text;
    v_head_two text;
    v_envelope text;
    v_payloads bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.stream'));
    SELECT greatest(s.seq, f.seq), greatest(s.emitted_at, f.emitted_at, coarse_now())
        INTO v_base, v_at
        FROM stream_floor f LEFT JOIN LATERAL (
            SELECT e.seq, e.emitted_at FROM event_stream e
            ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1) s ON true;
    -- All but the last three characters are shared by 32,768 cursors: render
    -- them once, and once more for a batch that crosses into the next block.
    v_time := crockford(extract(epoch FROM v_at)::bigint * 1000, 10);
    v_block := (v_base + 1) >> 15;
    v_head := v_time || crockford(v_block, 13);
    IF cardinality(p_kind) = 1 THEN
        v_envelope := '{"cursor":"' || v_head
            || substr(v_digits, (((v_base + 1) >> 10) & 31)::integer + 1, 1)
            || substr(v_digits, (((v_base + 1) >> 5) & 31)::integer + 1, 1)
            || substr(v_digits, ((v_base + 1) & 31)::integer + 1, 1)
            || '"'
            || CASE WHEN p_convo[1] IS NULL THEN '' ELSE ',"convoId":"' || p_convo[1] || '"' END
            || p_detail[1] || '}';
        INSERT INTO event_stream (seq, emitted_at, convo_id, user_did, kind, payload)
        VALUES (v_base + 1, v_at, p_convo[1], p_user[1], p_kind[1], v_envelope::json);
        PERFORM pg_notify('relay_events', '[' || v_envelope || ']');
        RETURN v_base;
    END IF;
    v_head_two := v_time || crockford(v_block + 1, 13);
    WITH numbered AS MATERIALIZED (
        SELECT i.ord, i.convo, i.subject, i.kind, v_base + i.ord AS seq,
               '{"cursor":"'
               || CASE WHEN (v_base + i.ord) >> 15 = v_block THEN v_head ELSE v_head_two END
               || substr(v_digits, (((v_base + i.ord) >> 10) & 31)::integer + 1, 1)
               || substr(v_digits, (((v_base + i.ord) >> 5) & 31)::integer + 1, 1)
               || substr(v_digits, ((v_base + i.ord) & 31)::integer + 1, 1)
               || '"'
               || CASE WHEN i.convo IS NULL THEN '' ELSE ',"convoId":"' || i.convo || '"' END
               || i.detail || '}' AS envelope
        FROM unnest(p_convo, p_user, p_kind, p_detail)
             WITH ORDINALITY AS i (convo, subject, kind, detail, ord)
    ), stored AS (
        INSERT INTO event_stream (seq, emitted_at, convo_id, user_did, kind, payload)
        SELECT n.seq, v_at, n.convo, n.subject, n.kind, n.envelope::json
        FROM numbered n ORDER BY n.ord
    ), chunked AS (
        -- A payload holds at most 7,999 bytes; an envelope has fewer than 900: the
        -- longest is that of a commit, with its receipt.
        SELECT n.ord, n.envelope,
               sum(length(n.envelope) + 1) OVER (ORDER BY n.ord) / 7000 AS chunk
        FROM numbered n
    ), payloads AS (
        SELECT c.chunk, '[' || string_agg(c.envelope, ',' ORDER BY c.ord) || ']' AS payload
        FROM chunked c GROUP BY c.chunk ORDER BY c.chunk
    )
    SELECT count(pg_notify('relay_events', p.payload)) INTO v_payloads FROM payloads p;
    RETURN v_base;
END $$;

-- append_messages for one send: the same rules and the same answer.
CREATE FUNCTION append_message(
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
    v_old_seq   bigint;
    v_old_epoch bigint;
    v_same      boolean;
BEGIN
    -- As use_up_nonces does for many, which starts what this function is there to avoid.
    IF p_nonce IS NOT NULL THEN
        INSERT INTO used_jti AS u (key, expires_at) VALUES (p_nonce, p_nonce_expires)
            ON CONFLICT (key) DO NOTHING;
        v_used := NOT FOUND;
    END IF;
    SELECT c.epoch, c.last_seq INTO epoch, v_last
        FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
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
        UPDATE conversations c SET last_seq = seq, last_message_at = v_at
        WHERE c.convo_id = p_convo;
        PERFORM emit_events(ARRAY[p_convo], ARRAY[NULL::text], ARRAY['message'],
                            ARRAY[',"messageId":"' || p_msg || '"']);
    END IF;
END $$;
