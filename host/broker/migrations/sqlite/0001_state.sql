-- Times are milliseconds since 1970. Names are SHA-256 hashes: their rows are small whatever the names are.

CREATE TABLE claims (
    scope       BLOB    NOT NULL PRIMARY KEY, -- peer and idempotency key
    content     BLOB    NOT NULL,
    owner       BLOB    NOT NULL,             -- random, one for each claim
    lease_until INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    answer      BLOB                          -- NULL while it is being made
) STRICT;
CREATE INDEX claims_by_expiry ON claims (expires_at);

CREATE TABLE counts (
    subject BLOB    NOT NULL, -- peer, key, or both
    span    INTEGER NOT NULL, -- width of the bucket
    bucket  INTEGER NOT NULL, -- its begin
    n       INTEGER NOT NULL,
    PRIMARY KEY (subject, span, bucket)
) STRICT, WITHOUT ROWID;
CREATE INDEX counts_by_time ON counts (span, bucket);

CREATE TABLE budgets (
    name      BLOB    NOT NULL PRIMARY KEY,
    tokens    INTEGER NOT NULL, -- millionths
    filled_at INTEGER NOT NULL,
    version   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    name   BLOB    NOT NULL PRIMARY KEY,
    holder BLOB    NOT NULL,
    token  INTEGER NOT NULL, -- grows with each hand-over
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE journal_head (
    id       INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    next     INTEGER NOT NULL,
    released INTEGER NOT NULL
) STRICT;
INSERT INTO journal_head (id, next, released) VALUES (1, 0, 0);

CREATE TABLE journal (
    place INTEGER NOT NULL PRIMARY KEY, -- index in the log
    entry BLOB    NOT NULL
) STRICT;
