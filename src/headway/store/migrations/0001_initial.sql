-- The schema: runs and their history, the definitions and limits they obey, and what makes requests repeatable.
-- The CHECKs repeat what kernel/lifecycle.py promises, so that no statement can break it.

CREATE TABLE runs (
    id @text NOT NULL PRIMARY KEY,
    task @text NOT NULL,
    task_version @text NOT NULL,
    name @text NOT NULL,
    state @text NOT NULL CHECK (
        state IN ('scheduled', 'queued', 'running', 'suspended', 'stopping', 'succeeded', 'failed', 'terminated')
    ),
    queue @text NOT NULL,
    priority @integer NOT NULL CHECK (priority BETWEEN 0 AND 10),
    key @text,
    attempt @integer NOT NULL CHECK (attempt >= 0),
    max_attempts @integer NOT NULL,
    crashes @integer NOT NULL,
    epoch @integer NOT NULL CHECK (epoch >= attempt),
    worker_id @text,
    input @text NOT NULL,
    output @text,
    error @text,
    reason @text,
    labels @text NOT NULL,
    blocked_on @text NOT NULL,
    progress_done @integer NOT NULL,
    progress_total @integer,
    progress_message @text NOT NULL,
    progress_rate @real,
    progress_at @integer,
    run_type @text NOT NULL,
    parent_id @text,
    root_id @text NOT NULL,
    previous_id @text,
    schedule_id @text,
    protected @integer NOT NULL CHECK (protected IN (0, 1)),
    created_at @integer NOT NULL,
    run_at @integer NOT NULL,
    started_at @integer,
    finished_at @integer,
    expires_at @integer,
    keep_ms @integer,
    deadline_at @integer,
    parked_until @integer,
    updated_at @integer NOT NULL,
    seq @integer NOT NULL,
    version @integer NOT NULL,
    CHECK ((state IN ('running', 'stopping')) = (worker_id IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'terminated')) = (finished_at IS NOT NULL)),
    CHECK (expires_at IS NULL OR finished_at IS NOT NULL),
    CHECK (parked_until IS NULL OR state = 'queued')
) @strict;

-- What a claim reads: the ready runs of a lane (queue and task), best first.
CREATE INDEX runs_ready ON runs (queue, task, priority DESC, run_at, id) WHERE state = 'queued' AND parked_until IS NULL;
-- What waits for a slot of its key, best first in each queue, and what waits for a moment.
CREATE INDEX runs_parked ON runs (task, key, queue, priority DESC, run_at, id) WHERE parked_until IS NOT NULL;
CREATE INDEX runs_parked_until ON runs (parked_until) WHERE parked_until IS NOT NULL;
-- What the loops read.
CREATE INDEX runs_due ON runs (run_at) WHERE state = 'scheduled';
CREATE INDEX runs_deadline ON runs (deadline_at) WHERE deadline_at IS NOT NULL;
CREATE INDEX runs_expiry ON runs (expires_at) WHERE expires_at IS NOT NULL AND protected = 0;
-- The live leases: of a worker, and of a limit.
CREATE INDEX runs_leased ON runs (worker_id, task, key) WHERE worker_id IS NOT NULL;
-- The lists, newest first by id (ids sort by time).
CREATE INDEX runs_by_state ON runs (state, id);
CREATE INDEX runs_by_task ON runs (task, id);
CREATE INDEX runs_by_queue ON runs (queue, id);
CREATE INDEX runs_by_parent ON runs (parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_by_root ON runs (root_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_by_key ON runs (key, id) WHERE key IS NOT NULL;
-- The lists in order of the end: of each final state by itself, as that is what is asked together with it.
CREATE INDEX runs_by_end ON runs (state, finished_at, id) WHERE finished_at IS NOT NULL;

CREATE TABLE run_labels (
    name @text NOT NULL,
    value @text NOT NULL,
    run_id @text NOT NULL,
    PRIMARY KEY (name, value, run_id)
) @strict;
CREATE INDEX run_labels_by_run ON run_labels (run_id);

CREATE TABLE events (
    position @serial,
    run_id @text NOT NULL,
    seq @integer NOT NULL CHECK (seq > 0),
    type @text NOT NULL,
    time @integer NOT NULL,
    data @text NOT NULL
) @strict;
CREATE UNIQUE INDEX events_by_run ON events (run_id, seq);

CREATE TABLE steps (
    run_id @text NOT NULL,
    name @text NOT NULL,
    value @text NOT NULL,
    created_at @integer NOT NULL,
    PRIMARY KEY (run_id, name)
) @strict;

CREATE TABLE results (
    run_id @text NOT NULL,
    number @integer NOT NULL,
    name @text NOT NULL,
    value @text NOT NULL,
    created_at @integer NOT NULL,
    PRIMARY KEY (run_id, number)
) @strict;

CREATE TABLE tombstones (
    run_id @text NOT NULL PRIMARY KEY,
    removed_at @integer NOT NULL,
    policy @text NOT NULL
) @strict;
CREATE INDEX tombstones_by_time ON tombstones (removed_at);

-- Families that are being stopped, in more than one transaction: whose children are still to be asked, and from which on.
CREATE TABLE cascades (
    run_id @text NOT NULL PRIMARY KEY,
    after @text NOT NULL,
    reason @text NOT NULL,
    grace_ms @integer
) @strict;

-- Definitions are documents: the columns are what statements need, the rest is in the JSON.
CREATE TABLE tasks (
    name @text NOT NULL PRIMARY KEY,
    definition @text NOT NULL,
    updated_at @integer NOT NULL
) @strict;

CREATE TABLE queues (
    name @text NOT NULL PRIMARY KEY,
    paused @integer NOT NULL CHECK (paused IN (0, 1)),
    concurrency @integer CHECK (concurrency > 0),
    created_at @integer NOT NULL,
    updated_at @integer NOT NULL
) @strict;

CREATE TABLE workers (
    id @text NOT NULL PRIMARY KEY,
    name @text NOT NULL,
    host @text NOT NULL,
    pid @integer NOT NULL,
    version @text NOT NULL,
    queues @text NOT NULL,
    tasks @text NOT NULL,
    capacity @integer NOT NULL,
    state @text NOT NULL CHECK (state IN ('active', 'draining', 'gone')),
    created_at @integer NOT NULL,
    heard_at @integer NOT NULL,
    server_id @text
) @strict;

-- The servers that share this database. Each raises its beat; one whose beat stands still is gone. `heard_at` is for people.
CREATE TABLE servers (
    id @text NOT NULL PRIMARY KEY,
    shard @integer NOT NULL,
    host @text NOT NULL,
    pid @integer NOT NULL,
    version @text NOT NULL,
    beat @integer NOT NULL,
    created_at @integer NOT NULL,
    heard_at @integer NOT NULL
) @strict;

-- What the store says of itself.
CREATE TABLE store (
    name @text NOT NULL PRIMARY KEY,
    value @text NOT NULL
) @strict;

-- How many runs are where; kept by the transaction that moves them, never counted over the table.
-- Each server that shares the database has rows of its own (shard), so that none waits for another's commit.
CREATE TABLE counters (
    task @text NOT NULL,
    queue @text NOT NULL,
    state @text NOT NULL,
    shard @integer NOT NULL,
    count @integer NOT NULL,
    PRIMARY KEY (task, queue, state, shard)
) @strict;

-- Rate limits (GCRA): when the next start would be exactly on time.
CREATE TABLE rates (
    task @text NOT NULL,
    key @text NOT NULL,
    next_at_us @integer NOT NULL,
    PRIMARY KEY (task, key)
) @strict;

CREATE TABLE dedupes (
    task @text NOT NULL,
    key @text NOT NULL,
    run_id @text NOT NULL,
    scope @text NOT NULL,
    until @integer,
    PRIMARY KEY (task, key)
) @strict;

CREATE TABLE idempotency (
    key @text NOT NULL PRIMARY KEY,
    fingerprint @text NOT NULL,
    reply @text NOT NULL,
    expires_at @integer NOT NULL
) @strict;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
