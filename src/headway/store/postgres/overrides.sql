-- Statements that PostgreSQL has to be told in another way than SQLite.

-- name: load_runs
-- Locked in one order, so that two servers do not wait for each other.
SELECT @run_columns FROM runs WHERE id IN @ids ORDER BY id FOR UPDATE;

-- name: find_ready
SELECT @run_columns(runs)
FROM @rows(queue text, task text) AS lane
CROSS JOIN LATERAL (
    SELECT * FROM runs
    WHERE state = 'queued' AND parked_until IS NULL AND queue = lane.queue AND task = lane.task
    ORDER BY priority DESC, run_at, id
    LIMIT :each
    FOR UPDATE SKIP LOCKED
) AS runs
ORDER BY runs.priority DESC, runs.run_at, runs.id
LIMIT :limit;

-- name: find_unscathed
SELECT @run_columns(runs)
FROM @rows(queue text, task text) AS lane
CROSS JOIN LATERAL (
    SELECT * FROM runs
    WHERE state = 'queued' AND parked_until IS NULL AND queue = lane.queue AND task = lane.task AND crashes = 0
    ORDER BY priority DESC, run_at, id
    LIMIT :each
    FOR UPDATE SKIP LOCKED
) AS runs
ORDER BY runs.priority DESC, runs.run_at, runs.id
LIMIT :limit;

-- name: insert_events
-- A position tells in which transaction the event was added, and which of that transaction it is.
-- Its first is asked for once, in a subquery: in the list of columns it would be made anew for every event.
INSERT INTO events (position, run_id, seq, type, time, data)
SELECT
    (SELECT @first_position) + :first::bigint + r.number,
    r.value ->> 0, (r.value ->> 1)::bigint, r.value ->> 2, (r.value ->> 3)::bigint, r.value ->> 4
FROM jsonb_array_elements(:rows::jsonb) WITH ORDINALITY AS r(value, number);

-- name: place_is_held
SELECT NOT pg_try_advisory_xact_lock(hashtextextended(:id, 0));
