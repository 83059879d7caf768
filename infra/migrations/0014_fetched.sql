-- Of an upload that the service fetches by itself: the sealed address, empty when that is over; null: its client sends it.
ALTER TABLE uploads ADD COLUMN source TEXT;
-- Why the file did not come, JSON with `code` and `detail`.
ALTER TABLE uploads ADD COLUMN failure TEXT;
