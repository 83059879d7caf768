-- Settings that an account keeps under a name.
CREATE TABLE presets (
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    version BIGINT NOT NULL, -- of what the settings mean
    settings TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, name)
);
