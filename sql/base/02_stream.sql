-- The event stream: one global order, given under one lock that is taken last and held to commit,
-- so that order of numbers = order of commits = order of notifications. Nothing may lock a
-- conversation after it, and everybody's sends wait for the events of one transaction: whoever has
-- very many writes them in bites.

-- What members must hear of, in commit order. seq is dense; emitted_at never falls as seq grows, so
-- that (emitted_at, seq) sorts like seq.
CREATE TABLE event_stream (
    seq        bigint      NOT NULL,
    emitted_at timestamptz NOT NULL CHECK (emitted_at = date_bin('2 seconds', emitted_at, 'epoch')),
    convo_id   text,
    -- Set on events for one account's devices, which belong to no conversation.
    user_did   text,
    kind       text        NOT NULL,
    payload    json        NOT NULL,
    PRIMARY KEY (emitted_at, seq),
    CHECK ((convo_id IS NULL) <> (user_did IS NULL)),
    -- A message's envelope is its cursor, its conversation and its id: nothing else.
    CHECK (kind <> 'message' OR (
        payload::text LIKE '{"cursor":"__________________________","convoId":"' || convo_id
                           || '","messageId":"__________________________"}'
        AND length(payload::text) - length(replace(payload::text, ',', '')) = 2))
) PARTITION BY RANGE (emitted_at);
CREATE INDEX events_by_seq ON event_stream (seq);
CREATE INDEX events_of_convo ON event_stream (convo_id, seq) WHERE convo_id IS NOT NULL;
CREATE INDEX events_of_user ON event_stream (user_did, seq) WHERE user_did IS NOT NULL;

-- The timeline that this server writes on. A promotion begins another one.
CREATE FUNCTION timeline_here() RETURNS text
LANGUAGE sql VOLATILE AS
$$ SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) $$;

-- One row: what the stream goes on from when its last partition is gone, and on which Postgres
-- timeline its numbers were given.
CREATE TABLE stream_floor (
    only_row   boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    seq        bigint      NOT NULL DEFAULT 0,
    emitted_at timestamptz NOT NULL DEFAULT 'epoch',
    timeline   text        NOT NULL,
    -- Events up to this one have been forgotten.
    forgotten  bigint      NOT NULL DEFAULT 0,
    -- The last leap over numbers that a server which is gone may have given out: those that were
    -- given since lie above it.
    leap       bigint      NOT NULL DEFAULT 0
);
INSERT INTO stream_floor (timeline) VALUES (timeline_here());

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

-- Appends events and notifies once per 7 kB. p_detail is what follows the convoId in the envelope:
-- JSON text with a leading comma. Returns the number before the first event. An event that comes
-- alone is written by plain statements: starting the executor of a large one takes longer than its
-- work.
CREATE FUNCTION emit_events(p_convo text[], p_user text[], p_kind text[], p_detail text[])
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
    v_here     boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.stream'));
    SELECT greatest(s.seq, f.seq), greatest(s.emitted_at, f.emitted_at, coarse_now()),
           f.timeline = timeline_here()
        INTO v_base, v_at, v_here
        FROM stream_floor f LEFT JOIN LATERAL (
            SELECT e.seq, e.emitted_at FROM event_stream e
            ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1) s ON true;
    -- A pooler has led this session to a copy that was promoted under it.
    IF NOT v_here THEN
        RAISE EXCEPTION 'the timeline of this server is not that of the numbers'
            USING ERRCODE = 'read_only_sql_transaction',
                  HINT = 'A new session makes the leap that is due (follow_timeline).';
    END IF;
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

-- Tells the members of each of these conversations that something has changed.
CREATE FUNCTION tell_updated(p_convo text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF cardinality(p_convo) > 0 THEN
        PERFORM emit_events(
            p_convo, array_fill(NULL::text, ARRAY[cardinality(p_convo)]),
            array_fill('conversationUpdated'::text, ARRAY[cardinality(p_convo)]),
            array_fill(',"type":"conversationUpdated"'::text, ARRAY[cardinality(p_convo)]));
    END IF;
END $$;

-- Leaps over all numbers that may have been given out by servers that are gone. Whatever they gave
-- out came before now, at less than a million events a second: the microseconds since 1970 are
-- above that, though this copy knows nothing of it. Where the clock is behind, a million is more
-- than a copy lacks. A conversation's messages have no more numbers than the stream has, and make
-- the leap with the first one that is given since.
CREATE FUNCTION leap_ahead() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.stream'));
    UPDATE stream_floor f SET seq = n.seq, leap = n.seq,
        emitted_at = greatest(f.emitted_at, (SELECT max(e.emitted_at) FROM event_stream e))
    FROM (SELECT greatest(
              (SELECT max(e.seq) FROM event_stream e) + 1000000,
              (SELECT f.seq FROM stream_floor f) + 1000000,
              (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) AS seq) n;
END $$;

-- Called on each new writing connection: whoever finds that the server was promoted makes the leap.
CREATE FUNCTION follow_timeline() RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM stream_floor WHERE timeline = timeline_here()) THEN
        RETURN;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.stream'));
    UPDATE stream_floor f SET timeline = timeline_here() WHERE f.timeline <> timeline_here();
    IF FOUND THEN
        PERFORM leap_ahead();
    END IF;
END $$;

-- Before events are dropped: what the stream goes on from, and which of its events a client can no
-- longer get.
CREATE FUNCTION raise_stream_floor(p_before timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_last record;
BEGIN
    SELECT e.seq, e.emitted_at INTO v_last FROM event_stream e WHERE e.emitted_at < p_before
        ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1;
    IF FOUND THEN
        UPDATE stream_floor f SET forgotten = greatest(f.forgotten, v_last.seq),
            seq = greatest(f.seq, v_last.seq),
            emitted_at = greatest(f.emitted_at, v_last.emitted_at);
    END IF;
END $$;
