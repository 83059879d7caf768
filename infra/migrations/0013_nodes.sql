-- What operators see of a worker, and what they want of it.
ALTER TABLE workers ADD COLUMN host TEXT NOT NULL DEFAULT '';
ALTER TABLE workers ADD COLUMN about TEXT NOT NULL DEFAULT ''; -- version, threads and what renders, in words
ALTER TABLE workers ADD COLUMN started_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE workers ADD COLUMN draining BIGINT NOT NULL DEFAULT 0; -- asked to finish what it holds, and to end

-- Machines whose workers take no new tracks, across restarts; '*': all machines.
CREATE TABLE paused (
    host TEXT PRIMARY KEY NOT NULL
);
