-- Record tasks, the errors of their records, and mail servers.

-- name: find_record_task
SELECT name, organisation, definition, version, created_at, updated_at FROM record_tasks WHERE name = :name;

-- name: lock_record_task
SELECT name, organisation, definition, version, created_at, updated_at FROM record_tasks WHERE name = :name @lock;

-- name: read_record_tasks
SELECT name, organisation, definition, version, created_at, updated_at FROM record_tasks
WHERE organisation = :organisation ORDER BY name;

-- name: insert_record_task
INSERT INTO record_tasks (name, organisation, definition, version, created_at, updated_at)
VALUES (:name, :organisation, :definition, :version, :created_at, :updated_at);

-- name: save_record_task
UPDATE record_tasks SET definition = :definition, version = :version, updated_at = :updated_at
WHERE name = :name AND version = :was;

-- name: delete_record_task
DELETE FROM record_tasks WHERE name = :name AND version = :was;

-- name: insert_record_errors
INSERT INTO record_errors (run_id, record_id, action, code, message, created_at)
SELECT :run_id, r.record_id, r.action, r.code, r.message, :now_ms
FROM @rows(record_id text, action bigint, code text, message text) AS r;

-- name: read_record_errors
SELECT record_id, action, code, message, created_at FROM record_errors
WHERE run_id = :run_id AND record_id > :after ORDER BY record_id LIMIT :limit;

-- name: delete_record_errors
DELETE FROM record_errors WHERE run_id IN @ids;

-- name: verify_record_errors
SELECT run_id FROM record_errors WHERE NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id);

-- name: uses_secret_record_tasks
SELECT 1 FROM record_tasks WHERE definition LIKE '%"sealed":"v1.%' LIMIT 1;

-- name: uses_secret_mail_servers
SELECT 1 FROM mail_servers WHERE password <> '' LIMIT 1;

-- name: read_mail_server
SELECT settings, password, updated_at FROM mail_servers WHERE organisation = :organisation;

-- name: save_mail_server
INSERT INTO mail_servers (organisation, settings, password, updated_at)
VALUES (:organisation, :settings, :password, :updated_at)
ON CONFLICT (organisation) DO UPDATE
SET settings = excluded.settings, password = excluded.password, updated_at = excluded.updated_at;

-- name: delete_mail_server
DELETE FROM mail_servers WHERE organisation = :organisation;
