-- The durable copy of every entry.
CREATE TABLE cache_entries (
    -- Compared byte by byte: no collation of an operating system can change the order under the index, and the workers'
    -- batches, sorted by the same order, lock rows in the same order.
    instance      text COLLATE "C" NOT NULL,
    key           text COLLATE "C" NOT NULL,
    version       bigint           NOT NULL,
    created_at    timestamptz      NOT NULL,
    updated_at    timestamptz      NOT NULL,
    -- From when on the entry counts as absent; none: it stays until it is deleted.
    expires_at    timestamptz,
    partition     smallint         NOT NULL,
    -- A deleted entry keeps its version for as long as an older write could still arrive.
    tombstone     boolean          NOT NULL DEFAULT false,
    -- The operations that led to this version, for whoever has to find out whether a write was made.
    operation_ids uuid[]           NOT NULL DEFAULT '{}',
    -- json and not jsonb: clients get back the very bytes that they sent.
    metadata      json,
    value         json,

    CONSTRAINT cache_entries_pkey      PRIMARY KEY (instance, key),
    CONSTRAINT cache_entries_key       CHECK (key <> '' AND char_length(key) <= 255),
    CONSTRAINT cache_entries_version   CHECK (version > 0 AND version < 9007199254740992),
    CONSTRAINT cache_entries_tombstone CHECK (tombstone = (value IS NULL) AND NOT (tombstone AND metadata IS NOT NULL))
)
-- An overwrite that changes no indexed column stays on its page and touches no index, if there is room: a fifth of each
-- page is left for it. The version is therefore in no index, not even in a partial one.
WITH (
    fillfactor = 80,
    -- Overwrites are the normal case, so the dead rows of a large table must not wait for a fifth of it to be dead.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_insert_scale_factor = 0.1
);

-- What the sweep looks for. Both are empty for entries that live forever.
CREATE INDEX cache_entries_tombstones ON cache_entries (partition) WHERE tombstone;
CREATE INDEX cache_entries_expiring ON cache_entries (partition, expires_at) WHERE expires_at IS NOT NULL;
