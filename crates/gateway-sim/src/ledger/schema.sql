-- Times are microseconds since the Unix epoch, UTC. Ids are UUIDs as text, for readers with other
-- tools.

-- One row per payment that anything was asked of. The checks are the second wall: the rules say no
-- first.
CREATE TABLE payments (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    currency   TEXT    NOT NULL, -- of what is authorized, once something is
    authorized INTEGER NOT NULL,
    captured   INTEGER NOT NULL CHECK (captured >= 0 AND captured <= authorized - voided),
    voided     INTEGER NOT NULL CHECK (voided >= 0),
    refunded   INTEGER NOT NULL CHECK (refunded >= 0 AND refunded <= captured)
) STRICT;

-- Every decision, in order; nothing here is ever changed. A reference is there twice only if it was
-- sent again after its key was forgotten.
CREATE TABLE operations (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    reference    TEXT    NOT NULL,
    payment      TEXT    NOT NULL,
    kind         TEXT    NOT NULL,
    status       TEXT    NOT NULL,
    amount_minor INTEGER NOT NULL,
    currency     TEXT    NOT NULL,
    decline_code TEXT,
    gateway_id   TEXT    NOT NULL UNIQUE,
    key          TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    -- The payment's sums right after it, and their currency.
    totals_in    TEXT    NOT NULL,
    authorized   INTEGER NOT NULL,
    captured     INTEGER NOT NULL,
    voided       INTEGER NOT NULL,
    refunded     INTEGER NOT NULL
) STRICT;

CREATE INDEX operations_reference ON operations (reference, seq);
CREATE INDEX operations_payment ON operations (payment, seq);

CREATE TABLE keys (
    key        TEXT    NOT NULL PRIMARY KEY,
    hash       BLOB    NOT NULL, -- SHA-256 of the request
    reference  TEXT    NOT NULL,
    operation  INTEGER NOT NULL, -- its seq
    first_at   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX keys_reference ON keys (reference);

-- One event per operation. It stays here once it is delivered, so that its deliveries can be told.
CREATE TABLE outbox (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    operation    INTEGER NOT NULL UNIQUE, -- its seq
    body         TEXT    NOT NULL,
    copies       INTEGER NOT NULL, -- deliveries that are still to be made
    held         INTEGER NOT NULL, -- 1: due at once after a later event was delivered
    due_at       INTEGER NOT NULL,
    tries        INTEGER NOT NULL, -- that failed, since the last that did not
    deliveries   INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_due ON outbox (due_at) WHERE copies > 0;

-- References whose token's fault has struck.
CREATE TABLE tried (reference TEXT NOT NULL PRIMARY KEY) STRICT, WITHOUT ROWID;
