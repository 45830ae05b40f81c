-- What calls under way when 0023 commits still need. Nodes of the version before serve meanwhile:
-- a call that has begun goes on in the function as it was, which finds those that it calls by
-- name, and 0023 gave these three other arguments. So this is done in the transaction of 0023
-- already (src/store/migrate.rs), and here for whoever has 0023. The version after may drop them.

CREATE OR REPLACE FUNCTION group_verdict(
    p_convo conversations, p_founding boolean, p_caller text, p_epoch bigint, p_commit bytea,
    p_add text[], p_references bytea[], p_remove text, p_remove_device text,
    p_admin_only boolean, p_members_max integer, p_rejoin boolean, p_rejoin_device text)
RETURNS text
LANGUAGE sql STABLE AS $$
    SELECT group_verdict(p_convo, p_founding, p_caller, p_epoch, p_commit, p_add, p_references,
                         p_remove, p_remove_device, p_admin_only, p_members_max, p_rejoin,
                         p_rejoin_device, 2147483647, 0, 2147483647, 9223372036854775807)
$$;

CREATE OR REPLACE FUNCTION lock_seats(p_user text, p_device text) RETURNS void
LANGUAGE sql AS $$
    SELECT lock_seats(p_user, p_device, 2147483647)
$$;

CREATE OR REPLACE FUNCTION end_seats(p_user text, p_device text) RETURNS bigint
LANGUAGE sql AS $$
    SELECT end_seats(p_user, p_device, ARRAY(
        SELECT DISTINCT m.convo_id FROM members m
        WHERE m.user_did = p_user AND m.left_seq IS NULL
          AND (p_device IS NULL OR m.device_id = p_device)))
$$;
