-- Tables, records, and the index of their values. Statements with conditions are made in features/tables/condition_sql.py.

-- name: next_table_number
-- A number is free once the rows of its deleted table are deleted.
SELECT coalesce(max(number), 0) + 1 FROM (
    SELECT number FROM tables UNION ALL SELECT table_number FROM table_remains
) AS taken;

-- name: insert_table
INSERT INTO tables (number, id, organisation, name, definition, count, version, created_at, updated_at)
VALUES (:number, :id, :organisation, :name, :definition, :count, :version, :created_at, :updated_at);

-- name: save_table
UPDATE tables SET name = :name, definition = :definition, version = :version, updated_at = :updated_at
WHERE number = :number AND version = :was;

-- name: add_to_table
UPDATE tables SET count = count + :delta WHERE number = :number;

-- name: delete_table
DELETE FROM tables WHERE number = :number AND version = :was;

-- name: read_tables
SELECT number, id, organisation, name, definition, count, version, created_at, updated_at FROM tables
WHERE organisation = :organisation ORDER BY name;

-- name: find_table
-- By id or by name; no name looks like an id.
SELECT number, id, organisation, name, definition, count, version, created_at, updated_at FROM tables
WHERE organisation = :organisation AND id = :name
UNION ALL
SELECT number, id, organisation, name, definition, count, version, created_at, updated_at FROM tables
WHERE organisation = :organisation AND name = :name;

-- name: lock_table
-- Writers of records lock the definition, so that no record is written by an old one.
SELECT number, id, organisation, name, definition, count, version, created_at, updated_at FROM tables
WHERE number = :number @lock;

-- name: insert_records
INSERT INTO records (table_number, id, version, data, created_at, updated_at)
SELECT :table_number, r.id, 1, r.data, :now_ms, :now_ms FROM @rows(id text, data text) AS r;

-- name: save_records
-- The table number is in each row: with a constant SQLite would scan the whole table.
UPDATE records SET data = r.data, version = records.version + 1, updated_at = :now_ms
FROM @rows(table_number bigint, id text, data text, was bigint) AS r
WHERE records.table_number = r.table_number AND records.id = r.id AND records.version = r.was;

-- name: delete_records
DELETE FROM records WHERE table_number = :table_number AND id IN @ids;

-- name: load_records
-- Locks in the order of ids, for changes and references, so that two servers have no deadlock.
SELECT id, version, data, created_at, updated_at FROM records
WHERE table_number = :table_number AND id IN @ids ORDER BY id @lock;

-- name: load_span
-- The records of a span, locked as by load_records.
SELECT id, version, data FROM records
WHERE table_number = :table_number AND id > :after AND id <= :edge ORDER BY id @lock;

-- name: lock_records
-- As load_records, with the versions alone: to check that records read before are unchanged.
SELECT id, version FROM records WHERE table_number = :table_number AND id IN @ids ORDER BY id @lock;

-- name: read_records
SELECT id, version, data, created_at, updated_at FROM records WHERE table_number = :table_number AND id IN @ids ORDER BY id;

-- name: read_all_records
SELECT id, version, data, created_at, updated_at FROM records
WHERE table_number = :table_number AND id > :after ORDER BY id LIMIT :limit;

-- name: edge_of_records
-- The last of the next :limit records of a span, and their number.
SELECT max(id), count(*) FROM (
    SELECT id FROM records WHERE table_number = :table_number AND id > :after AND id <= :upto ORDER BY id LIMIT :limit
) AS next;

-- name: patch_records
UPDATE records SET data = @patched, version = version + 1, updated_at = :now_ms
WHERE table_number = :table_number AND id IN @ids;

-- name: patch_what_lacks
-- The records of a span that lack one of the values.
UPDATE records SET data = @patched, version = version + 1, updated_at = :now_ms
WHERE table_number = :table_number AND id > :after AND id <= :edge AND NOT @patched_before;

-- name: patch_span
-- All records of a span.
UPDATE records SET data = @patched, version = version + 1, updated_at = :now_ms
WHERE table_number = :table_number AND id > :after AND id <= :edge;

-- name: insert_record_values
INSERT INTO record_values (table_number, field, value, record_id, is_unique)
SELECT :table_number, r.field, r.value, r.record_id, r.is_unique
FROM @rows(field text, value text, record_id text, is_unique bigint) AS r;

-- name: delete_record_values
DELETE FROM record_values
WHERE (table_number, field, value, record_id) IN (
    SELECT r.table_number, r.field, r.value, r.record_id
    FROM @rows(table_number bigint, field text, value text, record_id text) AS r
);

-- name: insert_values_of_span
-- The same value for all records of a span.
INSERT INTO record_values (table_number, field, value, record_id, is_unique)
SELECT :table_number, :field, :value, id, :is_unique FROM records
WHERE table_number = :table_number AND id > :after AND id <= :edge;

-- name: delete_values_of_span
DELETE FROM record_values
WHERE table_number = :table_number AND field = :field AND value = :value AND record_id > :after AND record_id <= :edge;

-- name: find_record_values
-- Index entries by field and value; a unique field has one per value at most.
SELECT v.field, v.value, v.record_id FROM @rows(table_number bigint, field text, value text) AS r
JOIN record_values AS v ON v.table_number = r.table_number AND v.field = r.field AND v.value = r.value
LIMIT :limit;

-- name: delete_values_of_field
DELETE FROM record_values WHERE table_number = :table_number AND field = :field;

-- name: forget_values
-- Entries of damaged records. No index is by record: it scans the entries of the table.
DELETE FROM record_values WHERE table_number = :table_number AND record_id IN @ids;

-- name: leave_remains
INSERT INTO table_remains (table_number, field) VALUES (:table_number, :field) ON CONFLICT (table_number, field) DO NOTHING;

-- name: read_remains
SELECT table_number, field FROM table_remains ORDER BY table_number, field LIMIT 1 @lock;

-- name: sweep_records
DELETE FROM records WHERE table_number = :table_number AND id IN (
    SELECT id FROM records WHERE table_number = :table_number ORDER BY id LIMIT :limit
)
RETURNING 1;

-- name: sweep_values
DELETE FROM record_values WHERE table_number = :table_number AND (field, value, record_id) IN (
    SELECT field, value, record_id FROM record_values WHERE table_number = :table_number
    ORDER BY field, value, record_id LIMIT :limit
)
RETURNING 1;

-- name: sweep_values_of_field
DELETE FROM record_values WHERE table_number = :table_number AND field = :field AND (value, record_id) IN (
    SELECT value, record_id FROM record_values WHERE table_number = :table_number AND field = :field
    ORDER BY value, record_id LIMIT :limit
)
RETURNING 1;

-- name: forget_remains
DELETE FROM table_remains WHERE table_number = :table_number AND field = :field;

-- name: verify_table_counts
SELECT name, count, found FROM (
    SELECT name, count, (SELECT count(*) FROM records WHERE table_number = number) AS found FROM tables
) AS both_sides
WHERE count <> found;

-- name: verify_tables
SELECT number, id, organisation, name, definition, count, version, created_at, updated_at FROM tables;

-- name: verify_records
-- Records in order of table and id; index entries come in the same order.
SELECT table_number, id, data FROM records WHERE table_number IN (SELECT number FROM tables) ORDER BY table_number, id;

-- name: verify_record_values
SELECT table_number, record_id, field, value, is_unique FROM record_values
WHERE table_number IN (SELECT number FROM tables) AND NOT EXISTS (
    SELECT 1 FROM table_remains
    WHERE table_remains.table_number = record_values.table_number AND table_remains.field = record_values.field
)
ORDER BY table_number, record_id;

-- name: verify_record_orphans
-- Rows without a table, which nothing would delete, and chunks without a file.
SELECT 'record', min(id) FROM records
WHERE table_number NOT IN (SELECT number FROM tables) AND table_number NOT IN (SELECT table_number FROM table_remains)
GROUP BY table_number
UNION ALL
SELECT 'index of records', min(record_id) FROM record_values
WHERE table_number NOT IN (SELECT number FROM tables) AND table_number NOT IN (SELECT table_number FROM table_remains)
GROUP BY table_number
UNION ALL
SELECT 'chunk of a file', file_id FROM file_chunks WHERE file_id NOT IN (SELECT id FROM files) GROUP BY file_id;
