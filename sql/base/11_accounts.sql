-- Accounts: their consent, and their end.

CREATE TABLE opt_ins (
    user_did    text        NOT NULL PRIMARY KEY,
    opted_in_at timestamptz NOT NULL DEFAULT coarse_now()
);

-- Ends an account: all its devices with all that hangs on them, how far it has read, its consent,
-- and what was learned of its blocks. What conversations show stays with them: who founded them,
-- stays that are over, reports. Its seats end in bites, as in delete_device; after is NULL when
-- there is no more.
CREATE FUNCTION delete_account(
    p_user text, p_mark bytea, p_until timestamptz, p_bite integer, p_after text)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint, after text)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo    text[];
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
    v_seats    bigint;
    v_after    text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    v_convo := lock_seats(p_user, NULL, p_bite, p_after);
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.key_packages'), hashtext(p_user));
    PERFORM lock_packages(ARRAY(
        SELECT k.reference FROM key_packages k WHERE k.user_did = p_user));
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    v_welcomes := drop_welcomes(p_user, NULL, true);
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    PERFORM drop_blocks(p_user);
    PERFORM revoke_tickets(p_mark, p_until);
    v_seats := end_seats(p_user, NULL, v_convo);
    v_after := v_convo[p_bite];
    IF v_after IS NULL AND EXISTS (SELECT FROM seats_of(p_user, NULL)) THEN
        v_after := '';
    END IF;
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, v_seats, v_after;
END $$;

-- Events that were told of an account are made to tell of nobody. They are not deleted: numbers are
-- dense, and the last one is where the stream goes on. Each call looks at p_most events, from an
-- index of their topic, so that it is short however busy a conversation was.

-- News for the account's own devices; says how many there were.
CREATE FUNCTION blank_own_events(p_user text, p_most integer) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    -- Nobody's: names under .invalid are never given (RFC 2606).
    v_nobody CONSTANT text := 'did:web:gone.invalid';
    v_event  record;
    v_count  bigint := 0;
BEGIN
    FOR v_event IN SELECT e.emitted_at, e.seq FROM event_stream e
        WHERE e.user_did = p_user ORDER BY e.seq LIMIT p_most
    LOOP
        v_count := v_count + 1;
        UPDATE event_stream e SET user_did = v_nobody, kind = 'gone',
            payload = ('{"cursor":"' || (e.payload ->> 'cursor') || '","type":"gone","did":"'
                       || v_nobody || '"}')::json
        WHERE e.emitted_at = v_event.emitted_at AND e.seq = v_event.seq;
    END LOOP;
    RETURN v_count;
END $$;

-- What conversations were told of the account's devices: members hear of a change instead, and
-- look. Begins in conversation p_convo after event p_after, and in later ones after p_since; each
-- call looks at p_most events and conversations. Says where to go on; nothing when all has been
-- looked at.
CREATE FUNCTION blank_device_events(
    p_user text, p_since bigint, p_convo text, p_after bigint, p_most integer)
RETURNS TABLE (convo text, after bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_convo text;
    v_event record;
    v_count integer := 0;
    v_after bigint := p_after;
BEGIN
    FOR v_convo IN SELECT DISTINCT m.convo_id FROM members m
        WHERE m.user_did = p_user AND m.convo_id >= p_convo ORDER BY m.convo_id
    LOOP
        IF v_convo <> p_convo THEN
            v_after := p_since;
        END IF;
        FOR v_event IN SELECT e.emitted_at, e.seq, e.kind, e.payload FROM event_stream e
            WHERE e.convo_id = v_convo AND e.seq > v_after ORDER BY e.seq LIMIT p_most - v_count
        LOOP
            v_count := v_count + 1;
            v_after := v_event.seq;
            IF v_event.kind IN ('newDevice', 'readditionRequested')
               AND p_user IN (v_event.payload ->> 'did', v_event.payload ->> 'userDid') THEN
                UPDATE event_stream e SET kind = 'conversationUpdated',
                    payload = ('{"cursor":"' || (e.payload ->> 'cursor') || '","convoId":"'
                               || v_convo || '","type":"conversationUpdated"}')::json
                WHERE e.emitted_at = v_event.emitted_at AND e.seq = v_event.seq;
            END IF;
        END LOOP;
        v_count := v_count + 1;
        IF v_count >= p_most THEN
            RETURN QUERY SELECT v_convo, v_after;
            RETURN;
        END IF;
    END LOOP;
END $$;
