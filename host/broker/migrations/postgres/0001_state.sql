-- Times are milliseconds since 1970. Names are SHA-256 hashes: their rows are small whatever the names are.

CREATE TABLE claims (
    scope       BYTEA  NOT NULL PRIMARY KEY, -- peer and idempotency key
    content     BYTEA  NOT NULL,
    owner       BYTEA  NOT NULL,             -- random, one for each claim
    lease_until BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    answer      BYTEA                        -- NULL while it is being made
);
CREATE INDEX claims_by_expiry ON claims (expires_at);

CREATE TABLE counts (
    subject BYTEA  NOT NULL, -- peer, key, or both
    span    BIGINT NOT NULL, -- width of the bucket
    bucket  BIGINT NOT NULL, -- its begin
    n       BIGINT NOT NULL,
    PRIMARY KEY (subject, span, bucket)
) WITH (fillfactor = 70);
CREATE INDEX counts_by_time ON counts (span, bucket);

CREATE TABLE budgets (
    name      BYTEA  NOT NULL PRIMARY KEY,
    tokens    BIGINT NOT NULL, -- millionths
    filled_at BIGINT NOT NULL,
    version   BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE leases (
    name   BYTEA  NOT NULL PRIMARY KEY,
    holder BYTEA  NOT NULL,
    token  BIGINT NOT NULL, -- grows with each hand-over
    until  BIGINT NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE journal_head (
    id       BIGINT NOT NULL PRIMARY KEY CHECK (id = 1),
    next     BIGINT NOT NULL,
    released BIGINT NOT NULL
) WITH (fillfactor = 50);
INSERT INTO journal_head (id, next, released) VALUES (1, 0, 0);

CREATE TABLE journal (
    place BIGINT NOT NULL PRIMARY KEY, -- index in the log
    entry BYTEA  NOT NULL
);
