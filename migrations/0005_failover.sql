-- Which history of the database a row belongs to. A standby that is promoted goes on under another timeline, and a copy in
-- another cluster has another identifier; a server that only restarts keeps both.
CREATE FUNCTION server_history() RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT system_identifier || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8) FROM pg_control_system() $$;

-- The history in which the row was last looked after. It is lost together with the commits that a failover loses, so
-- comparing it with the server's own tells whether there was one. Pods of the release before leave it out: that counts
-- as a failover, which does no harm.
ALTER TABLE fence ADD COLUMN history text NOT NULL DEFAULT '';
-- Which delivery of the stream's messages the workers are at: another one for each failover, higher than any before.
ALTER TABLE fence ADD COLUMN replay bigint NOT NULL DEFAULT 0 CONSTRAINT fence_replay CHECK (replay >= 0);
UPDATE fence SET history = server_history();
