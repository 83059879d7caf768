-- Whose a message is, and whether they have confirmed it: a link is sent, works once, and its answer is noted here.
ALTER TABLE tickets ADD COLUMN guest_id TEXT; -- of a sender who was not signed in
ALTER TABLE tickets ADD COLUMN verify_of TEXT; -- usr_… or gst_… whose link was sent
ALTER TABLE tickets ADD COLUMN verify_email TEXT; -- where to
ALTER TABLE tickets ADD COLUMN verify_hash TEXT;
ALTER TABLE tickets ADD COLUMN verify_sent_at BIGINT;
ALTER TABLE tickets ADD COLUMN verify_until BIGINT;
ALTER TABLE tickets ADD COLUMN verified_at BIGINT;
ALTER TABLE tickets ADD COLUMN verified_by TEXT; -- how: by a session, by the mailbox, by the browser
CREATE UNIQUE INDEX tickets_verify ON tickets (verify_hash);
