-- While NATS is away, PostgreSQL can take the writes. Before it does, the queue is closed: from then on no process may begin
-- to publish for longer than those who looked before are allowed to.
ALTER TABLE fence DROP CONSTRAINT fence_mode;
ALTER TABLE fence ADD CONSTRAINT fence_mode CHECK (mode IN ('Queue', 'Closing', 'Through'));

-- Who could not reach NATS, and when: the queue is not opened again while somebody cannot use it.
CREATE TABLE queue_outages (
    holder  uuid        NOT NULL,
    seen_at timestamptz NOT NULL,

    CONSTRAINT queue_outages_pkey PRIMARY KEY (holder)
);
