-- Rows of the version before lie in clear; the keys are only needed on their own day, so a new one is made, sealed, at the next request.
DELETE FROM ip_keys;

-- The audit holds ids only: an address of a webhook can be a secret in itself, and what is left of accounts that are gone names nothing.
UPDATE audit SET detail = '' WHERE action = 'webhook.added';
UPDATE audit SET detail = '', ip_hash = '', target = CASE WHEN target = actor THEN target ELSE '' END
    WHERE actor LIKE 'usr!_%' ESCAPE '!' AND NOT EXISTS (SELECT 1 FROM users WHERE users.id = audit.actor);
UPDATE audit SET detail = '', ip_hash = ''
    WHERE target LIKE 'usr!_%' ESCAPE '!' AND NOT EXISTS (SELECT 1 FROM users WHERE users.id = audit.target);

-- When its owner chose to keep a mix whose last master was deleted; null: it goes with that master.
ALTER TABLE uploads ADD COLUMN kept_at BIGINT;
CREATE INDEX uploads_reference ON uploads (reference_upload) WHERE reference_upload IS NOT NULL;
CREATE INDEX masters_reference ON masters (reference_upload) WHERE reference_upload IS NOT NULL;
CREATE INDEX masters_deleted ON masters (deleted_at) WHERE deleted_at IS NOT NULL;

-- The mail that says when songs of an account go by their age. A song without one that was sent 30 days ago does not go.
CREATE TABLE notices (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL,
    posted_at BIGINT NOT NULL,
    sent_at BIGINT -- when the mail left; null: it waits, or was refused
);
CREATE INDEX notices_user ON notices (user_id, posted_at);
ALTER TABLE masters ADD COLUMN notice_id TEXT;
CREATE INDEX masters_notice ON masters (notice_id) WHERE notice_id IS NOT NULL;

-- A sign-in by mail that also confirms the address a provider named: whose identity is linked when it is confirmed.
ALTER TABLE logins ADD COLUMN issuer TEXT;
ALTER TABLE logins ADD COLUMN subject TEXT;
ALTER TABLE logins ADD COLUMN person_name TEXT;

-- What a delivery is about: the log of a song goes with the song.
ALTER TABLE deliveries ADD COLUMN subject TEXT;
CREATE INDEX deliveries_subject ON deliveries (subject) WHERE subject IS NOT NULL;
CREATE INDEX job_history_subject ON job_history (subject);
CREATE INDEX masters_unnoticed ON masters (created_at) WHERE notice_id IS NULL;
