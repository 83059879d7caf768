-- In the order of a claim to the last column: nothing is left to sort.
DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (state, class, turn, id);
