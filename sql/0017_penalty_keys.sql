-- Today's key and yesterday's, newest first; older ones go, so that old hashes can be
-- linked to nobody. The day is of the node's clock, and what is old is by Postgres': a node
-- whose clock is ahead would take the keys of all others. They go first, so that one whose
-- clock is behind has at least its own.
CREATE OR REPLACE FUNCTION penalty_keys_of(p_day bigint, p_fresh bytea) RETURNS SETOF bytea
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM penalty_keys WHERE day < floor(extract(epoch FROM now()) / 86400) - 1;
    DELETE FROM penalties WHERE changed_at < now() - interval '2 days';
    INSERT INTO penalty_keys (day, key) VALUES (p_day, p_fresh) ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT k.key FROM penalty_keys k WHERE k.day <= p_day ORDER BY k.day DESC;
END $$;
