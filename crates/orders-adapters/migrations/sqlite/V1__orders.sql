-- Times are microseconds since the Unix epoch, UTC. Ids are UUIDv7 as 16 bytes.

CREATE TABLE orders (
    id                    BLOB    NOT NULL PRIMARY KEY,
    tenant                TEXT    NOT NULL,
    number                INTEGER NOT NULL, -- 40 bits; people see it in base 32
    customer_id           TEXT    NOT NULL,
    external_reference    TEXT,
    state                 TEXT    NOT NULL,
    payment_state         TEXT    NOT NULL, -- derived from payments, for lists
    currency              TEXT    NOT NULL,
    total_minor           INTEGER NOT NULL, -- derived from content, for readers with other tools
    version               INTEGER NOT NULL,
    created_at            INTEGER NOT NULL,
    updated_at            INTEGER NOT NULL,
    notes                 INTEGER NOT NULL, -- how many
    -- The receipt of the create: kept with the order, so that its key never makes a second one.
    -- NULL for an order that was placed without a key.
    create_key            TEXT,
    create_fingerprint    BLOB,
    create_key_expires_at INTEGER,
    payments              TEXT    NOT NULL, -- JSON
    progress              TEXT    NOT NULL, -- JSON: per line [fulfilled, cancelled, returned]
    content               TEXT    NOT NULL  -- JSON: lines, discount, shipping, metadata; never changes
) STRICT;

CREATE UNIQUE INDEX orders_create_key ON orders (tenant, create_key)
    WHERE create_key IS NOT NULL;
CREATE UNIQUE INDEX orders_number ON orders (tenant, number);
CREATE UNIQUE INDEX orders_reference ON orders (tenant, external_reference)
    WHERE external_reference IS NOT NULL;
CREATE INDEX orders_created ON orders (tenant, created_at, id);
CREATE INDEX orders_customer ON orders (tenant, customer_id, created_at, id);
CREATE INDEX orders_state ON orders (tenant, state, created_at, id);
CREATE INDEX orders_payment ON orders (tenant, payment_state, created_at, id)
    WHERE payment_state <> 'NONE';

-- One row per version of an order: the audit log.
CREATE TABLE history (
    order_id   BLOB    NOT NULL,
    version    INTEGER NOT NULL,
    change_id  BLOB    NOT NULL,
    from_state TEXT,
    to_state   TEXT    NOT NULL,
    command    TEXT    NOT NULL,
    actor      TEXT    NOT NULL,
    reason     TEXT,
    request_id TEXT    NOT NULL,
    trace      TEXT, -- W3C traceparent
    at         INTEGER NOT NULL,
    position   INTEGER NOT NULL, -- where its event stands in the feed
    PRIMARY KEY (order_id, version)
) STRICT, WITHOUT ROWID;

-- The feed. Positions are contiguous and given at commit.
CREATE TABLE events (
    position  INTEGER PRIMARY KEY,
    tenant    TEXT    NOT NULL,
    order_id  BLOB    NOT NULL,
    version   INTEGER NOT NULL,
    change_id BLOB    NOT NULL,
    kind      TEXT    NOT NULL,
    trace     TEXT,
    at        INTEGER NOT NULL,
    data      TEXT    NOT NULL -- JSON
) STRICT;

CREATE INDEX events_tenant ON events (tenant, position);

-- Decisions remembered under an idempotency key, but those of accepted creates.
CREATE TABLE receipts (
    tenant      TEXT    NOT NULL,
    operation   TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    order_id    BLOB    NOT NULL,
    change_id   BLOB, -- NULL for a refusal that the store itself decided
    decision    TEXT    NOT NULL, -- JSON
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (tenant, operation, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX receipts_order ON receipts (order_id);
CREATE INDEX receipts_expiry ON receipts (expires_at);

-- Personal data of the buyer: erasable without touching anything else.
CREATE TABLE personal (
    order_id BLOB NOT NULL PRIMARY KEY,
    data     TEXT NOT NULL -- JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE notes (
    order_id BLOB    NOT NULL,
    version  INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    author   TEXT    NOT NULL,
    text     TEXT    NOT NULL,
    PRIMARY KEY (order_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    -- The last position that was forgotten.
    forgotten   INTEGER NOT NULL,
    -- Random, made with the store; signs what clients carry between requests.
    page_secret BLOB    NOT NULL
) STRICT;

INSERT INTO meta (forgotten, page_secret) VALUES (0, randomblob(32));
