-- How far the feed has been published outside the store.
ALTER TABLE meta ADD COLUMN published INTEGER NOT NULL DEFAULT 0;
