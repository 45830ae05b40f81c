-- What members report to their admins, and who blocks whom.

CREATE TABLE reports (
    report_id         text        NOT NULL PRIMARY KEY,
    convo_id          text        NOT NULL REFERENCES conversations,
    reporter_did      text        NOT NULL,
    reported_did      text        NOT NULL,
    category          text        NOT NULL,
    -- Ciphertext for the conversation's admins: opaque here.
    encrypted_content bytea       NOT NULL CHECK (octet_length(encrypted_content) <= 51200),
    message_ids       text[]      NOT NULL CHECK (cardinality(message_ids) <= 20),
    status            text        NOT NULL DEFAULT 'pending'
                                  CHECK (status IN ('pending', 'resolved', 'dismissed')),
    created_at        timestamptz NOT NULL DEFAULT coarse_now(),
    resolved_by       text,
    resolved_at       timestamptz,
    resolution        text        CHECK (resolution IN ('removed_member', 'dismissed', 'no_action')),
    notes             text        CHECK (length(notes) <= 1000)
);
-- As a page of reports is read.
CREATE INDEX reports_of_convo ON reports (convo_id, created_at DESC, report_id DESC);
-- What one reporter has waiting in a conversation.
CREATE INDEX reports_open ON reports (convo_id, reporter_did) WHERE status = 'pending';
CREATE INDEX reports_resolved ON reports (resolved_at) WHERE resolved_at IS NOT NULL;

-- Keeps a report of a member on another, unless it is there already, and says since when.
-- Outcomes: done, absent (the reporter), target_absent, too_many (of this reporter's, in this
-- conversation, so many wait for an admin).
CREATE FUNCTION add_report(
    p_report text, p_convo text, p_reporter text, p_reported text, p_category text,
    p_content bytea, p_messages text[], p_open_max integer)
RETURNS TABLE (outcome text, created_at timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
    -- One report of an account at a time, so that the bound holds.
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.reports'), hashtext(p_reporter));
    outcome := CASE
        WHEN NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo
                             AND m.user_did = p_reporter AND m.left_seq IS NULL) THEN 'absent'
        WHEN NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo
                             AND m.user_did = p_reported AND m.left_seq IS NULL) THEN 'target_absent'
        WHEN (SELECT count(*) FROM reports r WHERE r.convo_id = p_convo
                  AND r.reporter_did = p_reporter AND r.status = 'pending') >= p_open_max
             AND NOT EXISTS (SELECT FROM reports r WHERE r.report_id = p_report) THEN 'too_many'
        ELSE 'done' END;
    IF outcome = 'done' THEN
        INSERT INTO reports AS r (report_id, convo_id, reporter_did, reported_did, category,
                                  encrypted_content, message_ids)
        VALUES (p_report, p_convo, p_reporter, p_reported, p_category, p_content, p_messages)
        ON CONFLICT (report_id) DO UPDATE SET report_id = excluded.report_id
        RETURNING r.created_at INTO created_at;
    END IF;
    RETURN NEXT;
END $$;

-- Reports that were dealt with so long ago. Waits for nobody: what somebody holds is forgotten the
-- next time.
CREATE FUNCTION forget_reports(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM reports r WHERE r.ctid = ANY (ARRAY(
            SELECT r.ctid FROM reports r WHERE r.resolved_at < now() - p_older
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- What the AppView said of blocks between two accounts, and when.
CREATE TABLE blocks (
    blocker_did text        NOT NULL,
    blocked_did text        NOT NULL,
    block_uri   text,
    seen_at     timestamptz NOT NULL DEFAULT coarse_now(),
    PRIMARY KEY (blocker_did, blocked_did)
);
CREATE INDEX blocks_of_blocked ON blocks (blocked_did);

-- A block between two members of a conversation, of which its admins were told.
CREATE TABLE block_conflicts (
    convo_id    text        NOT NULL REFERENCES conversations,
    blocker_did text        NOT NULL,
    blocked_did text        NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT coarse_now(),
    resolved_at timestamptz,
    PRIMARY KEY (convo_id, blocker_did, blocked_did)
);
-- Conflicts are found by the two accounts, and by either.
CREATE INDEX block_conflicts_of_pair ON block_conflicts (blocker_did, blocked_did);
CREATE INDEX block_conflicts_of_blocked ON block_conflicts (blocked_did);

-- Keeps what the AppView said of pairs: a block there is, or none. It takes one pair after the
-- other: of what is deleted and what is kept at once nobody would know the order.
CREATE FUNCTION record_blocks(
    p_blocker text[], p_blocked text[], p_uri text[], p_exists boolean[])
RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_said record;
BEGIN
    FOR v_said IN
        SELECT s.* FROM unnest(p_blocker, p_blocked, p_uri, p_exists) AS s (blocker, blocked, uri, there)
        WHERE s.there OR EXISTS (SELECT FROM blocks b WHERE b.blocker_did = s.blocker
                                     AND b.blocked_did = s.blocked)
        ORDER BY s.blocker, s.blocked
    LOOP
        IF v_said.there THEN
            INSERT INTO blocks (blocker_did, blocked_did, block_uri)
            VALUES (v_said.blocker, v_said.blocked, v_said.uri)
            ON CONFLICT (blocker_did, blocked_did) DO UPDATE
                SET block_uri = excluded.block_uri, seen_at = excluded.seen_at;
        ELSE
            DELETE FROM blocks b
            WHERE b.blocker_did = v_said.blocker AND b.blocked_did = v_said.blocked;
        END IF;
    END LOOP;
END $$;

-- A block was made or lifted: the first p_most conversations after p_after that both are in, whether
-- somebody else is admin there, and when the admins were told. They are told once a conflict, last
-- and in bites: everybody's sends wait for the events of one transaction.
CREATE FUNCTION change_block(
    p_blocker text, p_blocked text, p_exists boolean, p_after text DEFAULT '',
    p_most integer DEFAULT 2147483647)
RETURNS TABLE (convo_id text, has_other_admin boolean, told_at timestamptz)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_shared text[] := ARRAY(
        SELECT DISTINCT a.convo_id FROM members a JOIN members b USING (convo_id)
        WHERE a.user_did = p_blocker AND b.user_did = p_blocked
          AND a.left_seq IS NULL AND b.left_seq IS NULL AND a.convo_id > p_after
        ORDER BY a.convo_id LIMIT p_most);
    v_new    text[];
BEGIN
    IF p_exists THEN
        WITH told AS (
            INSERT INTO block_conflicts AS c (convo_id, blocker_did, blocked_did)
            SELECT s.id, p_blocker, p_blocked FROM unnest(v_shared) AS s (id) ORDER BY s.id
            ON CONFLICT (convo_id, blocker_did, blocked_did) DO UPDATE
                SET seen_at = excluded.seen_at, resolved_at = NULL
                WHERE c.resolved_at IS NOT NULL
            RETURNING c.convo_id)
        SELECT array_agg(t.convo_id) INTO v_new FROM told t;
    ELSIF p_after = '' THEN
        -- Also where the two are no longer together.
        UPDATE block_conflicts c SET resolved_at = coarse_now()
        WHERE c.ctid = ANY (ARRAY(
            SELECT o.ctid FROM block_conflicts o
            WHERE o.blocker_did = p_blocker AND o.blocked_did = p_blocked
              AND o.resolved_at IS NULL
            ORDER BY o.convo_id FOR UPDATE));
    END IF;
    -- A pair may have a conflict in each of very many conversations, and a conversation has few.
    RETURN QUERY SELECT s.id,
        EXISTS (SELECT FROM members m WHERE m.convo_id = s.id AND m.left_seq IS NULL
                    AND m.is_admin AND m.user_did NOT IN (p_blocker, p_blocked)),
        (SELECT c.seen_at
         FROM (SELECT * FROM block_conflicts b WHERE b.convo_id = s.id AND p_exists OFFSET 0) c
         WHERE c.blocker_did = p_blocker AND c.blocked_did = p_blocked)
        FROM unnest(v_shared) AS s (id) ORDER BY s.id;
    PERFORM tell_updated(v_new);
END $$;

-- Deletes what was learned of an account's blocks, and what conversations remember of them.
CREATE FUNCTION drop_blocks(p_user text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_mine tid[];
BEGIN
    v_mine := ARRAY(
        SELECT b.ctid FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did)
        ORDER BY b.blocker_did, b.blocked_did FOR UPDATE);
    DELETE FROM blocks b WHERE b.ctid = ANY (v_mine);
    v_mine := ARRAY(
        SELECT c.ctid FROM block_conflicts c WHERE p_user IN (c.blocker_did, c.blocked_did)
        ORDER BY c.convo_id, c.blocker_did, c.blocked_did FOR UPDATE);
    DELETE FROM block_conflicts c WHERE c.ctid = ANY (v_mine);
END $$;
