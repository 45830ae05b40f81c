-- The schema by topic, as a new database gets it. Rules that run through all of it:
--   * every stored time is floored to 2 s (coarse_now), so that no row times a sender;
--   * identifiers are text exactly as the wire has them;
--   * locks are taken in the one order of docs/architecture.md ("Who waits for whom");
--   * what is refused changes nothing;
--   * what is named forget_… is for retention: it deletes a bounded number of rows and says how
--     many, so that it can be called until nothing is left.

CREATE FUNCTION coarse_now() RETURNS timestamptz
LANGUAGE sql VOLATILE AS
$$ SELECT date_bin('2 seconds', clock_timestamp(), 'epoch') $$;

CREATE TABLE conversations (
    convo_id         text        NOT NULL PRIMARY KEY CHECK (
        -- Lower-case hex. A regular expression would cost each send 10 µs.
        length(convo_id) BETWEEN 2 AND 128 AND length(convo_id) % 2 = 0
        AND translate(convo_id, '0123456789abcdef', '') = ''),
    creator_did      text        NOT NULL,
    cipher_suite     smallint    NOT NULL,
    epoch            bigint      NOT NULL CHECK (epoch >= 0)
        -- One that JSON numbers cannot carry can be read by nobody.
        CONSTRAINT conversations_epoch_readable CHECK (epoch <= 9007199254740991),
    -- The last message's number; the row's lock makes the numbers dense.
    last_seq         bigint      NOT NULL DEFAULT 0,
    last_message_at  timestamptz,
    name             text        CHECK (length(name) <= 128),
    description      text        CHECK (length(description) <= 512),
    group_info       bytea,
    group_info_epoch bigint,
    -- SHA-256 of the last commit's receipt, which the next one names.
    receipt_hash     bytea,
    created_at       timestamptz NOT NULL DEFAULT coarse_now(),
    -- The leap of the stream that the numbers of its messages have made (leap_ahead).
    leap             bigint      NOT NULL DEFAULT 0
) WITH (fillfactor = 70); -- room for in-page updates of last_seq

-- Founds a conversation with its first members, on a device of the founder's.
-- Outcomes: unknown_device (not registered), exists (it was founded before, perhaps by the same
-- call; an id is given once, whatever has become of the conversation), and those of change_group,
-- which does the rest.
CREATE FUNCTION create_conversation(
    p_convo text, p_creator text, p_suite smallint, p_epoch bigint, p_name text,
    p_description text, p_add text[], p_references bytea[], p_welcome bytea,
    p_group_info bytea, p_members_max integer,
    p_device text DEFAULT NULL, p_devices_max integer DEFAULT 2147483647,
    p_waiting_max integer DEFAULT 2147483647,
    p_waiting_bytes_max bigint DEFAULT 9223372036854775807,
    p_convos_max integer DEFAULT 2147483647)
RETURNS TABLE (outcome text, epoch bigint, seq bigint, received_at timestamptz, whom text[])
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    v_change record;
BEGIN
    -- It is not deleted before it has its seat.
    PERFORM FROM devices d WHERE d.user_did = p_creator AND d.device_id = p_device FOR KEY SHARE;
    IF p_device IS NOT NULL AND NOT FOUND THEN
        RETURN QUERY SELECT 'unknown_device'::text, p_epoch, 0::bigint, coarse_now(), '{}'::text[];
        RETURN;
    END IF;
    INSERT INTO conversations (convo_id, creator_did, cipher_suite, epoch, name, description, leap)
    SELECT p_convo, p_creator, p_suite, p_epoch, p_name, p_description, f.leap
    FROM stream_floor f
    WHERE NOT EXISTS (SELECT FROM ended_conversations e WHERE e.convo_id = p_convo)
    ON CONFLICT (convo_id) DO NOTHING;
    IF NOT FOUND THEN
        RETURN QUERY SELECT 'exists'::text, p_epoch, 0::bigint, coarse_now(), '{}'::text[];
        RETURN;
    END IF;
    SELECT * INTO v_change FROM change_group(
        p_convo, p_creator, NULL, NULL, NULL, NULL, NULL, NULL, p_add, p_references, p_welcome,
        NULL, NULL, NULL, false, p_group_info, p_members_max, false, NULL, false,
        p_device, p_devices_max, p_waiting_max, p_waiting_bytes_max, p_convos_max);
    IF v_change.outcome <> 'done' THEN
        DELETE FROM conversations c WHERE c.convo_id = p_convo;
    END IF;
    RETURN QUERY SELECT v_change.outcome, v_change.epoch, v_change.seq, v_change.received_at,
        v_change.whom;
END $$;

-- Keeps a GroupInfo for later joiners. Nobody comes in by that of another epoch than the current
-- one, so no other is kept; and nobody leaves between the question and the answer, for what the
-- last one leaves is of no use.
-- Outcomes: done, absent, stale (the conversation is not in this epoch).
CREATE FUNCTION update_group_info(
    p_convo text, p_caller text, p_epoch bigint, p_info bytea)
RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    IF NOT EXISTS (SELECT FROM members m WHERE m.convo_id = p_convo AND m.user_did = p_caller
                       AND m.left_seq IS NULL) THEN
        RETURN 'absent';
    END IF;
    UPDATE conversations c SET group_info = p_info, group_info_epoch = p_epoch
    WHERE c.convo_id = p_convo AND c.epoch = p_epoch;
    RETURN CASE WHEN FOUND THEN 'done' ELSE 'stale' END;
END $$;
