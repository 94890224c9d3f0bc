-- Makes tables like the one that the entries are in, moves the entries, and takes its name. Columns, constraints, indexes
-- and storage parameters are those that the migrations gave it, whatever they are by now.
CREATE FUNCTION pg_temp.spread_entries(tables integer) RETURNS bigint LANGUAGE plpgsql AS
$$
DECLARE
    parameters  text;
    definitions text[];
    definition  text;
    moved       bigint;
BEGIN
    LOCK TABLE cache_entries IN ACCESS EXCLUSIVE MODE;
    -- A table that is spread has no parameters, but its parts have.
    SELECT array_to_string(reloptions, ', ') INTO parameters FROM pg_class
     WHERE oid = coalesce((SELECT relid FROM pg_partition_tree('cache_entries') WHERE isleaf LIMIT 1), 'cache_entries'::regclass);
    definitions := ARRAY(
        SELECT format('ALTER TABLE cache_entries ADD CONSTRAINT %I %s', conname, pg_get_constraintdef(oid))
          FROM pg_constraint WHERE conrelid = 'cache_entries'::regclass AND contype = 'p'
         UNION ALL
        SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')
          FROM pg_index WHERE indrelid = 'cache_entries'::regclass AND NOT indisprimary);

    IF tables = 1 THEN
        EXECUTE format('CREATE TABLE new_entries (LIKE cache_entries INCLUDING ALL EXCLUDING INDEXES) WITH (%s)', parameters);
    ELSE
        CREATE TABLE new_entries (LIKE cache_entries INCLUDING ALL EXCLUDING INDEXES) PARTITION BY HASH (instance, key);
        FOR part IN 0 .. tables - 1 LOOP
            EXECUTE format('CREATE TABLE cache_entries_%s_%s PARTITION OF new_entries FOR VALUES WITH (MODULUS %s, REMAINDER %s) WITH (%s)',
                           tables, part, tables, part, parameters);
        END LOOP;
    END IF;
    INSERT INTO new_entries SELECT * FROM cache_entries;
    GET DIAGNOSTICS moved = ROW_COUNT;
    DROP TABLE cache_entries;
    ALTER TABLE new_entries RENAME TO cache_entries;
    -- Once the rows are there an index is built much faster than it grows.
    FOREACH definition IN ARRAY definitions LOOP
        EXECUTE definition;
    END LOOP;
    -- Nothing else gathers statistics of a table that is spread.
    ANALYZE cache_entries;
    RETURN moved;
END
$$;
