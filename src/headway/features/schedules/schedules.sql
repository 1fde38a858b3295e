-- Schedules and their slots. Who changes a schedule has its row first, so that servers decide about it one after the other.

-- name: insert_schedule
INSERT INTO schedules (
    id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
) VALUES (
    :id, :organisation, :name, :task, :paused, :declared, :definition, :last_slot, :next_at, :created_at, :updated_at, :version
);

-- name: save_schedule
UPDATE schedules SET
    name = :name, task = :task, paused = :paused, declared = :declared, definition = :definition, last_slot = :last_slot, next_at = :next_at,
    updated_at = :updated_at, version = :version
WHERE id = :id AND version = :was;

-- name: delete_schedule
DELETE FROM schedules WHERE id = :id AND version = :was;

-- name: load_schedule
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE id = :id AND organisation = :organisation @lock;

-- name: load_schedule_named
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE organisation = :organisation AND name = :name @lock;

-- name: lock_declared_schedules
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE organisation = :organisation AND task IN @ids AND declared = 1 ORDER BY id @lock;

-- name: read_schedule
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE id = :id AND organisation = :organisation;

-- name: read_schedule_named
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE organisation = :organisation AND name = :name;

-- name: read_schedules
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE organisation = :organisation AND name > :after ORDER BY name LIMIT :limit;

-- name: read_schedules_of_task
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE organisation = :organisation AND task = :task AND name > :after ORDER BY name LIMIT :limit;

-- name: read_soonest_schedules
-- Of each of these tasks the schedule whose slot comes first; of one that has none to come, the first by name.
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE organisation = :organisation AND id IN (
    SELECT coalesce(
        (
            SELECT coming.id FROM schedules AS coming
            WHERE coming.organisation = :organisation AND coming.task = wanted.value AND coming.next_at IS NOT NULL
            ORDER BY coming.next_at, coming.name LIMIT 1
        ), (
            SELECT resting.id FROM schedules AS resting
            WHERE resting.organisation = :organisation AND resting.task = wanted.value ORDER BY resting.name LIMIT 1
        )
    ) FROM @ids AS wanted
);

-- name: next_slot_at
SELECT min(next_at) FROM schedules WHERE next_at IS NOT NULL;

-- name: find_due_schedules
-- What another server is just deciding about is left to it.
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules WHERE next_at <= :now_ms ORDER BY next_at LIMIT :limit @skip_locked(schedules);

-- name: advance_schedules
UPDATE schedules SET last_slot = r.last_slot, next_at = r.next_at
FROM @rows(id text, last_slot bigint, next_at bigint, was bigint) AS r
WHERE schedules.id = r.id AND schedules.last_slot = r.was;

-- name: insert_slots
INSERT INTO slots (schedule_id, nominal, until, outcome, why, detail, run_id, decided_at)
SELECT r.schedule_id, r.nominal, r.until, r.outcome, r.why, r.detail, r.run_id, r.decided_at
FROM @rows(
    schedule_id text, nominal bigint, until bigint, outcome text, why text, detail text, run_id text, decided_at bigint
) AS r;

-- name: fill_slots
-- Slots that made no run, or were not decided at all, get one. One that has a run keeps it.
INSERT INTO slots (schedule_id, nominal, until, outcome, why, detail, run_id, decided_at)
SELECT r.schedule_id, r.nominal, r.until, r.outcome, r.why, r.detail, r.run_id, r.decided_at
FROM @rows(
    schedule_id text, nominal bigint, until bigint, outcome text, why text, detail text, run_id text, decided_at bigint
) AS r
WHERE true
ON CONFLICT (schedule_id, nominal) DO UPDATE
SET until = excluded.until, outcome = excluded.outcome, why = excluded.why, detail = excluded.detail,
    run_id = excluded.run_id, decided_at = excluded.decided_at
WHERE slots.run_id IS NULL;

-- name: slots_within
SELECT schedule_id, nominal, until, outcome, why, detail, run_id, decided_at FROM slots
WHERE schedule_id = :schedule_id AND nominal >= :first AND nominal <= :last;

-- name: read_slots
SELECT schedule_id, nominal, until, outcome, why, detail, run_id, decided_at FROM slots
WHERE schedule_id = :schedule_id AND nominal < :before ORDER BY nominal DESC LIMIT :limit;

-- name: read_slots_of_outcome
SELECT schedule_id, nominal, until, outcome, why, detail, run_id, decided_at FROM slots
WHERE schedule_id = :schedule_id AND outcome = :outcome AND nominal < :before ORDER BY nominal DESC LIMIT :limit;

-- name: prune_slots
DELETE FROM slots WHERE (schedule_id, nominal) IN (
    SELECT schedule_id, nominal FROM slots WHERE decided_at < :before ORDER BY decided_at LIMIT :limit
);

-- name: oldest_decision
SELECT min(decided_at) FROM slots;

-- name: count_unfinished
-- Of each of these schedules how many of its runs are not finished; up to so many in all are looked at.
SELECT schedule_id, count(*) FROM runs
WHERE schedule_id IN @ids AND schedule_id IS NOT NULL AND finished_at IS NULL GROUP BY schedule_id;

-- name: lock_unfinished
-- None of these can end before this transaction does: what is decided about the one that waits for them holds.
SELECT id FROM runs WHERE schedule_id = :schedule_id AND finished_at IS NULL ORDER BY id @lock;

-- name: find_unfinished
SELECT @run_columns FROM runs WHERE schedule_id = :schedule_id AND finished_at IS NULL ORDER BY id LIMIT :limit @lock;

-- name: find_next_behind
-- Of each of these schedules the oldest run that waits for earlier ones. Two that end at once look one after the other.
SELECT @run_columns FROM runs WHERE id IN (
    SELECT (
        SELECT behind.id FROM runs AS behind
        WHERE behind.schedule_id = ended.value AND behind.finished_at IS NULL AND behind.blocked_on = :behind
        ORDER BY behind.id LIMIT 1
    ) FROM @ids AS ended
) ORDER BY id @lock;

-- name: busy_schedules
-- Those of these schedules that have an unfinished run which waits for no other of theirs.
SELECT ended.value FROM @ids AS ended WHERE EXISTS (
    SELECT 1 FROM runs
    WHERE runs.schedule_id = ended.value AND runs.finished_at IS NULL AND runs.blocked_on <> :behind
);

-- name: verify_schedules
SELECT id, organisation, name, task, paused, declared, definition, last_slot, next_at, created_at, updated_at, version
FROM schedules ORDER BY id;

-- name: verify_slots
-- A slot's run is there, or what is left of it; and no two slots have the same.
SELECT schedule_id, nominal, 'its run is not there' FROM slots
WHERE run_id IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = slots.run_id AND runs.schedule_id = slots.schedule_id)
  AND NOT EXISTS (SELECT 1 FROM tombstones WHERE tombstones.run_id = slots.run_id)
UNION ALL
SELECT min(schedule_id), min(nominal), 'its run is another slot''s too' FROM slots
WHERE run_id IS NOT NULL GROUP BY run_id HAVING count(*) > 1
UNION ALL
SELECT slots.schedule_id, slots.nominal, 'it is later than the last that was decided' FROM slots
JOIN schedules ON schedules.id = slots.schedule_id WHERE coalesce(slots.until, slots.nominal) > schedules.last_slot;

-- name: verify_behind
-- Runs that wait for earlier ones of their schedule, although there are none.
SELECT waiting.id FROM runs AS waiting
WHERE waiting.schedule_id IS NOT NULL AND waiting.finished_at IS NULL AND waiting.blocked_on = :behind
  AND NOT EXISTS (
    SELECT 1 FROM runs
    WHERE runs.schedule_id = waiting.schedule_id AND runs.finished_at IS NULL AND runs.blocked_on <> :behind
  );
