-- Blocks between members: what the AppView said, and the conflicts that follow.

-- A block between two members of a conversation, of which its admins were told.
CREATE TABLE block_conflicts (
    convo_id    text        NOT NULL REFERENCES conversations,
    blocker_did text        NOT NULL,
    blocked_did text        NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT coarse_now(),
    resolved_at timestamptz,
    PRIMARY KEY (convo_id, blocker_did, blocked_did)
);

-- Keeps what the AppView said of pairs: a block there is, or none.
CREATE FUNCTION record_blocks(p_blocker text[], p_blocked text[], p_uri text[], p_exists boolean[])
RETURNS void
LANGUAGE sql AS $$
    WITH said AS (
        SELECT * FROM unnest(p_blocker, p_blocked, p_uri, p_exists) AS s (blocker, blocked, uri, there)
    ), gone AS (
        DELETE FROM blocks b USING said s
        WHERE b.blocker_did = s.blocker AND b.blocked_did = s.blocked AND NOT s.there
    )
    INSERT INTO blocks (blocker_did, blocked_did, block_uri)
    SELECT s.blocker, s.blocked, s.uri FROM said s WHERE s.there ORDER BY s.blocker, s.blocked
    ON CONFLICT (blocker_did, blocked_did) DO UPDATE
        SET block_uri = excluded.block_uri, seen_at = excluded.seen_at
$$;

-- A block was made or lifted: the conversations that both are in, whether somebody
-- else is admin there, and when the admins were told. They are told once a conflict.
CREATE FUNCTION change_block(p_blocker text, p_blocked text, p_exists boolean)
RETURNS TABLE (convo_id text, has_other_admin boolean, told_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_shared text[];
    v_new    text[];
BEGIN
    SELECT array_agg(DISTINCT a.convo_id) INTO v_shared
        FROM members a JOIN members b USING (convo_id)
        WHERE a.user_did = p_blocker AND b.user_did = p_blocked
          AND a.left_seq IS NULL AND b.left_seq IS NULL;
    IF p_exists THEN
        WITH told AS (
            INSERT INTO block_conflicts AS c (convo_id, blocker_did, blocked_did)
            SELECT s.id, p_blocker, p_blocked FROM unnest(v_shared) AS s (id) ORDER BY s.id
            ON CONFLICT (convo_id, blocker_did, blocked_did) DO UPDATE
                SET seen_at = excluded.seen_at, resolved_at = NULL
                WHERE c.resolved_at IS NOT NULL
            RETURNING c.convo_id)
        SELECT array_agg(t.convo_id) INTO v_new FROM told t;
    ELSE
        UPDATE block_conflicts c SET resolved_at = coarse_now()
        WHERE c.blocker_did = p_blocker AND c.blocked_did = p_blocked AND c.resolved_at IS NULL;
    END IF;
    IF v_new IS NOT NULL THEN
        PERFORM emit_events(
            v_new, array_fill(NULL::text, ARRAY[cardinality(v_new)]),
            array_fill('conversationUpdated'::text, ARRAY[cardinality(v_new)]),
            array_fill(',"type":"conversationUpdated"'::text, ARRAY[cardinality(v_new)]));
    END IF;
    RETURN QUERY SELECT s.id,
        EXISTS (SELECT FROM members m WHERE m.convo_id = s.id AND m.left_seq IS NULL
                    AND m.is_admin AND m.user_did NOT IN (p_blocker, p_blocked)),
        (SELECT c.seen_at FROM block_conflicts c WHERE c.convo_id = s.id AND p_exists
             AND c.blocker_did = p_blocker AND c.blocked_did = p_blocked)
        FROM unnest(v_shared) AS s (id) ORDER BY s.id;
END $$;
