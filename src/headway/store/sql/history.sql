-- History: events, steps and results; append, and read after a number.

-- name: insert_events
INSERT INTO events (run_id, seq, type, time, data)
SELECT r.run_id, r.seq, r.type, r.time, r.data
FROM @rows(run_id text, seq bigint, type text, time bigint, data text) AS r;

-- name: read_events
SELECT position, run_id, seq, type, time, data FROM events WHERE run_id = :run_id AND seq > :after ORDER BY seq LIMIT :limit;

-- name: read_events_of_type
SELECT position, run_id, seq, type, time, data FROM events
WHERE run_id = :run_id AND seq > :after AND type = :type ORDER BY seq LIMIT :limit;

-- name: read_feed
SELECT position, run_id, seq, type, time, data FROM events
WHERE position > :after AND position < @horizon ORDER BY position LIMIT :limit;

-- name: read_feed_of_runs
-- Only positions are sorted: whole events would all be in memory before the first is handed out.
SELECT position, run_id, seq, type, time, data FROM events
WHERE position IN (
    SELECT position FROM events WHERE position > :after AND position < @horizon AND run_id IN @ids ORDER BY position LIMIT :limit
)
ORDER BY position;

-- name: last_position
SELECT coalesce(max(position), 0) FROM events WHERE position < @horizon;

-- name: insert_steps
INSERT INTO steps (run_id, name, value, created_at)
SELECT r.run_id, r.name, r.value, r.created_at FROM @rows(run_id text, name text, value text, created_at bigint) AS r
WHERE true
ON CONFLICT (run_id, name) DO NOTHING;

-- name: read_steps
SELECT run_id, name, value, created_at FROM steps WHERE run_id IN @ids;

-- name: read_step
SELECT run_id, name, value, created_at FROM steps WHERE run_id = :run_id AND name = :name;

-- name: count_steps
-- How many steps of a run have a name that begins with a prefix and has no more # than that.
SELECT count(*) FROM steps
WHERE run_id = :run_id AND name >= :first AND name < :last AND length(name) - length(replace(name, '#', '')) = :marks;

-- name: count_all_steps
SELECT count(*) FROM steps WHERE run_id = :run_id;

-- name: last_step_named
SELECT max(name) FROM steps WHERE run_id = :run_id AND name >= :first AND name < :last;

-- name: last_step_event
SELECT seq, data FROM events WHERE run_id = :run_id AND type = 'run.step' ORDER BY seq DESC LIMIT 1;

-- name: read_child_steps
-- The children that a run has started, and how what it was told of their end begins.
SELECT s.name, s.value, substr(told.value, 1, 40)
FROM steps AS s
LEFT JOIN steps AS told ON told.run_id = s.run_id AND told.name = 'child-result:' || replace(s.value, '"', '')
WHERE s.run_id = :run_id AND s.name >= 'child:' AND s.name < 'child;';

-- name: step_of_value
SELECT name FROM steps WHERE run_id = :run_id AND value = :value LIMIT 1;

-- name: inherit_steps
-- Timeouts of waits, failures of steps and the names of other heirs are of the run that had them.
INSERT INTO steps (run_id, name, value, created_at)
SELECT :heir_id, s.name, s.value, s.created_at
FROM steps AS s
WHERE s.run_id = :run_id
AND substr(s.name, 1, 15) <> 'signal-timeout:' AND substr(s.name, 1, 13) NOT IN ('step-failure:', 'continued-by:')
AND s.name NOT IN @ids
ON CONFLICT (run_id, name) DO NOTHING;

-- name: insert_results
INSERT INTO results (run_id, number, name, value, created_at)
SELECT r.run_id, r.number, r.name, r.value, r.created_at
FROM @rows(run_id text, number bigint, name text, value text, created_at bigint) AS r;

-- name: read_results
SELECT run_id, number, name, value, created_at FROM results
WHERE run_id = :run_id AND number > :after ORDER BY number LIMIT :limit;

-- name: last_result
SELECT coalesce(max(number), 0) FROM results WHERE run_id = :run_id;

-- name: newest_result
SELECT run_id, number, name, value, created_at FROM results
WHERE run_id = :run_id ORDER BY number DESC LIMIT 1;
