-- Schedules, and what became of each of their slots.

-- A schedule is a document: the columns are what statements need, the rest is in the JSON.
CREATE TABLE schedules (
    id @text NOT NULL PRIMARY KEY,
    organisation @integer NOT NULL DEFAULT 1,
    name @text NOT NULL,
    task @text NOT NULL,
    paused @integer NOT NULL CHECK (paused IN (0, 1)),
    declared @integer NOT NULL CHECK (declared IN (0, 1)),
    definition @text NOT NULL,
    last_slot @integer NOT NULL,
    next_at @integer CHECK (next_at > last_slot),
    created_at @integer NOT NULL,
    updated_at @integer NOT NULL,
    version @integer NOT NULL,
    CHECK (paused = 0 OR next_at IS NULL)
) @strict;
CREATE UNIQUE INDEX schedules_by_name ON schedules (organisation, name);
CREATE INDEX schedules_by_task ON schedules (organisation, task, name);
-- When a task runs next.
CREATE INDEX schedules_soonest ON schedules (organisation, task, next_at, name) WHERE next_at IS NOT NULL;
-- What a worker's registration is held against.
CREATE INDEX schedules_declared ON schedules (organisation, task) WHERE declared = 1;
-- What the scheduler reads.
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at IS NOT NULL;

-- The key is the promise: a slot of a schedule has one row, and so at most one run.
CREATE TABLE slots (
    schedule_id @text NOT NULL,
    nominal @integer NOT NULL,
    until @integer CHECK (until >= nominal),
    outcome @text NOT NULL CHECK (outcome IN ('ran', 'skipped', 'missed')),
    why @text NOT NULL,
    detail @text NOT NULL,
    run_id @text,
    decided_at @integer NOT NULL,
    PRIMARY KEY (schedule_id, nominal),
    CHECK ((outcome = 'ran') = (run_id IS NOT NULL))
) @strict;
CREATE INDEX slots_by_outcome ON slots (schedule_id, outcome, nominal);
CREATE INDEX slots_by_decision ON slots (decided_at);

-- The unfinished runs of a schedule: what its overlap policy looks at.
CREATE INDEX runs_of_schedule ON runs (schedule_id, id) WHERE schedule_id IS NOT NULL AND finished_at IS NULL;
