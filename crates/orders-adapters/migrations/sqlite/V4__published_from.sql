-- How far the feed has been published outside the store; NULL while nobody publishes it. Until now that
-- could not be told from a feed of which nothing was published yet.
ALTER TABLE meta ADD COLUMN published_to INTEGER;
UPDATE meta SET published_to = nullif(published, 0);
ALTER TABLE meta DROP COLUMN published;
ALTER TABLE meta RENAME COLUMN published_to TO published;
