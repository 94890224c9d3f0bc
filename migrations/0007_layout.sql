-- Which partitions there are. Another number of partitions is another layout, whose partitions have other numbers: what
-- belongs to an earlier one finds no fence any more. The row is made by the runner, which knows the number that is wanted.
CREATE TABLE layout (
    only_one   boolean  NOT NULL DEFAULT true,
    -- The number of the first partition.
    first      smallint NOT NULL,
    partitions smallint NOT NULL,
    -- Another layout is about to begin: whoever sees it holds new writes back, so that few meet a stream that is sealed.
    changing   boolean  NOT NULL DEFAULT false,

    CONSTRAINT layout_pkey       PRIMARY KEY (only_one),
    CONSTRAINT layout_only_one   CHECK (only_one),
    CONSTRAINT layout_first      CHECK (first >= 0),
    CONSTRAINT layout_partitions CHECK (partitions BETWEEN 1 AND 64)
);

ALTER TABLE fence DROP CONSTRAINT fence_partition;
ALTER TABLE fence ADD CONSTRAINT fence_partition CHECK (partition >= 0);
