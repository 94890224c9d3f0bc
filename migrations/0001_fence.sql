-- One row per partition: what everybody who writes or purges has to agree on. Names carry no schema: the runner sets the
-- search path to the configured one.
CREATE TABLE fence (
    partition       smallint    PRIMARY KEY,
    -- The persist stream that the row guards.
    stream          text        NOT NULL,
    -- Raised whenever sequences of the stream could repeat, or another path takes the writes.
    epoch           bigint      NOT NULL,
    -- What this epoch adds to a stream sequence to make a version.
    base            bigint      NOT NULL,
    -- Who takes the writes: the stream, or PostgreSQL itself.
    mode            text        NOT NULL,
    -- What tells the stream of this epoch from another one of the same name.
    incarnation     text        NOT NULL,
    -- The highest version ever seen. Sweeping lowers what cache_entries could tell.
    highest_version bigint      NOT NULL,
    -- The stream sequence up to which this epoch's messages are persisted and may be purged.
    purge_sequence  bigint      NOT NULL,
    -- The version up to which everything is in cache_entries; messages at or below it are ignored by everyone.
    mark            bigint      NOT NULL,
    -- Copies in Redis that were made under a lower one count as absent.
    generation      bigint      NOT NULL,
    updated_at      timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT fence_partition  CHECK (partition BETWEEN 0 AND 63),
    CONSTRAINT fence_epoch      CHECK (epoch >= 1),
    CONSTRAINT fence_mode       CHECK (mode IN ('Queue', 'Through')),
    CONSTRAINT fence_purge      CHECK (purge_sequence >= 0),
    CONSTRAINT fence_generation CHECK (generation >= 1),
    -- Versions stay below 2^53, which is what a JSON client keeps exact.
    CONSTRAINT fence_versions   CHECK (0 <= base AND base < 9007199254740992
                                       AND 0 <= mark AND mark <= highest_version
                                       AND highest_version < 9007199254740992)
)
-- Every batch of every worker locks the row and the janitor rewrites it every few seconds: with room on its page the
-- rewrites stay there, and no dead row outlives the next look at it.
WITH (fillfactor = 10);
