-- One text for SQLite and PostgreSQL. Times are milliseconds since 1970 by the database's clock; flags are 0 or 1; JSON is text;
-- secrets are kept as SHA-256 in hex. `owner` is a user's id (usr_…) or a guest's (gst_…).

CREATE TABLE users (
    id TEXT PRIMARY KEY NOT NULL,
    email TEXT NOT NULL UNIQUE, -- lower case
    name TEXT NOT NULL,
    picture_key TEXT,
    mail_when_ready BIGINT NOT NULL,
    policy_version TEXT NOT NULL, -- the privacy policy that was current at the last sign-in
    of_age_at BIGINT NOT NULL, -- when the age statement was made
    created_at BIGINT NOT NULL,
    banned_at BIGINT,
    delete_after BIGINT -- the account goes then, unless its owner comes back
);

CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    email TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_user ON identities (user_id);

CREATE TABLE guests (
    id TEXT PRIMARY KEY NOT NULL,
    created_at BIGINT NOT NULL,
    merged_into TEXT,
    merged_at BIGINT
);

CREATE TABLE sessions (
    id TEXT PRIMARY KEY NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id),
    user_agent TEXT NOT NULL,
    ip_hash TEXT NOT NULL,
    guest_id TEXT, -- whose masters it may take over: the guest of the browser that asked for the sign-in
    created_at BIGINT NOT NULL,
    signed_in_at BIGINT NOT NULL, -- what "recent sign-in" looks at
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL, -- absolute
    revoked_at BIGINT
);
CREATE INDEX sessions_user ON sessions (user_id);

-- A sign-in by mail under way: a link and a code, bound to the browser that asked.
CREATE TABLE logins (
    id TEXT PRIMARY KEY NOT NULL,
    email TEXT NOT NULL,
    purpose TEXT NOT NULL, -- sign_in, change_email_old, change_email_new
    user_id TEXT, -- of a change
    link_hash TEXT NOT NULL UNIQUE,
    code_hash TEXT NOT NULL,
    browser_hash TEXT NOT NULL,
    guest_id TEXT,
    tries BIGINT NOT NULL,
    ip_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT,
    consumed_by TEXT, -- session id
    handed_over_at BIGINT -- the tab that waited has been told
);
CREATE INDEX logins_email ON logins (email, created_at);

-- A sign-in through a provider under way.
CREATE TABLE oidc_logins (
    state_hash TEXT PRIMARY KEY NOT NULL,
    provider TEXT NOT NULL,
    nonce TEXT NOT NULL,
    verifier TEXT NOT NULL,
    browser_hash TEXT NOT NULL,
    guest_id TEXT,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    consumed_at BIGINT
);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL, -- separated by spaces: uploads masters account
    created_at BIGINT NOT NULL,
    used_at BIGINT,
    expires_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX tokens_user ON tokens (user_id);

-- Upload-only capabilities for pages of others.
CREATE TABLE grants (
    id TEXT PRIMARY KEY NOT NULL,
    grant_hash TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL REFERENCES users (id),
    token_id TEXT, -- that minted it, and takes it along when revoked
    files_left BIGINT NOT NULL,
    bytes_left BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);

CREATE TABLE batches (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    album BIGINT NOT NULL,
    announced BIGINT NOT NULL, -- how many tracks were promised
    created_at BIGINT NOT NULL,
    mailed_at BIGINT
);
CREATE INDEX batches_owner ON batches (owner, created_at);

CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    owner_key TEXT NOT NULL, -- whose turn it costs: a user's id, or the IP hash of a guest
    grant_id TEXT,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    fingerprint TEXT NOT NULL, -- of the client: tells a resuming browser that it is the same file
    state TEXT NOT NULL, -- uploading, completing, stored, aborted, gone
    client_key TEXT NOT NULL, -- where the client's parts go
    stored_key TEXT, -- the adopted copy that no client holds a signature for
    s3_upload TEXT, -- multipart id; null for a single POST
    part_bytes BIGINT NOT NULL,
    etag TEXT,
    title TEXT, -- of the master it becomes
    settings TEXT, -- master as soon as it is stored
    batch_id TEXT,
    batch_position BIGINT,
    reference_upload TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    stored_at BIGINT,
    expires_at BIGINT -- null: kept until deleted
);
CREATE INDEX uploads_owner ON uploads (owner, created_at);
CREATE INDEX uploads_expiry ON uploads (expires_at);

CREATE TABLE masters (
    id TEXT PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL,
    upload_id TEXT NOT NULL REFERENCES uploads (id),
    batch_id TEXT,
    batch_position BIGINT,
    reference_upload TEXT,
    title TEXT NOT NULL,
    settings TEXT NOT NULL,
    state TEXT NOT NULL, -- waiting, running, done, failed, cancelled
    stage TEXT, -- decode … deliver, while running
    attempt BIGINT NOT NULL, -- the attempt whose files are the master's
    backend TEXT,
    error_code TEXT,
    error_text TEXT,
    seconds DOUBLE PRECISION, -- of music
    lufs DOUBLE PRECISION,
    dbtp DOUBLE PRECISION,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT,
    deleted_at BIGINT, -- 30 s of undo, then it goes
    expires_at BIGINT, -- null: kept until deleted
    version BIGINT NOT NULL -- the owner's version of the last change
);
CREATE INDEX masters_owner ON masters (owner, created_at);
CREATE INDEX masters_version ON masters (owner, version);
CREATE INDEX masters_batch ON masters (batch_id);
CREATE INDEX masters_upload ON masters (upload_id);
CREATE INDEX masters_expiry ON masters (expires_at);

-- What the page and the API tell of a finished master: figures, reasons, findings (JSON, a few kilobytes).
CREATE TABLE results (
    master_id TEXT PRIMARY KEY NOT NULL REFERENCES masters (id),
    result TEXT NOT NULL
);

CREATE TABLE artifacts (
    id TEXT PRIMARY KEY NOT NULL,
    master_id TEXT NOT NULL REFERENCES masters (id),
    kind TEXT NOT NULL, -- master, report, preview, waveform, plot
    role TEXT NOT NULL, -- which of its kind: wav24, mp3-320, mix, master, spectrum, html …
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    crc32 BIGINT NOT NULL,
    key TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX artifacts_master ON artifacts (master_id);

-- Every object is written down here before its bytes are, so that nothing in storage is unknown.
CREATE TABLE objects (
    key TEXT PRIMARY KEY NOT NULL,
    state TEXT NOT NULL, -- intent, stored, doomed
    upload_id TEXT,
    master_id TEXT,
    attempt BIGINT,
    user_id TEXT,
    created_at BIGINT NOT NULL,
    sweep_after BIGINT -- removed then, and looked for once more after the longest lease and presign
);
CREATE INDEX objects_sweep ON objects (sweep_after);
CREATE INDEX objects_master ON objects (master_id);
CREATE INDEX objects_upload ON objects (upload_id);

-- Counts the changes an owner can see; taken under lock.
CREATE TABLE versions (
    owner TEXT PRIMARY KEY NOT NULL,
    version BIGINT NOT NULL
);

CREATE TABLE jobs (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL, -- master, sweep, mail, webhook, export
    subject TEXT NOT NULL, -- the master's id, …
    owner_key TEXT NOT NULL,
    class TEXT NOT NULL, -- interactive, bulk, chore
    seconds DOUBLE PRECISION NOT NULL, -- of audio; what fairness counts
    bytes BIGINT NOT NULL, -- of decoded audio, estimated; what a batch is filled with
    payload TEXT NOT NULL,
    state TEXT NOT NULL, -- waiting, running; ended jobs move to job_history
    turn DOUBLE PRECISION NOT NULL, -- virtual finish time: lowest goes first
    run_at BIGINT NOT NULL,
    attempts BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    lease_token TEXT,
    lease_until BIGINT,
    worker_id TEXT,
    solitary BIGINT NOT NULL, -- runs alone and on the CPU
    lost_alone BIGINT NOT NULL, -- leases lost while solitary
    lost_on TEXT, -- the worker start that lost it last
    cancel BIGINT NOT NULL,
    error_code TEXT,
    error_text TEXT,
    traceparent TEXT,
    created_at BIGINT NOT NULL
);
CREATE INDEX jobs_ready ON jobs (state, class, turn);
CREATE INDEX jobs_lease ON jobs (state, lease_until);
CREATE UNIQUE INDEX jobs_subject ON jobs (kind, subject);

CREATE TABLE job_history (
    id TEXT PRIMARY KEY NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    owner_key TEXT NOT NULL,
    state TEXT NOT NULL, -- done, dead, cancelled
    attempts BIGINT NOT NULL,
    error_code TEXT,
    error_text TEXT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);
CREATE INDEX job_history_end ON job_history (ended_at);

-- Fairness: where each owner's last job ends in virtual time. The row `*` holds the virtual time itself.
CREATE TABLE turns (
    owner_key TEXT PRIMARY KEY NOT NULL,
    finish DOUBLE PRECISION NOT NULL
);
INSERT INTO turns (owner_key, finish) VALUES ('*', 0);

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id),
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    secret TEXT NOT NULL, -- sealed with the service's key
    old_secret TEXT,
    old_secret_until BIGINT,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    disabled_why TEXT
);
CREATE INDEX webhooks_user ON webhooks (user_id);

CREATE TABLE deliveries (
    id TEXT PRIMARY KEY NOT NULL, -- the webhook-id
    webhook_id TEXT NOT NULL REFERENCES webhooks (id),
    event TEXT NOT NULL,
    body TEXT NOT NULL,
    attempts BIGINT NOT NULL,
    last_status BIGINT,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    delivered_at BIGINT,
    given_up_at BIGINT
);
CREATE INDEX deliveries_webhook ON deliveries (webhook_id, created_at);

CREATE TABLE shares (
    id TEXT PRIMARY KEY NOT NULL,
    master_id TEXT NOT NULL REFERENCES masters (id),
    token_hash TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX shares_master ON shares (master_id);

-- A ZIP is a snapshot of rows, so that a download that breaks off can go on.
CREATE TABLE zips (
    id TEXT PRIMARY KEY NOT NULL,
    capability_hash TEXT NOT NULL UNIQUE,
    owner TEXT NOT NULL,
    name TEXT NOT NULL,
    entries TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    etag TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE idempotency (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status BIGINT, -- null while the first call runs
    body TEXT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);

CREATE TABLE nonces (
    nonce TEXT PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX nonces_expiry ON nonces (expires_at);

-- Counters that all api processes share (GCRA: the theoretical arrival time).
CREATE TABLE limits (
    key TEXT PRIMARY KEY NOT NULL,
    tat BIGINT NOT NULL
);

-- The key of the day that IP addresses are hashed with; deleted after 48 hours.
CREATE TABLE ip_keys (
    day TEXT PRIMARY KEY NOT NULL,
    secret TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE audit (
    id TEXT PRIMARY KEY NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    ip_hash TEXT NOT NULL,
    detail TEXT NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, at);

CREATE TABLE tickets (
    id TEXT PRIMARY KEY NOT NULL,
    topic TEXT NOT NULL,
    email TEXT NOT NULL,
    user_id TEXT,
    message TEXT NOT NULL,
    request_id TEXT NOT NULL,
    ip_hash TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    closed_at BIGINT
);
