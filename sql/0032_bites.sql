-- What retention and reports look for is found in bites and by an index, however much there is.

-- Who said to a node of schema 30 how far it had read just when its stay ended has left it behind.
DELETE FROM read_cursors r WHERE r.ctid = ANY (ARRAY(
    SELECT r.ctid FROM read_cursors r WHERE NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = r.convo_id AND m.user_did = r.user_did
            AND m.left_seq IS NULL)
    FOR UPDATE SKIP LOCKED));

-- As a page of reports is read.
DROP INDEX reports_of_convo;
CREATE INDEX reports_of_convo ON reports (convo_id, created_at DESC, report_id DESC);

-- Nobody looks for a package by the hash of its bytes, and its reference keeps it from coming twice.
ALTER TABLE key_packages DROP CONSTRAINT key_packages_hash_key;

-- Expired packages, and those that were used longer ago than p_consumed. The function of three
-- parameters, which also counts all that are open, is kept for nodes of schema 31.
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
