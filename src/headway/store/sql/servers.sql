-- Servers that share a database: who is there, who hears which worker, and what the store says of itself.

-- name: insert_fact
-- Whoever comes first decides.
INSERT INTO store (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING;

-- name: read_fact
SELECT value FROM store WHERE name = :name;

-- name: save_fact
UPDATE store SET value = :value WHERE name = :name;

-- name: read_servers
SELECT id, shard, host, pid, version, beat, created_at, heard_at FROM servers ORDER BY created_at, id;

-- name: save_server
INSERT INTO servers (id, shard, host, pid, version, beat, created_at, heard_at)
VALUES (:id, :shard, :host, :pid, :version, :beat, :created_at, :heard_at)
ON CONFLICT (id) DO UPDATE SET beat = excluded.beat, heard_at = excluded.heard_at;

-- name: delete_servers
DELETE FROM servers WHERE id IN @ids;

-- name: lock_fact
-- What servers do one after the other, they do after this: taking a place, and deciding under limits.
SELECT value FROM store WHERE name = :name @lock;

-- name: confirm
-- Nothing is changed, but its commit is confirmed only together with all that was written before it.
UPDATE store SET value = value WHERE name = 'servers';

-- name: hear_worker
-- From now on this server is the one that hears the worker.
UPDATE workers SET server_id = :server_id WHERE id = :id AND state <> 'gone';

-- name: adopt_workers
-- The workers of servers that are gone, or of none.
UPDATE workers SET server_id = :server_id
WHERE state <> 'gone' AND (server_id IS NULL OR server_id NOT IN (SELECT id FROM servers));

-- name: workers_of
SELECT id, state FROM workers WHERE server_id = :server_id AND state <> 'gone';

-- name: find_ownerless
-- Who holds leases and is not known as a worker: nobody would take them away.
SELECT DISTINCT worker_id FROM runs
WHERE worker_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = worker_id);

-- name: who_hears
-- The server that hears the worker, and whether it is gone; until the commit no other can take that over.
SELECT server_id, state FROM workers WHERE id = :id @lock;

-- name: place_is_held
-- Whether the process of a server that gives no sign of life is still there: of a store in a file there is only one.
SELECT false WHERE :id IS NULL;

-- name: read_task
SELECT definition FROM tasks WHERE name = :name @lock;

-- name: read_queue
SELECT name, paused, concurrency, created_at, updated_at FROM queues WHERE name = :name @lock;

-- name: changed_since
-- The runs of the events after a position.
SELECT DISTINCT run_id FROM (
    SELECT run_id FROM events WHERE position > :after AND position < @horizon ORDER BY position LIMIT :limit
) AS told;
