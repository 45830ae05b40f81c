-- Messages: ciphertext and no sender, numbered in their conversation.

CREATE TABLE messages (
    convo_id      text        NOT NULL,
    seq           bigint      NOT NULL,
    msg_id        text        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('app', 'commit')),
    -- The epoch an application message is for; the epoch a commit leads to.
    epoch         bigint      NOT NULL,
    ciphertext    bytea       NOT NULL,
    declared_size integer     NOT NULL CHECK (declared_size = padded_size),
    padded_size   integer     NOT NULL CHECK (padded_size = octet_length(ciphertext)),
    received_at   timestamptz NOT NULL CHECK (received_at = date_bin('2 seconds', received_at, 'epoch')),
    sender_did    text        CHECK (sender_did IS NULL),
    -- The signed receipt of a commit.
    receipt       json        CHECK (receipt IS NULL OR kind = 'commit'),
    PRIMARY KEY (convo_id, seq, received_at),
    CHECK (kind = 'commit' OR padded_size IN (512, 1024, 2048, 4096)
           OR (padded_size > 0 AND padded_size % 8192 = 0))
) PARTITION BY RANGE (received_at);
-- Ciphertext does not compress: do not try.
ALTER TABLE messages ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
CREATE INDEX messages_by_id ON messages (convo_id, msg_id);
CREATE INDEX commits_by_epoch ON messages (convo_id, epoch) WHERE kind = 'commit';

-- Appends a batch of sends, each of which may use up the nonce of its token (a key of used_jti;
-- NULL: it has none). Each is judged by itself; the good ones get one event each, and their
-- conversation's next numbers, while it is locked: two messages that had one number would be one to
-- who reads on by it. p_since bounds how far back a repeated id is looked for. p_again: the answer
-- to this batch may have been lost on its way, so a repeated message is not a replayed token.
-- Outcomes: stored, repeated (it was stored before), conflict (another has its id), absent (no such
-- conversation for this sender), epoch (not the conversation's), replayed (the token was used).
CREATE FUNCTION append_messages(
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
    v_leap     bigint := (SELECT f.leap FROM stream_floor f);
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
        SELECT i.ord, i.convo, i.msg, i.ciphertext, c.epoch AS current,
               CASE WHEN c.leap = v_leap THEN c.last_seq ELSE v_leap END AS last_seq,
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
        UPDATE conversations c SET last_seq = n.most, leap = v_leap, last_message_at = v_at
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

-- The same for one send that comes alone, as on a node that is not busy, without what a batch
-- needs: starting the executor of a large statement takes longer than its work.
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
    v_leap      bigint;
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
