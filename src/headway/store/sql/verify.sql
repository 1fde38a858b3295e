-- What `doctor --verify` reads: whole tables, row by row; each of these but the first two returns what is wrong.

-- name: verify_runs
SELECT id, state, epoch, seq FROM runs ORDER BY id;

-- name: verify_events
-- Histories in order of run and number; of states, also the line itself.
SELECT run_id, seq, type, CASE WHEN type = 'run.state' THEN data END FROM events ORDER BY run_id, seq;

-- name: verify_counters
SELECT task, queue, state, sum(kept), sum(found) FROM (
    SELECT task, queue, state, count AS kept, 0 AS found FROM counters
    UNION ALL
    SELECT task, queue, state, 0, count(*) FROM runs GROUP BY task, queue, state
) AS both_sides
GROUP BY task, queue, state HAVING sum(kept) <> sum(found);

-- name: verify_labels
-- The rows that lists filter by, against the document that the run shows.
SELECT run_labels.run_id, 'row', run_labels.name FROM run_labels JOIN runs ON runs.id = run_labels.run_id
WHERE NOT EXISTS (
    SELECT 1 FROM @pairs(runs.labels) AS label
    WHERE run_labels.name = CASE WHEN organisation = 1 THEN '' ELSE CAST(organisation AS text) || CAST(:mark AS text) END || label.key
      AND label.value = run_labels.value
)
UNION ALL
SELECT runs.id, 'document', label.key FROM runs, @pairs(runs.labels) AS label
WHERE runs.labels <> '{}' AND NOT EXISTS (
    SELECT 1 FROM run_labels
    WHERE name = CASE WHEN organisation = 1 THEN '' ELSE CAST(organisation AS text) || CAST(:mark AS text) END || label.key
      AND value = label.value AND run_id = runs.id
);

-- name: verify_organisations
-- Everything of a run is its organisation's, and that is there.
SELECT id, 'organisation' FROM runs WHERE organisation NOT IN (SELECT id FROM organisations)
UNION ALL
SELECT id, 'queue' FROM runs
WHERE CASE
    WHEN organisation = 1 THEN replace(queue, CAST(:mark AS text), '') <> queue
    ELSE substr(queue, 1, length(CAST(organisation AS text)) + 1) <> CAST(organisation AS text) || CAST(:mark AS text)
END
UNION ALL
SELECT runs.id, 'parent' FROM runs JOIN runs AS parent ON parent.id = runs.parent_id
WHERE parent.organisation <> runs.organisation;

-- name: verify_orphans
-- What belongs to runs that are not there. (Events without a run are found when histories are read.)
SELECT 'step', run_id FROM steps WHERE NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)
UNION ALL
SELECT 'result', run_id FROM results WHERE NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)
UNION ALL
SELECT 'label', run_id FROM run_labels WHERE NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)
UNION ALL
SELECT 'tombstone of a live run', run_id FROM tombstones WHERE EXISTS (SELECT 1 FROM runs WHERE id = run_id)
UNION ALL
SELECT 'dedupe key', run_id FROM dedupes
WHERE scope = 'active'
  AND NOT EXISTS (SELECT 1 FROM runs WHERE id = run_id)
  AND NOT EXISTS (SELECT 1 FROM tombstones WHERE tombstones.run_id = dedupes.run_id);

-- name: verify_results
SELECT run_id, count(*), max(number) FROM results GROUP BY run_id HAVING count(*) <> max(number) OR min(number) <> 1;

-- name: verify_leases
-- A lease lives and dies with its worker's session; one of nobody would be held for ever.
SELECT id, worker_id FROM runs
WHERE worker_id IS NOT NULL AND NOT EXISTS (SELECT 1 FROM workers WHERE workers.id = worker_id AND workers.state <> 'gone');

-- name: verify_parked
-- Runs that wait for a slot of their key, although none is taken and none of their queue goes first.
SELECT task, key, queue FROM (SELECT DISTINCT task, key, queue FROM runs WHERE parked_until = :parked) AS waiting
WHERE NOT EXISTS (
    SELECT 1 FROM runs WHERE worker_id IS NOT NULL AND runs.task = waiting.task AND runs.key = waiting.key
) AND NOT EXISTS (
    SELECT 1 FROM runs
    WHERE state = 'queued' AND (parked_until IS NULL OR parked_until <> :parked)
      AND runs.task = waiting.task AND runs.key = waiting.key AND runs.queue = waiting.queue
);
