-- How long a job was told to wait when `run_at` was written, in milliseconds: a later `run_at` was written by a clock that has been set
-- back since. What waits now is given the longest there is.
ALTER TABLE jobs ADD COLUMN waits BIGINT NOT NULL DEFAULT 0;
UPDATE jobs SET waits = CASE WHEN class = 'chore' THEN 86400000 ELSE 600000 END WHERE state = 'waiting';
-- Runs alone in which the whole worker was killed from outside.
ALTER TABLE jobs ADD COLUMN kills BIGINT NOT NULL DEFAULT 0;
