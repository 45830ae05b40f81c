-- The event stream: one global order, given under one lock that is taken last
-- and held to commit, so that order of numbers = order of commits = order of
-- notifications. Nothing may lock a conversation after it.

-- The last characters of a number in Crockford base32, as ULID text has it.
CREATE FUNCTION crockford(p_value bigint, p_digits integer) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
    v_text text := '';
BEGIN
    FOR i IN 0 .. least(p_digits, 13) - 1 LOOP
        v_text := substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ',
                         ((p_value >> (5 * i)) & 31)::integer + 1, 1) || v_text;
    END LOOP;
    RETURN lpad(v_text, p_digits, '0');
END $$;

-- Appends events and notifies once per 7 kB. p_detail is what follows the convoId
-- in the envelope: JSON text with a leading comma. Returns the number before the
-- first event.
CREATE FUNCTION emit_events(p_convo text[], p_user text[], p_kind text[], p_detail text[])
RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_base     bigint;
    v_at       timestamptz;
    v_time     text;
    v_block    bigint;
    v_head     text;
    v_head_two text;
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
    v_head_two := v_time || crockford(v_block + 1, 13);
    WITH numbered AS MATERIALIZED (
        SELECT i.ord, i.convo, i.subject, i.kind, v_base + i.ord AS seq,
               '{"cursor":"'
               || CASE WHEN (v_base + i.ord) >> 15 = v_block THEN v_head ELSE v_head_two END
               || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ',
                         (((v_base + i.ord) >> 10) & 31)::integer + 1, 1)
               || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ',
                         (((v_base + i.ord) >> 5) & 31)::integer + 1, 1)
               || substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ',
                         ((v_base + i.ord) & 31)::integer + 1, 1)
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

-- Called on each new writing connection: after a promotion the copy may lack the
-- last events that the old primary gave out, so their numbers are jumped over.
CREATE FUNCTION follow_timeline() RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_current text := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
BEGIN
    IF EXISTS (SELECT FROM stream_floor WHERE timeline = v_current) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.stream'));
    -- A million is far more than an asynchronous standby can be behind.
    UPDATE stream_floor f SET
        timeline = v_current,
        emitted_at = greatest(f.emitted_at, (SELECT max(e.emitted_at) FROM event_stream e)),
        seq = greatest(f.seq, (SELECT max(e.seq) FROM event_stream e)) + 1000000
    WHERE f.timeline <> v_current;
END $$;

-- Appends a batch of sends, each of which may use up the nonce of its token (a key
-- of used_jti; NULL: it has none). Each is judged by itself; the good ones get their
-- conversation's next numbers and one event each. p_since bounds how far back a
-- repeated id is looked for. p_again: the answer to this batch may have been lost on
-- its way, so a repeated message is not a replayed token.
CREATE FUNCTION append_messages(
    p_convo text[], p_user text[], p_msg text[], p_epoch bigint[], p_ciphertext bytea[],
    p_nonce bytea[], p_nonce_expires timestamptz[], p_since interval, p_again boolean)
RETURNS TABLE (outcome text, seq bigint, epoch bigint, received_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_at       timestamptz := coarse_now();
    v_fresh    bytea[];
    v_outcome  text[];
    v_seq      bigint[];
    v_epoch    bigint[];
    v_received timestamptz[];
    v_convo    text[];
    v_detail   text[];
BEGIN
    v_fresh := use_up_nonces(p_nonce, p_nonce_expires);
    -- In the order of ids, so that two batches cannot wait for each other.
    PERFORM FROM conversations c WHERE c.convo_id = ANY (p_convo)
        ORDER BY c.convo_id FOR NO KEY UPDATE;
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
