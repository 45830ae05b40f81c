-- Conversations that are over: all have left, and nobody comes back.

-- Conversations that nobody is in any more, and so nobody ever will be. They are forgotten some time
-- after that, but for their ids: what clients remember by an id is never taken for something else.
CREATE TABLE ended_conversations (
    convo_id text PRIMARY KEY,
    ended_at timestamptz DEFAULT coarse_now() -- nothing: it is forgotten
);

CREATE INDEX conversations_to_forget ON ended_conversations (ended_at) WHERE ended_at IS NOT NULL;

-- Of these conversations, those that nobody is in any more: their GroupInfo, by which nobody comes
-- back, goes at once.
CREATE FUNCTION end_conversations(p_convo text[]) RETURNS void
LANGUAGE sql AS $$
    WITH ended AS (
        UPDATE conversations c SET group_info = NULL, group_info_epoch = NULL
        WHERE c.convo_id = ANY (p_convo)
          AND NOT EXISTS (SELECT FROM members m
                          WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL)
        RETURNING c.convo_id)
    INSERT INTO ended_conversations (convo_id) SELECT e.convo_id FROM ended e
    ON CONFLICT (convo_id) DO NOTHING
$$;

-- Forgets conversations that ended longer ago than p_older, when no message and no event is left of
-- them: at most p_most, and at most so many rows of each kind that hang on them. Says how many rows
-- there were.
CREATE FUNCTION forget_conversations(p_older interval, p_most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_due   text[];
    v_table text;
    v_count bigint;
    v_gone  bigint := 0;
BEGIN
    v_due := ARRAY(
        SELECT c.convo_id FROM ended_conversations e JOIN conversations c USING (convo_id)
        WHERE e.ended_at < now() - p_older
          AND NOT EXISTS (SELECT FROM messages m WHERE m.convo_id = e.convo_id OFFSET 0)
          AND NOT EXISTS (SELECT FROM event_stream s WHERE s.convo_id = e.convo_id OFFSET 0)
        ORDER BY e.ended_at LIMIT p_most FOR UPDATE OF c SKIP LOCKED);
    -- Stays go last: whoever founded a conversation that has none would found it anew.
    FOREACH v_table IN ARRAY ARRAY[
        'welcomes', 'read_cursors', 'block_conflicts', 'reports', 'members']
    LOOP
        EXECUTE format(
            'DELETE FROM %1$I t WHERE t.ctid = ANY (ARRAY(
                 SELECT h.ctid FROM unnest($1) AS d (id) CROSS JOIN LATERAL (
                     SELECT t.ctid FROM %1$I t WHERE t.convo_id = d.id FOR UPDATE SKIP LOCKED) h
                 LIMIT $2))', v_table) USING v_due, p_most;
        GET DIAGNOSTICS v_count = ROW_COUNT;
        v_gone := v_gone + v_count;
        EXECUTE format(
            'SELECT ARRAY(SELECT d.id FROM unnest($1) AS d (id)
                 WHERE NOT EXISTS (SELECT FROM %I t WHERE t.convo_id = d.id OFFSET 0))', v_table)
            INTO v_due USING v_due;
    END LOOP;
    DELETE FROM conversations c WHERE c.convo_id = ANY (v_due);
    UPDATE ended_conversations e SET ended_at = NULL WHERE e.convo_id = ANY (v_due);
    RETURN v_gone + cardinality(v_due);
END $$;
