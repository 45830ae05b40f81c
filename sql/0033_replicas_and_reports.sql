-- A logical replica can follow, such as a newer Postgres that is to take over. And reports have
-- bounds: so many of one reporter wait in a conversation, and what was dealt with goes.

-- The lock for this stops all who use the table, and whoever waits for it stops all who come later:
-- nobody shall wait for a backup that reads on. It is tried for a moment, and a second later again.
DO $$
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '50ms', true);
            -- There is no primary key, since a seat need not name its device. Where changes are
            -- published, a row that changes is known by all that it was: else Postgres would
            -- refuse to change it.
            ALTER TABLE members REPLICA IDENTITY FULL;
            -- For the indexes below. Whoever has it and wants the other waits no longer than this.
            LOCK TABLE reports IN SHARE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(1);
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', '0', true);
END $$;

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

-- It was kept for nodes of schema 31.
DROP FUNCTION forget_key_packages(interval, integer, integer);
