-- Living workers, and how much decoded audio one track may have there: the api says so before an upload begins.
CREATE TABLE workers (
    name TEXT PRIMARY KEY NOT NULL, -- of one start of one process
    largest_bytes BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);
