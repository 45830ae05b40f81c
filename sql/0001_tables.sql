-- The relay's tables. Rules that run through all of them:
--   * every stored time is floored to 2 s (coarse_now), so that no row times a sender;
--   * messages and event_stream are partitioned by day, so that forgetting a day is
--     dropping a table;
--   * identifiers are text exactly as the wire has them.

CREATE FUNCTION coarse_now() RETURNS timestamptz
LANGUAGE sql VOLATILE AS
$$ SELECT date_bin('2 seconds', clock_timestamp(), 'epoch') $$;

CREATE TABLE conversations (
    convo_id         text        NOT NULL PRIMARY KEY CHECK (
        -- Lower-case hex. A regular expression would cost each send 10 µs.
        length(convo_id) BETWEEN 2 AND 128 AND length(convo_id) % 2 = 0
        AND translate(convo_id, '0123456789abcdef', '') = ''),
    creator_did      text        NOT NULL,
    cipher_suite     smallint    NOT NULL,
    epoch            bigint      NOT NULL CHECK (epoch >= 0),
    -- The last message's number; the row's lock makes the numbers dense.
    last_seq         bigint      NOT NULL DEFAULT 0,
    last_message_at  timestamptz,
    name             text        CHECK (length(name) <= 128),
    description      text        CHECK (length(description) <= 512),
    group_info       bytea,
    group_info_epoch bigint,
    -- SHA-256 of the last commit's receipt, which the next one names.
    receipt_hash     bytea,
    created_at       timestamptz NOT NULL DEFAULT coarse_now()
) WITH (fillfactor = 70); -- room for in-page updates of last_seq

-- One row per device and stay. A person who comes back gets a new row.
CREATE TABLE members (
    convo_id           text        NOT NULL REFERENCES conversations,
    user_did           text        NOT NULL,
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
CREATE UNIQUE INDEX members_active ON members (convo_id, user_did, coalesce(device_id, ''))
    WHERE left_seq IS NULL;
CREATE INDEX members_of_user ON members (user_did, convo_id, joined_seq);

CREATE TABLE messages (
    convo_id      text        NOT NULL,
    seq           bigint      NOT NULL,
    msg_id        text        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('app', 'commit')),
    -- The epoch an application message is for; the epoch a commit leads to.
    epoch         bigint      NOT NULL,
    ciphertext    bytea       NOT NULL,
    declared_size integer     NOT NULL CHECK (declared_size = padded_size),
    padded_size   integer     NOT NULL CHECK (padded_size = octet_length(ciphertext)),
    received_at   timestamptz NOT NULL CHECK (received_at = date_bin('2 seconds', received_at, 'epoch')),
    sender_did    text        CHECK (sender_did IS NULL),
    -- The signed receipt of a commit.
    receipt       json        CHECK (receipt IS NULL OR kind = 'commit'),
    PRIMARY KEY (convo_id, seq, received_at),
    CHECK (kind = 'commit' OR padded_size IN (512, 1024, 2048, 4096)
           OR (padded_size > 0 AND padded_size % 8192 = 0))
) PARTITION BY RANGE (received_at);
-- Ciphertext does not compress: do not try.
ALTER TABLE messages ALTER COLUMN ciphertext SET STORAGE EXTERNAL;
CREATE INDEX messages_by_id ON messages (convo_id, msg_id);
CREATE INDEX commits_by_epoch ON messages (convo_id, epoch) WHERE kind = 'commit';

-- What members must hear of, in commit order. seq is dense; emitted_at never
-- falls as seq grows, so that (emitted_at, seq) sorts like seq.
CREATE TABLE event_stream (
    seq        bigint      NOT NULL,
    emitted_at timestamptz NOT NULL CHECK (emitted_at = date_bin('2 seconds', emitted_at, 'epoch')),
    convo_id   text,
    -- Set on events for one account's devices, which belong to no conversation.
    user_did   text,
    kind       text        NOT NULL,
    payload    json        NOT NULL,
    PRIMARY KEY (emitted_at, seq),
    CHECK ((convo_id IS NULL) <> (user_did IS NULL)),
    -- A message's envelope is its cursor, its conversation and its id: nothing else.
    CHECK (kind <> 'message' OR (
        payload::text LIKE '{"cursor":"__________________________","convoId":"' || convo_id
                           || '","messageId":"__________________________"}'
        AND length(payload::text) - length(replace(payload::text, ',', '')) = 2))
) PARTITION BY RANGE (emitted_at);
CREATE INDEX events_by_seq ON event_stream (seq);
CREATE INDEX events_of_convo ON event_stream (convo_id, seq) WHERE convo_id IS NOT NULL;
CREATE INDEX events_of_user ON event_stream (user_did, seq) WHERE user_did IS NOT NULL;

-- One row: what the stream goes on from when its last partition is gone, and on
-- which Postgres timeline its numbers were given.
CREATE TABLE stream_floor (
    only_row   boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (only_row),
    seq        bigint      NOT NULL DEFAULT 0,
    emitted_at timestamptz NOT NULL DEFAULT 'epoch',
    timeline   text        NOT NULL,
    -- Events up to this one have been forgotten.
    forgotten  bigint      NOT NULL DEFAULT 0
);
INSERT INTO stream_floor (timeline) VALUES (substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8));

CREATE TABLE devices (
    user_did      text        NOT NULL,
    device_id     text        NOT NULL,
    name          text        NOT NULL CHECK (length(name) BETWEEN 1 AND 128),
    signature_key bytea       NOT NULL UNIQUE,
    registered_at timestamptz NOT NULL DEFAULT coarse_now(),
    last_seen_at  timestamptz NOT NULL DEFAULT coarse_now(),
    PRIMARY KEY (user_did, device_id)
);

CREATE TABLE key_packages (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_did     text        NOT NULL,
    device_id    text,
    cipher_suite smallint    NOT NULL,
    key_package  bytea       NOT NULL,
    -- SHA-256 of the bytes, by which clients name a package.
    hash         bytea       NOT NULL UNIQUE,
    -- KeyPackageRef (RFC 9420 section 5.2), by which a Welcome names it.
    reference    bytea       NOT NULL UNIQUE,
    last_resort  boolean     NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT coarse_now(),
    expires_at   timestamptz NOT NULL,
    claimed_at   timestamptz,
    consumed_at  timestamptz
);
CREATE INDEX key_packages_open ON key_packages (user_did, cipher_suite, device_id, id)
    WHERE claimed_at IS NULL AND consumed_at IS NULL;

CREATE TABLE welcomes (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    convo_id     text        NOT NULL REFERENCES conversations,
    user_did     text        NOT NULL,
    device_id    text,
    welcome      bytea       NOT NULL,
    state        text        NOT NULL DEFAULT 'waiting'
                             CHECK (state IN ('waiting', 'fetched', 'confirmed')),
    created_at   timestamptz NOT NULL DEFAULT coarse_now(),
    confirmed_at timestamptz
);
CREATE INDEX welcomes_open ON welcomes (user_did, convo_id, id) WHERE state <> 'confirmed';

CREATE TABLE read_cursors (
    user_did   text        NOT NULL,
    convo_id   text        NOT NULL REFERENCES conversations,
    cursor     text        NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT coarse_now(),
    PRIMARY KEY (user_did, convo_id)
);

-- Hashes of (issuer, nonce) of tokens already used. Written with asynchronous
-- commit: a crash of Postgres forgets at most its last 0.6 s.
CREATE TABLE used_jti (
    key        bytea       NOT NULL PRIMARY KEY,
    expires_at timestamptz NOT NULL
);
CREATE INDEX used_jti_expiry ON used_jti (expires_at);

-- Keys that all nodes share, such as the one that signs tickets.
CREATE TABLE secrets (
    name  text  NOT NULL PRIMARY KEY,
    value bytea NOT NULL CHECK (octet_length(value) = 32)
);

-- Keys of TLS session tickets, by the second since 1970 at which they begin to encrypt.
-- Deleted two rotations after their own.
CREATE TABLE tls_ticket_keys (
    begins bigint NOT NULL PRIMARY KEY,
    value  bytea  NOT NULL CHECK (octet_length(value) = 32)
);

-- What an ACME directory gave to all nodes. Until turn_until nobody else orders.
CREATE TABLE acme (
    directory   text        NOT NULL PRIMARY KEY,
    account     text,
    certificate text,
    failures    integer     NOT NULL DEFAULT 0,
    turn_until  timestamptz NOT NULL
);

-- How to prove a domain to a directory that asks, whichever node it reaches.
CREATE TABLE acme_challenges (
    domain     text        NOT NULL PRIMARY KEY,
    digest     bytea       NOT NULL CHECK (octet_length(digest) = 32),
    expires_at timestamptz NOT NULL
);
