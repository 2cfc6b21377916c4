-- Ids are UUIDv7. JSON is kept as text: the store never looks inside. What is compared is compared byte by
-- byte, which is quick, and stays the same when the server's system gets other rules of sorting.

CREATE TABLE orders (
    id                    uuid        NOT NULL PRIMARY KEY,
    tenant                text COLLATE "C" NOT NULL,
    number                bigint      NOT NULL, -- 40 bits; people see it in base 32
    customer_id           text COLLATE "C" NOT NULL,
    external_reference    text COLLATE "C",
    state                 text COLLATE "C" NOT NULL,
    payment_state         text COLLATE "C" NOT NULL, -- derived from payments, for lists
    currency              text        NOT NULL,
    total_minor           bigint      NOT NULL, -- derived from content, for readers with other tools
    version               bigint      NOT NULL,
    created_at            timestamptz NOT NULL,
    updated_at            timestamptz NOT NULL,
    notes                 integer     NOT NULL, -- how many
    -- The receipt of the create: kept with the order, so that its key never makes a second one.
    -- NULL for an order that was placed without a key.
    create_key            text COLLATE "C",
    create_fingerprint    bytea,
    create_key_expires_at timestamptz,
    payments              text        NOT NULL, -- JSON
    progress              text        NOT NULL, -- JSON: per line [fulfilled, cancelled, returned]
    content               text        NOT NULL  -- JSON: lines, discount, shipping, metadata; never changes
);

-- The column that tells most comes first: a tenant's name is compared only where the rest is the same.
CREATE UNIQUE INDEX orders_create_key ON orders (create_key, tenant) WHERE create_key IS NOT NULL;
CREATE UNIQUE INDEX orders_number ON orders (number, tenant);
CREATE UNIQUE INDEX orders_reference ON orders (external_reference, tenant)
    WHERE external_reference IS NOT NULL;
CREATE INDEX orders_created ON orders (tenant, created_at, id);
CREATE INDEX orders_customer ON orders (tenant, customer_id, created_at, id);
CREATE INDEX orders_state ON orders (tenant, state, created_at, id);
CREATE INDEX orders_payment ON orders (tenant, payment_state, created_at, id)
    WHERE payment_state <> 'NONE';

-- One row per version of an order: the audit log.
CREATE TABLE history (
    order_id   uuid        NOT NULL,
    version    bigint      NOT NULL,
    tenant     text COLLATE "C" NOT NULL,
    change_id  uuid        NOT NULL,
    from_state text,
    to_state   text        NOT NULL,
    command    text        NOT NULL,
    actor      text        NOT NULL,
    reason     text,
    request_id text        NOT NULL,
    trace      text, -- W3C traceparent
    at         timestamptz NOT NULL,
    position   bigint, -- where its event stood in the feed, once that is forgotten
    PRIMARY KEY (order_id, version)
);

-- It is only added to, by whomever: but for the position, which is set once. Whoever owns the table
-- can take the trigger away, and leaves a trace in the catalogue by that.
CREATE FUNCTION history_stands() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF old.position IS NULL THEN
            old.position := new.position;
            IF old IS NOT DISTINCT FROM new THEN
                RETURN new;
            END IF;
        END IF;
    END IF;
    RAISE EXCEPTION 'history is only added to';
END
$$;

CREATE TRIGGER history_stands BEFORE UPDATE OR DELETE ON history
    FOR EACH ROW EXECUTE FUNCTION history_stands();
CREATE TRIGGER history_stays BEFORE TRUNCATE ON history EXECUTE FUNCTION history_stands();

-- Committed events that have no place in the feed yet. By seq they stand in the order in which they
-- were written, which is not the order in which they become visible: it is no cursor. The columns are
-- named as Debezium's outbox event router expects them, for those who prefer change data capture.
CREATE TABLE outbox (
    seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id            uuid        NOT NULL, -- the event's, which is its change's
    aggregateid   uuid        NOT NULL, -- the order
    type          text        NOT NULL,
    payload       text        NOT NULL, -- JSON
    tenant        text COLLATE "C" NOT NULL,
    version       bigint      NOT NULL, -- the order's, once the change is made
    at            timestamptz NOT NULL,
    traceparent   text
);

-- The feed. Positions are contiguous, and given to events that are committed already.
CREATE TABLE events (
    position  bigint      NOT NULL PRIMARY KEY,
    tenant    text COLLATE "C" NOT NULL,
    order_id  uuid        NOT NULL,
    version   bigint      NOT NULL,
    change_id uuid        NOT NULL,
    kind      text        NOT NULL,
    trace     text,
    at        timestamptz NOT NULL,
    data      text        NOT NULL -- JSON
);

CREATE INDEX events_tenant ON events (tenant, position);
CREATE UNIQUE INDEX events_order ON events (order_id, version);

-- Decisions remembered under an idempotency key, but those of accepted creates.
CREATE TABLE receipts (
    tenant      text COLLATE "C" NOT NULL,
    operation   text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea       NOT NULL,
    order_id    uuid        NOT NULL,
    change_id   uuid, -- NULL for a refusal that the store itself decided
    decision    text        NOT NULL, -- JSON
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, operation, key)
);

CREATE INDEX receipts_order ON receipts (order_id);
CREATE INDEX receipts_expiry ON receipts (expires_at);

-- Personal data of the buyer: erasable without touching anything else.
CREATE TABLE personal (
    order_id uuid NOT NULL PRIMARY KEY,
    tenant   text COLLATE "C" NOT NULL,
    data     text NOT NULL -- JSON
);

CREATE TABLE notes (
    order_id uuid        NOT NULL,
    version  bigint      NOT NULL,
    tenant   text COLLATE "C" NOT NULL,
    at       timestamptz NOT NULL,
    author   text        NOT NULL,
    text     text        NOT NULL,
    PRIMARY KEY (order_id, version)
);

-- Work that is owed. It is kept until it is done, however often processes die meanwhile.
CREATE TABLE tasks (
    id       uuid        NOT NULL PRIMARY KEY, -- the attempt's, or the order's where there is one of a kind
    tenant   text COLLATE "C" NOT NULL,
    order_id uuid        NOT NULL,
    kind     text        NOT NULL,
    due      timestamptz NOT NULL, -- of a leased task: when anybody else may take it
    epoch    bigint      NOT NULL, -- counts its leases: an older one writes nothing
    tries    bigint      NOT NULL,
    sent     timestamptz -- when the first request that may have reached the gateway was sent
);

CREATE INDEX tasks_due ON tasks (due, id);

-- Which part of each rate limit each process may let pass, in millionths, until when. Of one limit, those
-- that are not over are never more than a million.
CREATE TABLE limit_shares (
    name    text COLLATE "C" NOT NULL,
    process text COLLATE "C" NOT NULL,
    demand  bigint      NOT NULL, -- what was asked there lately
    share   integer     NOT NULL,
    until   timestamptz NOT NULL,
    PRIMARY KEY (name, process)
);

-- The moves of orders that any version makes; the guard of orders is made of them.
CREATE TABLE moves (
    from_state text NOT NULL,
    to_state   text NOT NULL,
    PRIMARY KEY (from_state, to_state)
);

CREATE TABLE meta (
    singleton   boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (singleton),
    -- The last position that was forgotten.
    forgotten   bigint  NOT NULL,
    -- How far the feed has been published outside the store; NULL while nobody publishes it.
    published   bigint,
    -- Random, made with the store; signs what clients carry between requests.
    page_secret bytea   NOT NULL
);

INSERT INTO meta (forgotten, page_secret)
VALUES (0, decode(
    replace(gen_random_uuid()::text || gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));

-- A second wall around tenants: a transaction sees the rows of the tenant that it says it works for,
-- and none when it says nothing. The service itself, which works for all, says '*'. That is asked once for
-- a statement: of a condition on every row the server expects that one of 200 passes, and to find the first
-- of them by an index it would read and sort the whole table.
DO $$
DECLARE
    walled text;
BEGIN
    FOREACH walled IN ARRAY ARRAY['orders', 'history', 'outbox', 'events', 'receipts', 'personal', 'notes', 'tasks'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', walled);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', walled);
        EXECUTE format(
            'CREATE POLICY tenants ON %I USING ((SELECT current_setting(''orderly.tenant'', true) = ''*'')
                OR tenant = (SELECT current_setting(''orderly.tenant'', true)))',
            walled);
    END LOOP;
END
$$;
