-- Who is in which conversation, from when to when, and by whose will.

-- One row per device and stay; a stay that goes on is a seat. A person who comes back gets a new row.
CREATE TABLE members (
    convo_id           text        NOT NULL REFERENCES conversations,
    user_did           text        NOT NULL,
    -- NULL: a founder's that named none, or of a phone that never names one.
    device_id          text,
    is_admin           boolean     NOT NULL DEFAULT false,
    -- The stay, in the event stream: the first and the last event it covers.
    joined_seq         bigint      NOT NULL,
    left_seq           bigint,
    -- Messages up to this number are from before the stay.
    joined_message_seq bigint      NOT NULL,
    joined_at          timestamptz NOT NULL DEFAULT coarse_now(),
    left_at            timestamptz,
    -- An admin ended the stay: who was removed cannot ask to come back.
    removed            boolean     NOT NULL DEFAULT false,
    -- A device has lost its keys and asks to be added anew.
    rejoin_requested_at timestamptz,
    promoted_at        timestamptz,
    promoted_by        text
);
-- There is no primary key, since a seat need not name its device. Where changes are published, as to a
-- newer Postgres that is to take over, a row that changes is known by all that it was: else Postgres
-- would refuse to change it.
ALTER TABLE members REPLICA IDENTITY FULL;
CREATE UNIQUE INDEX members_active ON members (convo_id, user_did, coalesce(device_id, ''))
    WHERE left_seq IS NULL;
CREATE INDEX members_of_user ON members (user_did, convo_id, joined_seq);
-- Whoever ever was in a conversation.
CREATE INDEX members_ever ON members (convo_id);
-- The seats that an account has.
CREATE INDEX members_seated ON members (user_did, convo_id) WHERE left_seq IS NULL;
-- An account's seats, latest first.
CREATE INDEX members_joined ON members (user_did, joined_seq);
-- An account's stays are found by when they ended: those that ended before the stream begins are of
-- no use to a session, and an account may have any number of them.
CREATE INDEX members_stays ON members (user_did, left_seq);

-- How far an account has read.
CREATE TABLE read_cursors (
    user_did   text        NOT NULL,
    convo_id   text        NOT NULL REFERENCES conversations,
    cursor     text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT coarse_now(),
    PRIMARY KEY (user_did, convo_id)
);
CREATE INDEX read_cursors_of_convo ON read_cursors (convo_id);

-- Whose the founder's seat is that names no device: of all devices that were registered by then, the
-- only one that never had a seat of its own. NULL: it can be none, or several. Where the account had
-- an older seat, that was the founder's, and the one that names no device is that of a phone which
-- never names one.
CREATE FUNCTION founding_device(p_convo text, p_user text) RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN count(*) = 1 THEN min(d.device_id) END
    FROM conversations c
    JOIN devices d ON d.user_did = c.creator_did AND d.registered_at <= c.created_at
    WHERE c.convo_id = p_convo AND c.creator_did = p_user
      AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = p_convo AND o.user_did = p_user
                          AND o.device_id = d.device_id)
      AND NOT EXISTS (SELECT FROM members o JOIN members n USING (convo_id, user_did)
                      WHERE o.convo_id = p_convo AND o.user_did = p_user
                        AND n.device_id IS NULL AND n.left_seq IS NULL
                        AND o.joined_seq < n.joined_seq)
$$;

-- The seats of one device, or of all devices of the account (p_device NULL). Who did not found a
-- conversation has no founder's seat in it.
CREATE FUNCTION seats_of(p_user text, p_device text)
RETURNS TABLE (place tid, convo_id text, is_admin boolean)
LANGUAGE sql STABLE AS $$
    SELECT m.ctid, m.convo_id, m.is_admin FROM members m
    WHERE m.user_did = p_user AND m.left_seq IS NULL
      AND CASE WHEN p_device IS NULL THEN true
               WHEN m.device_id IS NULL THEN
                   EXISTS (SELECT FROM conversations c
                           WHERE c.convo_id = m.convo_id AND c.creator_did = p_user)
                   AND founding_device(m.convo_id, p_user) = p_device
               ELSE m.device_id = p_device END
$$;

-- A seat without a name is this device's, and so are the Welcomes that wait for it: they go with it.
CREATE FUNCTION name_seats(p_user text, p_device text, p_convo text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE members m SET device_id = p_device
    WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.convo_id = ANY (p_convo)
      AND m.device_id IS NULL;
    UPDATE welcomes w SET device_id = p_device WHERE w.id = ANY (ARRAY(
        SELECT w.id FROM welcomes w
        WHERE w.user_did = p_user AND w.convo_id = ANY (p_convo) AND w.device_id IS NULL
          AND w.state <> 'confirmed'
        ORDER BY w.id FOR UPDATE));
END $$;

-- Locks the conversations of one device, or of all devices of the account: the first p_most after
-- p_after, in the order of their ids, and its seats in them: whoever says meanwhile how far it has
-- read has done so, or is out. Says which.
CREATE FUNCTION lock_seats(
    p_user text, p_device text, p_most integer, p_after text DEFAULT '')
RETURNS text[]
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text[] := ARRAY(
        SELECT DISTINCT s.convo_id FROM seats_of(p_user, p_device) s WHERE s.convo_id > p_after
        ORDER BY s.convo_id LIMIT p_most);
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = ANY (v_convo)
        ORDER BY c.convo_id FOR NO KEY UPDATE;
    PERFORM FROM members m WHERE m.user_did = p_user AND m.convo_id = ANY (v_convo)
        AND m.left_seq IS NULL FOR NO KEY UPDATE;
    RETURN v_convo;
END $$;

-- Ends the seats of one device, or of all devices of the account (p_device NULL), in these
-- conversations, which must be locked (see lock_seats), and tells them; says in how many there was
-- one. Where the account has no seat left, how far it has read goes, and if it was the last admin, its
-- role passes on. With its last seat a conversation is over.
CREATE FUNCTION end_seats(p_user text, p_device text, p_convo text[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text[];
    v_last  boolean[];
    v_led   text[]; -- whose admin goes
    v_base  bigint;
BEGIN
    SELECT array_agg(s.convo_id ORDER BY s.convo_id), array_agg(s.last ORDER BY s.convo_id)
        INTO v_convo, v_last
        FROM (SELECT m.convo_id, p_device IS NULL OR NOT EXISTS (
                  SELECT FROM members o WHERE o.convo_id = m.convo_id AND o.user_did = p_user
                      AND o.left_seq IS NULL AND o.device_id IS DISTINCT FROM p_device) AS last
              FROM members m WHERE m.user_did = p_user AND m.left_seq IS NULL
                  AND m.convo_id = ANY (p_convo) AND (p_device IS NULL OR m.device_id = p_device)
              GROUP BY m.convo_id) s;
    IF v_convo IS NULL THEN
        RETURN 0;
    END IF;
    v_led := pass_on_role(p_user, ARRAY(
        SELECT l.convo FROM unnest(v_convo, v_last) AS l (convo, last) WHERE l.last));
    DELETE FROM read_cursors r USING unnest(v_convo, v_last) AS l (convo, last)
        WHERE r.user_did = p_user AND r.convo_id = l.convo AND l.last;
    v_base := emit_events(
        v_convo, array_fill(NULL::text, ARRAY[cardinality(v_convo)]),
        ARRAY(SELECT CASE WHEN l.last THEN 'membershipChange' ELSE 'conversationUpdated' END
              FROM unnest(v_last) WITH ORDINALITY AS l (last, ord) ORDER BY l.ord),
        ARRAY(SELECT CASE WHEN l.last THEN membership_detail(p_user, 'left', c.epoch)
                          ELSE ',"type":"conversationUpdated"' END
              FROM unnest(v_convo, v_last) WITH ORDINALITY AS l (convo, last, ord)
              JOIN conversations c ON c.convo_id = l.convo ORDER BY l.ord));
    UPDATE members m SET left_seq = v_base + l.ord, left_at = coarse_now()
    FROM unnest(v_convo) WITH ORDINALITY AS l (convo, ord)
    WHERE m.convo_id = l.convo AND m.user_did = p_user AND m.left_seq IS NULL
      AND (p_device IS NULL OR m.device_id = p_device);
    PERFORM tell_updated(v_led);
    PERFORM end_conversations(v_convo);
    RETURN cardinality(v_convo);
END $$;

-- Gives or takes the role of admin, on all devices of the account.
-- Outcomes: done, absent, not_admin, target_absent, unchanged, last_admin.
CREATE FUNCTION set_admin(p_convo text, p_caller text, p_target text, p_admin boolean)
RETURNS text
LANGUAGE plpgsql AS $$
DECLARE
    v_role boolean;
BEGIN
    PERFORM FROM conversations c WHERE c.convo_id = p_convo FOR NO KEY UPDATE;
    SELECT bool_or(m.is_admin) INTO v_role FROM members m
        WHERE m.convo_id = p_convo AND m.user_did = p_caller AND m.left_seq IS NULL;
    IF v_role IS NULL THEN
        RETURN 'absent';
    ELSIF NOT v_role AND (p_admin OR p_caller <> p_target) THEN
        RETURN 'not_admin';
    END IF;
    SELECT bool_or(m.is_admin) INTO v_role FROM members m
        WHERE m.convo_id = p_convo AND m.user_did = p_target AND m.left_seq IS NULL;
    IF v_role IS NULL THEN
        RETURN 'target_absent';
    ELSIF v_role = p_admin THEN
        RETURN 'unchanged';
    ELSIF NOT p_admin AND NOT EXISTS (
        SELECT FROM members m WHERE m.convo_id = p_convo AND m.left_seq IS NULL
            AND m.is_admin AND m.user_did <> p_target) THEN
        RETURN 'last_admin';
    END IF;
    UPDATE members m SET is_admin = p_admin,
        promoted_at = CASE WHEN p_admin THEN coarse_now() ELSE m.promoted_at END,
        promoted_by = CASE WHEN p_admin THEN p_caller ELSE m.promoted_by END
    WHERE m.convo_id = p_convo AND m.user_did = p_target AND m.left_seq IS NULL;
    PERFORM emit_events(ARRAY[p_convo], ARRAY[NULL::text], ARRAY['conversationUpdated'],
                        ARRAY[',"type":"conversationUpdated"']);
    RETURN 'done';
END $$;

-- Of an account that goes whatever it is: where no other admin stays, whoever of those who stay has
-- been in longest becomes one, whom nobody promoted, since nobody could make one any more. Says
-- where.
CREATE FUNCTION pass_on_role(p_user text, p_convo text[]) RETURNS text[]
LANGUAGE sql AS $$
    WITH orphan AS MATERIALIZED (
        SELECT DISTINCT m.convo_id FROM members m
        WHERE m.user_did = p_user AND m.left_seq IS NULL AND m.is_admin
          AND m.convo_id = ANY (p_convo)
          AND NOT EXISTS (SELECT FROM members o WHERE o.convo_id = m.convo_id
                              AND o.left_seq IS NULL AND o.is_admin AND o.user_did <> p_user)
    ), heir AS MATERIALIZED (
        SELECT h.* FROM orphan c CROSS JOIN LATERAL (
            SELECT m.convo_id, m.user_did FROM members m
            WHERE m.convo_id = c.convo_id AND m.left_seq IS NULL AND m.user_did <> p_user
            ORDER BY m.joined_seq, m.user_did LIMIT 1) h
    ), promoted AS (
        UPDATE members m SET is_admin = true, promoted_at = coarse_now(), promoted_by = NULL
        FROM heir h
        WHERE m.convo_id = h.convo_id AND m.user_did = h.user_did AND m.left_seq IS NULL
        RETURNING m.convo_id)
    SELECT coalesce(array_agg(DISTINCT p.convo_id), '{}') FROM promoted p
$$;
