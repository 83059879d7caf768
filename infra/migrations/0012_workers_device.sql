-- What a worker renders on, cpu or gpu: cards and processors are scaled by the music that each of them has to do.
ALTER TABLE workers ADD COLUMN device TEXT NOT NULL DEFAULT 'cpu';
