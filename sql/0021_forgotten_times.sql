-- The end of an ACME challenge is coarse, as all other stored times are; the query has it.
UPDATE acme_challenges SET expires_at = date_bin('2 seconds', expires_at, 'epoch');

-- Conflicts are found by the two accounts, and by either.
CREATE INDEX block_conflicts_of_pair ON block_conflicts (blocker_did, blocked_did);
CREATE INDEX block_conflicts_of_blocked ON block_conflicts (blocked_did);

-- As before, and what conversations remember of the account's blocks goes with them.
CREATE OR REPLACE FUNCTION delete_account(p_user text, p_mark bytea, p_until timestamptz)
RETURNS TABLE (devices bigint, packages bigint, welcomes bigint, seats bigint)
LANGUAGE plpgsql AS $$
DECLARE
    v_devices  bigint;
    v_packages bigint;
    v_welcomes bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.devices'), hashtext(p_user));
    PERFORM lock_seats(p_user, NULL);
    DELETE FROM devices d WHERE d.user_did = p_user;
    GET DIAGNOSTICS v_devices = ROW_COUNT;
    DELETE FROM key_packages k WHERE k.user_did = p_user;
    GET DIAGNOSTICS v_packages = ROW_COUNT;
    DELETE FROM welcomes w WHERE w.user_did = p_user;
    GET DIAGNOSTICS v_welcomes = ROW_COUNT;
    DELETE FROM read_cursors r WHERE r.user_did = p_user;
    DELETE FROM opt_ins o WHERE o.user_did = p_user;
    DELETE FROM blocks b WHERE p_user IN (b.blocker_did, b.blocked_did);
    DELETE FROM block_conflicts c WHERE p_user IN (c.blocker_did, c.blocked_did);
    PERFORM revoke_tickets(p_mark, p_until);
    RETURN QUERY SELECT v_devices, v_packages, v_welcomes, end_seats(p_user, NULL);
END $$;
