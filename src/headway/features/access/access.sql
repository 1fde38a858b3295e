-- Who may do what: users, keys and their secrets, what was used, and the log.

-- name: read_allowances
SELECT organisation, per_minute, per_day FROM allowances;

-- name: save_allowance
INSERT INTO allowances (organisation, per_minute, per_day) VALUES (:organisation, :per_minute, :per_day)
ON CONFLICT (organisation) DO UPDATE SET per_minute = excluded.per_minute, per_day = excluded.per_day;

-- name: read_users
SELECT id, organisation, name, email, state, created_at, updated_at FROM users ORDER BY id;

-- name: save_user
INSERT INTO users (id, organisation, name, email, state, created_at, updated_at)
VALUES (:id, :organisation, :name, :email, :state, :created_at, :updated_at)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, email = excluded.email, state = excluded.state, updated_at = excluded.updated_at;

-- name: read_keys
SELECT id, organisation, user_id, name, scopes, queues, per_minute, per_day, created_at, expires_at, revoked_at,
    last_used_at
FROM keys ORDER BY created_at, id;

-- name: save_key
-- A key that was revoked stays so, and when it was used is said by `touch_keys` alone.
INSERT INTO keys (
    id, organisation, user_id, name, scopes, queues, per_minute, per_day, created_at, expires_at, revoked_at,
    last_used_at
)
VALUES (
    :id, :organisation, :user_id, :name, :scopes, :queues, :per_minute, :per_day, :created_at, :expires_at,
    :revoked_at, :last_used_at
)
ON CONFLICT (id) DO UPDATE SET
    name = excluded.name, scopes = excluded.scopes, queues = excluded.queues, per_minute = excluded.per_minute,
    per_day = excluded.per_day, expires_at = excluded.expires_at,
    revoked_at = coalesce(keys.revoked_at, excluded.revoked_at);

-- name: touch_keys
-- Servers that share the database may have seen a key at different times; the latest counts.
UPDATE keys SET last_used_at = seen.used_at
FROM @rows(id text, used_at bigint) AS seen
WHERE keys.id = seen.id AND (keys.last_used_at IS NULL OR keys.last_used_at < seen.used_at);

-- name: read_secrets
SELECT key_id, number, digest, created_at, until FROM key_secrets ORDER BY key_id, number;

-- name: insert_secrets
INSERT INTO key_secrets (key_id, number, digest, created_at, until)
SELECT s.key_id, s.number, s.digest, s.created_at, s.until
FROM @rows(key_id text, number bigint, digest text, created_at bigint, until bigint) AS s;

-- name: delete_secrets
DELETE FROM key_secrets WHERE key_id = :key_id;

-- name: read_usage
SELECT subject, period, started_at, server_id, count FROM key_usage WHERE started_at >= :since;

-- name: save_usage
INSERT INTO key_usage (subject, period, started_at, server_id, count)
SELECT u.subject, u.period, u.started_at, u.server_id, u.count
FROM @rows(subject text, period bigint, started_at bigint, server_id text, count bigint) AS u
WHERE true
ON CONFLICT (subject, period, started_at, server_id) DO UPDATE SET count = excluded.count;

-- name: delete_usage
DELETE FROM key_usage WHERE started_at < :before;

-- name: read_audit
-- Of one organisation, or of all.
SELECT number, time, organisation, actor, key_id, ip, agent, action, object, outcome, request_id, hash
FROM audit_events
WHERE number > :after AND (organisation = :organisation OR :organisation = 0) AND (action = :action OR :action = '')
ORDER BY number LIMIT :limit;

-- name: insert_audit
INSERT INTO audit_events (
    number, time, organisation, actor, key_id, ip, agent, action, object, outcome, request_id, hash
)
SELECT a.number, a.time, a.organisation, a.actor, a.key_id, a.ip, a.agent, a.action, a.object, a.outcome, a.request_id,
    a.hash
FROM @rows(
    number bigint, time bigint, organisation bigint, actor text, key_id text, ip text, agent text, action text,
    object text, outcome text, request_id text, hash text
) AS a;

-- name: verify_audit
SELECT number, time, organisation, actor, key_id, ip, agent, action, object, outcome, request_id, hash
FROM audit_events ORDER BY number;

-- name: read_audit_line
SELECT 1 FROM audit_events WHERE number = :number AND hash = :hash;

-- name: verify_audit_head
SELECT value FROM store WHERE name = 'audit';

-- name: verify_audited
-- Keys, users and organisations whose making does not stand in the log; organisations that are older than the log are left out.
SELECT 'key', id FROM keys WHERE id NOT IN (SELECT object FROM audit_events WHERE action = 'key.create')
UNION ALL
SELECT 'user', id FROM users WHERE id NOT IN (SELECT object FROM audit_events WHERE action = 'user.create')
UNION ALL
SELECT 'organisation', public_id FROM organisations
WHERE created_at >= (SELECT applied_at FROM migrations WHERE number = 3) AND id > 1
  AND public_id NOT IN (SELECT object FROM audit_events WHERE action = 'organisation.create');

-- name: verify_audit_changes
-- How many lines tell of changes of keys, users and organisations: one for each change.
SELECT count(*) FROM audit_events
WHERE outcome = 'done' AND action IN (
    'key.create', 'key.change', 'key.revoke', 'key.rotate', 'user.create', 'user.change', 'organisation.create',
    'organisation.change'
);

-- name: verify_keys
-- Keys, users and secrets of what is not there.
SELECT 'key', keys.id FROM keys
WHERE NOT EXISTS (SELECT 1 FROM organisations WHERE organisations.id = keys.organisation)
   OR (user_id IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM users WHERE users.id = keys.user_id AND users.organisation = keys.organisation
   ))
UNION ALL
SELECT 'user', users.id FROM users
WHERE NOT EXISTS (SELECT 1 FROM organisations WHERE organisations.id = users.organisation)
UNION ALL
SELECT 'secret', key_id FROM key_secrets WHERE NOT EXISTS (SELECT 1 FROM keys WHERE keys.id = key_id);

-- name: uses_secret_keys
SELECT 1 FROM keys LIMIT 1;
