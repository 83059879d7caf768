-- What the other songs of an album have to know of a master's song; null: not heard, or of no album.
ALTER TABLE masters ADD COLUMN song TEXT;
