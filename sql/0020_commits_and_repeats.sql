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
