-- Work that is owed. It is kept until it is done, however often the process dies meanwhile.
CREATE TABLE tasks (
    id       BLOB    NOT NULL PRIMARY KEY, -- the attempt's, or the order's where there is one of a kind
    tenant   TEXT    NOT NULL,
    order_id BLOB    NOT NULL,
    kind     TEXT    NOT NULL,
    due      INTEGER NOT NULL, -- of a leased task: when anybody else may take it
    epoch    INTEGER NOT NULL, -- counts its leases: an older one writes nothing
    tries    INTEGER NOT NULL,
    sent     INTEGER -- when the first request that may have reached the gateway was sent
) STRICT, WITHOUT ROWID;

CREATE INDEX tasks_due ON tasks (due, id);
