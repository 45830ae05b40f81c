-- A logical replica can follow, such as a newer Postgres that is to take over.

-- The lock for this stops all who use the table, and whoever waits for it stops all who come later:
-- nobody shall wait for a backup that reads on. It is tried for a moment, and a second later again.
DO $$
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '50ms', true);
            -- There is no primary key, since a seat need not name its device. Where changes are
            -- published, a row that changes is known by all that it was: else Postgres would
            -- refuse to change it.
            ALTER TABLE members REPLICA IDENTITY FULL;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pg_sleep(1);
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', '0', true);
END $$;

-- It was kept for nodes of schema 31.
DROP FUNCTION forget_key_packages(interval, integer, integer);
