-- Welcomes: what a device that was added needs to come in.

CREATE TABLE welcomes (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    convo_id     text        NOT NULL REFERENCES conversations,
    user_did     text        NOT NULL,
    device_id    text,
    welcome      bytea       NOT NULL,
    state        text        NOT NULL DEFAULT 'waiting'
                             CHECK (state IN ('waiting', 'fetched', 'confirmed')),
    created_at   timestamptz NOT NULL DEFAULT coarse_now(),
    confirmed_at timestamptz,
    -- To which epoch it leads. NULL: it is from before that was kept.
    epoch        bigint
);
CREATE INDEX welcomes_open ON welcomes (user_did, convo_id, id) WHERE state <> 'confirmed';
CREATE INDEX welcomes_of_convo ON welcomes (convo_id);
CREATE INDEX welcomes_of_device ON welcomes (user_did, device_id);
CREATE INDEX welcomes_confirmed ON welcomes (confirmed_at) WHERE state = 'confirmed';
CREATE INDEX welcomes_unconfirmed ON welcomes (created_at) WHERE state <> 'confirmed';

-- Deletes the Welcomes of a device, or of all devices of the account; says how many there were.
CREATE FUNCTION drop_welcomes(p_user text, p_device text, p_all boolean DEFAULT false)
RETURNS bigint
LANGUAGE sql AS $$
    WITH mine AS (
        SELECT w.id FROM welcomes w
        WHERE w.user_did = p_user AND (p_all OR w.device_id = p_device)
        ORDER BY w.id FOR UPDATE
    ), gone AS (
        DELETE FROM welcomes w USING mine m WHERE w.id = m.id RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- What follows waits for nobody: rows that somebody holds are forgotten the next time.

-- Those that their devices have confirmed.
CREATE FUNCTION forget_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state = 'confirmed' AND w.confirmed_at < now() - p_older
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Those that nobody has confirmed, and that are of no use any more: as long as the first commit
-- after its epoch is kept, or is still to come, a Welcome's device can go on from there. From the
-- oldest on: one that is young, or confirmed, is not looked at.
CREATE FUNCTION forget_unconfirmed_welcomes(p_older interval, p_most integer)
RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older
              AND EXISTS (SELECT FROM conversations c
                          WHERE c.convo_id = w.convo_id AND c.epoch > w.epoch OFFSET 0)
              AND NOT EXISTS (SELECT FROM messages m
                              WHERE m.convo_id = w.convo_id AND m.kind = 'commit'
                                AND m.epoch = w.epoch + 1 OFFSET 0)
            ORDER BY w.created_at LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Those that nobody has confirmed in this time, wherever they lead.
CREATE FUNCTION forget_old_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older
            LIMIT p_most FOR UPDATE SKIP LOCKED))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
