-- What a background task may forget. Each statement forgets a bounded number of
-- rows and says how many, so that it can be called until nothing is left.

CREATE INDEX welcomes_confirmed ON welcomes (confirmed_at) WHERE state = 'confirmed';
CREATE INDEX key_packages_consumed ON key_packages (consumed_at) WHERE consumed_at IS NOT NULL;
CREATE INDEX key_packages_expiry ON key_packages (expires_at);

CREATE FUNCTION forget_welcomes(p_older interval, p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM welcomes w WHERE w.ctid = ANY (ARRAY(
            SELECT w.ctid FROM welcomes w
            WHERE w.state = 'confirmed' AND w.confirmed_at < now() - p_older LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

CREATE FUNCTION forget_key_packages(p_consumed interval, p_per_device integer, p_most integer)
RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM key_packages k WHERE k.ctid = ANY (ARRAY(
            SELECT k.ctid FROM key_packages k WHERE k.expires_at < now() LIMIT p_most)
            || ARRAY(
            SELECT k.ctid FROM key_packages k
            WHERE k.consumed_at < now() - p_consumed LIMIT p_most)
            || ARRAY(
            -- Over the bound the oldest go first, a last-resort package never.
            SELECT o.ctid FROM (
                SELECT k.ctid, row_number() OVER (
                    PARTITION BY k.user_did, k.device_id ORDER BY k.id DESC) AS place
                FROM key_packages k
                WHERE k.claimed_at IS NULL AND k.consumed_at IS NULL AND NOT k.last_resort) o
            WHERE o.place > p_per_device LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

CREATE FUNCTION forget_jtis(p_most integer) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM used_jti j WHERE j.ctid = ANY (ARRAY(
            SELECT j.ctid FROM used_jti j WHERE j.expires_at < now() LIMIT p_most))
        RETURNING 1)
    SELECT count(*) FROM gone
$$;

-- Before events are dropped: what the stream goes on from, and which of its
-- events a client can no longer get.
CREATE FUNCTION raise_stream_floor(p_before timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_last record;
BEGIN
    SELECT e.seq, e.emitted_at INTO v_last FROM event_stream e WHERE e.emitted_at < p_before
        ORDER BY e.emitted_at DESC, e.seq DESC LIMIT 1;
    IF FOUND THEN
        UPDATE stream_floor f SET forgotten = greatest(f.forgotten, v_last.seq),
            seq = greatest(f.seq, v_last.seq),
            emitted_at = greatest(f.emitted_at, v_last.emitted_at);
    END IF;
END $$;
