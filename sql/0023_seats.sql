-- Welcomes that nobody has confirmed in this time go, wherever they lead.
CREATE FUNCTION forget_old_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state <> 'confirmed' AND w.created_at < now() - p_older LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;
