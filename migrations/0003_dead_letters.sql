-- The writes that wait as dead letters, without what they say: that is in their stream. A replay looks here for a newer
-- one of the same key, and the sweep keeps what it removes otherwise (tombstones, expired rows) for as long as an older
-- write of the key could still be replayed over it.
CREATE TABLE dead_letters (
    instance text COLLATE "C" NOT NULL,
    key      text COLLATE "C" NOT NULL,
    version  bigint           NOT NULL,
    -- Noted before the letter is sent, so a row may stay behind without one: rows without letters are removed later.
    noted_at timestamptz      NOT NULL DEFAULT now(),

    CONSTRAINT dead_letters_pkey PRIMARY KEY (instance, key, version)
);
