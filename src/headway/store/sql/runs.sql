-- Runs: insert, load, save, and what the loops look for. The engine decides; these carry.
-- What saves says which version it has decided on (`was`): if that is not there any more, it changes nothing.

-- name: insert_runs
-- As a run is born; what it has not lived through yet is constant.
INSERT INTO runs (
    id, task, task_version, name, state, queue, priority, key, max_attempts, input, labels, run_type, parent_id, root_id,
    previous_id, schedule_id, protected, created_at, run_at, keep_ms, organisation,
    attempt, crashes, epoch, blocked_on, progress_done, progress_message, updated_at, seq, version
)
SELECT
    r.id, r.task, r.task_version, r.name, r.state, r.queue, r.priority, r.key, r.max_attempts, r.input, r.labels,
    r.run_type, r.parent_id, r.root_id, r.previous_id, r.schedule_id, r.protected, r.created_at, r.run_at, r.keep_ms,
    r.organisation, 0, 0, 0, '[]', 0, '', r.created_at, 1, 1
FROM @rows(
    id text, task text, task_version text, name text, state text, queue text, priority bigint, key text,
    max_attempts bigint, input text, labels text, run_type text, parent_id text, root_id text, previous_id text,
    schedule_id text, protected bigint, created_at bigint, run_at bigint, keep_ms bigint, organisation bigint
) AS r;

-- name: insert_claimed
-- As a run is born when a worker already waits for it: what a claim changes is there from the start.
INSERT INTO runs (
    id, task, task_version, name, state, queue, priority, key, max_attempts, input, labels, run_type, parent_id, root_id,
    previous_id, schedule_id, protected, created_at, run_at, keep_ms, organisation, worker_id, started_at,
    deadline_at, attempt, crashes, epoch, blocked_on, progress_done, progress_message, updated_at, seq, version
)
SELECT
    r.id, r.task, r.task_version, r.name, r.state, r.queue, r.priority, r.key, r.max_attempts, r.input, r.labels,
    r.run_type, r.parent_id, r.root_id, r.previous_id, r.schedule_id, r.protected, r.created_at, r.run_at, r.keep_ms,
    r.organisation, r.worker_id, r.started_at, r.deadline_at, 1, 0, 1, '[]', 0, '', r.started_at, 2, 2
FROM @rows(
    id text, task text, task_version text, name text, state text, queue text, priority bigint, key text,
    max_attempts bigint, input text, labels text, run_type text, parent_id text, root_id text, previous_id text,
    schedule_id text, protected bigint, created_at bigint, run_at bigint, keep_ms bigint, organisation bigint,
    worker_id text, started_at bigint, deadline_at bigint
) AS r;

-- name: load_runs
SELECT @run_columns FROM runs WHERE id IN @ids @lock;

-- name: read_run
SELECT @run_columns FROM runs WHERE id = :id;

-- name: save_claimed
-- event: Claimed
-- Just what a claim changes: the hot path.
UPDATE runs SET
    state = 'running', attempt = r.attempt, epoch = r.epoch, worker_id = r.worker_id, started_at = r.started_at,
    deadline_at = r.deadline_at, updated_at = r.updated_at, seq = r.seq, version = r.version
FROM @rows(
    id text, attempt bigint, epoch bigint, worker_id text, started_at bigint, deadline_at bigint, updated_at bigint,
    seq bigint, version bigint, was bigint
) AS r
WHERE runs.id = r.id AND runs.version = r.was;

-- name: save_finished
-- Just what the end of a leased run changes: the hot path.
UPDATE runs SET
    state = r.state, output = r.output, error = r.error, reason = r.reason, crashes = r.crashes, worker_id = NULL,
    blocked_on = '[]', finished_at = r.finished_at, expires_at = r.expires_at, deadline_at = NULL,
    updated_at = r.finished_at, seq = r.seq, version = r.version
FROM @rows(
    id text, state text, output text, error text, reason text, crashes bigint, finished_at bigint, expires_at bigint,
    seq bigint, version bigint, was bigint
) AS r
WHERE runs.id = r.id AND runs.version = r.was;

-- name: save_runs
-- All that may ever change.
UPDATE runs SET
    name = r.name, state = r.state, queue = r.queue, priority = r.priority, key = r.key, attempt = r.attempt,
    max_attempts = r.max_attempts, crashes = r.crashes, epoch = r.epoch, worker_id = r.worker_id,
    input = r.input, output = r.output, error = r.error, reason = r.reason, labels = r.labels,
    blocked_on = r.blocked_on, progress_done = r.progress_done, progress_total = r.progress_total,
    progress_message = r.progress_message, progress_rate = r.progress_rate, progress_at = r.progress_at,
    protected = r.protected, run_at = r.run_at, started_at = r.started_at, finished_at = r.finished_at,
    expires_at = r.expires_at, keep_ms = r.keep_ms, deadline_at = r.deadline_at, parked_until = r.parked_until,
    updated_at = r.updated_at, seq = r.seq, version = r.version
FROM @rows(
    id text, name text, state text, queue text, priority bigint, key text, attempt bigint, max_attempts bigint,
    crashes bigint, epoch bigint, worker_id text, input text, output text, error text, reason text,
    labels text, blocked_on text, progress_done bigint, progress_total bigint, progress_message text,
    progress_rate float, progress_at bigint, protected bigint, run_at bigint, started_at bigint,
    finished_at bigint, expires_at bigint, keep_ms bigint, deadline_at bigint, parked_until bigint,
    updated_at bigint, seq bigint, version bigint, was bigint
) AS r
WHERE runs.id = r.id AND runs.version = r.was;

-- name: find_ready
-- The best ready runs of some lanes (queue, task): one index probe a lane, whatever waits behind it.
SELECT @run_columns(runs)
FROM @rows(queue text, task text) AS lane
JOIN runs ON runs.id IN (
    SELECT ready.id FROM runs AS ready @use(runs_ready)
    WHERE ready.state = 'queued' AND ready.parked_until IS NULL AND ready.queue = lane.queue AND ready.task = lane.task
    ORDER BY ready.priority DESC, ready.run_at, ready.id
    LIMIT :each
)
ORDER BY runs.priority DESC, runs.run_at, runs.id
LIMIT :limit
@skip_locked(runs);

-- name: find_unscathed
-- The same, without those that took a worker down before: they need a child process, and the worker has none to spare.
SELECT @run_columns(runs)
FROM @rows(queue text, task text) AS lane
JOIN runs ON runs.id IN (
    SELECT ready.id FROM runs AS ready @use(runs_ready)
    WHERE ready.state = 'queued' AND ready.parked_until IS NULL AND ready.queue = lane.queue AND ready.task = lane.task
      AND ready.crashes = 0
    ORDER BY ready.priority DESC, ready.run_at, ready.id
    LIMIT :each
)
ORDER BY runs.priority DESC, runs.run_at, runs.id
LIMIT :limit
@skip_locked(runs);

-- name: find_parked
-- The best runs of a queue that wait for a slot of one key.
SELECT @run_columns FROM runs
WHERE parked_until IS NOT NULL AND task = :task AND key = :key AND queue = :queue
ORDER BY priority DESC, run_at, id
LIMIT :limit
@skip_locked(runs);

-- name: find_parked_of_task
SELECT @run_columns FROM runs @use(runs_parked) WHERE parked_until IS NOT NULL AND task = :task LIMIT :limit;

-- name: find_parked_due
SELECT @run_columns FROM runs WHERE parked_until IS NOT NULL AND parked_until <= :now_ms ORDER BY parked_until LIMIT :limit @skip_locked(runs);

-- name: find_due
SELECT @run_columns FROM runs @use(runs_due) WHERE state = 'scheduled' AND run_at <= :now_ms ORDER BY run_at LIMIT :limit @skip_locked(runs);

-- name: find_overdue
-- Runs whose deadline has passed: too long an attempt, an unconfirmed stop, a wait that timed out. Of those with a worker, who
-- may have reported in time, only when it has passed before `leased_ms`.
SELECT @run_columns FROM runs
WHERE deadline_at IS NOT NULL AND deadline_at <= :now_ms AND (worker_id IS NULL OR deadline_at <= :leased_ms)
ORDER BY deadline_at LIMIT :limit @skip_locked(runs);

-- name: find_set_ahead
-- Runs that wait for the end of a duration which began before the wall clock was set back: their last change is in the future.
SELECT @run_columns FROM runs
WHERE updated_at > :now_ms AND id > :after AND (
    (state = 'scheduled' AND error IS NOT NULL) OR deadline_at IS NOT NULL OR (parked_until IS NOT NULL AND parked_until < :until)
)
ORDER BY id LIMIT :limit @lock;

-- name: find_expired
SELECT @run_columns FROM runs
WHERE expires_at IS NOT NULL AND protected = 0 AND expires_at <= :now_ms
ORDER BY expires_at LIMIT :limit @skip_locked(runs);

-- name: find_leased
SELECT @run_columns FROM runs WHERE worker_id = :worker_id LIMIT :limit @lock;

-- name: read_leases
-- What a worker holds, as the store knows it.
SELECT id, epoch, state, task FROM runs WHERE worker_id = :worker_id;

-- name: leased_workers
SELECT DISTINCT worker_id FROM runs WHERE worker_id IS NOT NULL;

-- name: live_counts
-- The slots in use, read off the live leases themselves, so that no count can leak.
SELECT task, queue, key, count(*) FROM runs @use(runs_leased) WHERE worker_id IS NOT NULL GROUP BY task, queue, key;

-- name: find_children
SELECT @run_columns FROM runs
WHERE parent_id = :parent_id AND id > :after AND state NOT IN ('succeeded', 'failed', 'terminated')
ORDER BY id LIMIT :limit;

-- name: parents_among
-- Which of some runs have children that are not finished.
SELECT DISTINCT parent_id FROM runs WHERE parent_id IN @ids AND state NOT IN ('succeeded', 'failed', 'terminated');

-- name: save_cascades
INSERT INTO cascades (run_id, after, reason, grace_ms)
SELECT r.run_id, r.after, r.reason, r.grace_ms FROM @rows(run_id text, after text, reason text, grace_ms bigint) AS r
WHERE true
ON CONFLICT (run_id) DO NOTHING;

-- name: read_cascades
SELECT run_id, after, reason, grace_ms FROM cascades ORDER BY run_id LIMIT :limit @skip_locked(cascades);

-- name: delete_cascades
DELETE FROM cascades WHERE run_id IN @ids;

-- name: next_due
-- The next moment at which a loop has something to do.
SELECT
    (SELECT min(run_at) FROM runs @use(runs_due) WHERE state = 'scheduled'),
    (SELECT min(deadline_at) FROM runs WHERE deadline_at IS NOT NULL),
    (SELECT min(parked_until) FROM runs WHERE parked_until IS NOT NULL),
    (SELECT min(expires_at) FROM runs WHERE expires_at IS NOT NULL AND protected = 0);

-- name: next_deadlines
-- The next deadline of the runs without a worker, and of those with one.
SELECT
    (SELECT min(deadline_at) FROM runs WHERE deadline_at IS NOT NULL AND worker_id IS NULL),
    (SELECT min(deadline_at) FROM runs WHERE deadline_at IS NOT NULL AND worker_id IS NOT NULL);

-- name: adopt_run
UPDATE runs SET parent_id = :parent_id, root_id = :root_id WHERE id = :id;

-- name: delete_runs
DELETE FROM runs WHERE id IN @ids;

-- name: delete_run_events
DELETE FROM events WHERE run_id IN @ids;

-- name: delete_run_steps
DELETE FROM steps WHERE run_id IN @ids;

-- name: delete_run_results
DELETE FROM results WHERE run_id IN @ids;

-- name: delete_run_labels
DELETE FROM run_labels WHERE run_id IN @ids;

-- name: insert_tombstones
INSERT INTO tombstones (run_id, removed_at, policy, organisation)
SELECT r.run_id, r.removed_at, r.policy, r.organisation
FROM @rows(run_id text, removed_at bigint, policy text, organisation bigint) AS r
WHERE true
ON CONFLICT (run_id) DO NOTHING;

-- name: read_tombstone
SELECT run_id, removed_at, policy, organisation FROM tombstones WHERE run_id = :run_id;

-- name: prune_tombstones
DELETE FROM tombstones WHERE removed_at < :before;

-- name: insert_labels
INSERT INTO run_labels (name, value, run_id)
SELECT r.name, r.value, r.run_id FROM @rows(name text, value text, run_id text) AS r
WHERE true
ON CONFLICT (name, value, run_id) DO NOTHING;

-- name: position_in_lane
-- How many ready runs of the same lane come first; counted up to a bound.
SELECT count(*) FROM (
    SELECT 1 FROM runs
    WHERE state = 'queued' AND parked_until IS NULL AND queue = :queue AND task = :task
      AND (priority > :priority OR (priority = :priority AND (run_at < :run_at OR (run_at = :run_at AND id < :id))))
    LIMIT :limit
) AS ahead;

-- name: oldest_ready
-- One probe a priority and lane: when the oldest ready run of the lane became due.
SELECT min(oldest) FROM (
    SELECT (
        SELECT ready.run_at FROM runs AS ready
        WHERE ready.state = 'queued' AND ready.parked_until IS NULL
          AND ready.queue = :queue AND ready.task = lane.task AND ready.priority = lane.priority
        ORDER BY ready.run_at LIMIT 1
    ) AS oldest
    FROM @rows(task text, priority bigint) AS lane
) AS lanes;
