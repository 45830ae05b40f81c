-- What all nodes need to have in common.

-- Keys, such as the one that signs tickets.
CREATE TABLE secrets (
    name  text  NOT NULL PRIMARY KEY,
    value bytea NOT NULL CHECK (octet_length(value) = 32)
);

-- Keys of TLS session tickets, by the second since 1970 at which they begin to encrypt. Deleted two
-- rotations after their own.
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
