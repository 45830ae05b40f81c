-- Nobody comes in by the GroupInfo of another epoch than the current one, so no other is kept.
-- Outcomes: done, absent, stale (the conversation is not in this epoch).
CREATE OR REPLACE FUNCTION update_group_info(p_convo text, p_caller text, p_epoch bigint, p_info bytea)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_caller
                       AND m.left_seq IS NULL) THEN
        RETURN 'absent';
    END IF;
    UPDATE conversations c SET group_info = p_info, group_info_epoch = p_epoch
    WHERE c.convo_id = p_convo AND c.epoch = p_epoch;
    RETURN CASE WHEN FOUND THEN 'done' ELSE 'stale' END;
END $$;

-- As in 0008, but without a device it is about those that belong to none.
CREATE OR REPLACE FUNCTION sync_key_packages(p_user text, p_device text, p_hashes bytea[])
RETURNS TABLE (dropped bytea[], kept bytea[])
LANGUAGE plpgsql AS $$
DECLARE
    v_dropped bytea[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    WITH gone AS (
        DELETE FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
            AND k.consumed_at IS NULL AND k.claimed_at IS NULL AND NOT k.hash = ANY (p_hashes)
        RETURNING k.hash)
    SELECT coalesce(array_agg(g.hash), '{}') INTO v_dropped FROM gone g;
    RETURN QUERY SELECT v_dropped, coalesce(array_agg(k.hash ORDER BY k.id), '{}')
        FROM key_packages k
        WHERE k.user_did = p_user AND k.device_id IS NOT DISTINCT FROM p_device
            AND k.consumed_at IS NULL AND k.claimed_at IS NULL;
END $$;
