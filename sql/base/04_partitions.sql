-- Daily partitions of messages and event_stream, made ahead of need, so that forgetting a day is
-- dropping a table.

-- Makes the partition of one day, attached under a lock that lets sends go on
-- (ATTACH takes SHARE UPDATE EXCLUSIVE; CREATE … PARTITION OF would stop them). Where it begins must
-- not depend on whose session makes it: a transaction pooler hands on sessions that have lost their
-- settings, and Postgres takes the short name of some zones for that of another.
CREATE FUNCTION ensure_partition(p_parent text, p_day date) RETURNS void
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    v_child text := p_parent || '_' || to_char(p_day, 'YYYYMMDD');
    v_since timestamptz := p_day::timestamp AT TIME ZONE 'UTC';
    v_until timestamptz := (p_day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(v_child) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', v_child, p_parent);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   p_parent, v_child, v_since, v_until);
END $$;

-- Makes the partitions from yesterday (a clock may step back) to some days ahead.
CREATE FUNCTION ensure_partitions(p_days_ahead integer) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    v_today  date := (clock_timestamp() AT TIME ZONE 'UTC')::date;
    v_latest date;
    v_parent text;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('mls-relay.partitions'));
    -- The stream's time never falls, so it may be ahead of this clock.
    SELECT greatest(v_today, (coalesce(max(emitted_at), 'epoch') AT TIME ZONE 'UTC')::date)
        INTO v_latest FROM event_stream;
    FOREACH v_parent IN ARRAY ARRAY['messages', 'event_stream'] LOOP
        FOR i IN -1 .. (v_latest - v_today) + p_days_ahead LOOP
            PERFORM ensure_partition(v_parent, v_today + i);
        END LOOP;
    END LOOP;
END $$;

SELECT ensure_partitions(3);
