-- Bytes that may still arrive by addresses already signed, for uploads whose size nobody announced. They count like bytes that are there.
ALTER TABLE uploads ADD COLUMN reserved BIGINT NOT NULL DEFAULT 0;
-- The addresses themselves (JSON: number of the part, its most bytes, the end of its time in ms); empty: none.
ALTER TABLE uploads ADD COLUMN open_parts TEXT NOT NULL DEFAULT '';
-- Quotas of visitors without an account are counted by address, too.
CREATE INDEX uploads_owner_key ON uploads (owner_key);
