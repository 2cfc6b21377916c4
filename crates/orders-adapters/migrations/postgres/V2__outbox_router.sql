-- What Debezium's outbox event router routes by. The version before does not name the column.
ALTER TABLE outbox ADD COLUMN aggregatetype text NOT NULL DEFAULT 'order';
