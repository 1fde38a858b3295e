-- Admission: tasks, queues, workers, counters, limits, and what makes a request repeatable.

-- name: save_task
INSERT INTO tasks (name, definition, updated_at) VALUES (:name, :definition, :updated_at)
ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, updated_at = excluded.updated_at;

-- name: read_tasks
SELECT definition FROM tasks ORDER BY name;

-- name: save_queue
INSERT INTO queues (name, paused, concurrency, created_at, updated_at)
VALUES (:name, :paused, :concurrency, :created_at, :updated_at)
ON CONFLICT (name) DO UPDATE
SET paused = excluded.paused, concurrency = excluded.concurrency, updated_at = excluded.updated_at;

-- name: make_queue
-- By its first use; another server may have made it meanwhile.
INSERT INTO queues (name, paused, concurrency, created_at, updated_at)
VALUES (:name, :paused, :concurrency, :created_at, :updated_at)
ON CONFLICT (name) DO NOTHING;

-- name: read_queues
SELECT name, paused, concurrency, created_at, updated_at FROM queues ORDER BY name;

-- name: save_worker
INSERT INTO workers (
    id, name, host, pid, version, queues, tasks, capacity, state, created_at, heard_at, server_id, organisation
)
VALUES (
    :id, :name, :host, :pid, :version, :queues, :tasks, :capacity, :state, :created_at, :heard_at, :server_id, :organisation
)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, heard_at = excluded.heard_at;

-- name: read_workers
SELECT id, name, host, pid, version, queues, tasks, capacity, state, created_at, heard_at, server_id, organisation
FROM workers ORDER BY created_at, id;

-- name: read_worker
SELECT id, name, host, pid, version, queues, tasks, capacity, state, created_at, heard_at, server_id, organisation
FROM workers WHERE id = :id;

-- name: end_worker
UPDATE workers SET state = 'gone', heard_at = :heard_at WHERE id = :id;

-- name: delete_gone_workers
DELETE FROM workers WHERE state = 'gone' AND heard_at < :before;

-- name: add_counters
INSERT INTO counters (task, queue, state, shard, count)
SELECT r.task, r.queue, r.state, :shard, r.count FROM @rows(task text, queue text, state text, count bigint) AS r
WHERE true
ON CONFLICT (task, queue, state, shard) DO UPDATE SET count = counters.count + excluded.count;

-- name: read_counters
SELECT task, queue, state, CAST(sum(count) AS bigint) FROM counters GROUP BY task, queue, state HAVING sum(count) <> 0;

-- name: recount
-- What the counters ought to be; read by `doctor --verify`.
SELECT task, queue, state, count(*) FROM runs GROUP BY task, queue, state;

-- name: read_rates
SELECT task, key, next_at_us FROM rates WHERE task = :task AND key IN @ids;

-- name: save_rates
INSERT INTO rates (task, key, next_at_us)
SELECT r.task, r.key, r.next_at_us FROM @rows(task text, key text, next_at_us bigint) AS r
WHERE true
ON CONFLICT (task, key) DO UPDATE SET next_at_us = excluded.next_at_us;

-- name: prune_rates
DELETE FROM rates WHERE next_at_us < :before_us;

-- name: read_dedupe
SELECT task, key, run_id, scope, until FROM dedupes WHERE task = :task AND key = :key @lock;

-- name: save_dedupe
-- `was` is the run that had the key, or nothing.
INSERT INTO dedupes (task, key, run_id, scope, until) VALUES (:task, :key, :run_id, :scope, :until)
ON CONFLICT (task, key) DO UPDATE SET run_id = excluded.run_id, scope = excluded.scope, until = excluded.until
WHERE dedupes.run_id = :was;

-- name: prune_dedupes
-- A key is forgotten when its window is over, or when it watched over an active run that is gone or final.
DELETE FROM dedupes
WHERE (scope = 'window' AND until < :now_ms)
   OR (scope = 'active' AND NOT EXISTS (
        SELECT 1 FROM runs WHERE runs.id = dedupes.run_id AND runs.state NOT IN ('succeeded', 'failed', 'terminated')
   ));

-- name: read_idempotency
SELECT key, fingerprint, reply FROM idempotency WHERE key IN @ids AND expires_at > :now_ms;

-- name: save_idempotency
INSERT INTO idempotency (key, fingerprint, reply, expires_at)
SELECT r.key, r.fingerprint, r.reply, r.expires_at
FROM @rows(key text, fingerprint text, reply text, expires_at bigint) AS r
WHERE true
ON CONFLICT (key) DO UPDATE
SET fingerprint = excluded.fingerprint, reply = excluded.reply, expires_at = excluded.expires_at
WHERE idempotency.expires_at <= :now_ms;

-- name: prune_idempotency
DELETE FROM idempotency WHERE key IN (SELECT key FROM idempotency WHERE expires_at <= :now_ms LIMIT :limit);
