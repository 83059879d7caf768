-- An owner's class is asked in the transaction that queues: without this it reads everybody's jobs where its own are few.
CREATE INDEX jobs_owner ON jobs (owner_key);
