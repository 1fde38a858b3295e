-- The schema: runs and their history, the definitions and limits they obey, and what makes requests repeatable.
-- The CHECKs repeat what engine/lifecycle.py promises, so that no statement can break it.

CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    task TEXT NOT NULL,
    task_version TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (
        state IN ('scheduled', 'queued', 'running', 'suspended', 'stopping', 'succeeded', 'failed', 'terminated')
    ),
    queue TEXT NOT NULL,
    priority INTEGER NOT NULL CHECK (priority BETWEEN 0 AND 10),
    key TEXT,
    attempt INTEGER NOT NULL CHECK (attempt >= 0),
    max_attempts INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    epoch INTEGER NOT NULL CHECK (epoch >= attempt),
    worker_id TEXT,
    input TEXT NOT NULL,
    output TEXT,
    error TEXT,
    reason TEXT,
    labels TEXT NOT NULL,
    blocked_on TEXT NOT NULL,
    progress_done INTEGER NOT NULL,
    progress_total INTEGER,
    progress_message TEXT NOT NULL,
    progress_rate REAL,
    progress_at INTEGER,
    run_type TEXT NOT NULL,
    parent_id TEXT,
    root_id TEXT NOT NULL,
    previous_id TEXT,
    schedule_id TEXT,
    protected INTEGER NOT NULL CHECK (protected IN (0, 1)),
    created_at INTEGER NOT NULL,
    run_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    expires_at INTEGER,
    keep_ms INTEGER,
    deadline_at INTEGER,
    parked_until INTEGER,
    updated_at INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    version INTEGER NOT NULL,
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
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (name, value, run_id)
) @strict;
CREATE INDEX run_labels_by_run ON run_labels (run_id);

CREATE TABLE events (
    position @serial,
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    type TEXT NOT NULL,
    time INTEGER NOT NULL,
    data TEXT NOT NULL
) @strict;
CREATE UNIQUE INDEX events_by_run ON events (run_id, seq);

CREATE TABLE steps (
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, name)
) @strict;

CREATE TABLE results (
    run_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (run_id, number)
) @strict;

CREATE TABLE tombstones (
    run_id TEXT NOT NULL PRIMARY KEY,
    removed_at INTEGER NOT NULL,
    policy TEXT NOT NULL
) @strict;
CREATE INDEX tombstones_by_time ON tombstones (removed_at);

-- Families that are being stopped, in more than one transaction: whose children are still to be asked, and from which on.
CREATE TABLE cascades (
    run_id TEXT NOT NULL PRIMARY KEY,
    after TEXT NOT NULL,
    reason TEXT NOT NULL,
    grace_ms INTEGER
) @strict;

-- Definitions are documents: the columns are what statements need, the rest is in the JSON.
CREATE TABLE tasks (
    name TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) @strict;

CREATE TABLE queues (
    name TEXT NOT NULL PRIMARY KEY,
    paused INTEGER NOT NULL CHECK (paused IN (0, 1)),
    concurrency INTEGER CHECK (concurrency > 0),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) @strict;

CREATE TABLE workers (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    version TEXT NOT NULL,
    queues TEXT NOT NULL,
    tasks TEXT NOT NULL,
    capacity INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'draining', 'gone')),
    created_at INTEGER NOT NULL,
    heard_at INTEGER NOT NULL
) @strict;

-- How many runs are where; kept by the transaction that moves them, never counted over the table.
CREATE TABLE counters (
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    state TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (task, queue, state)
) @strict;

-- Rate limits (GCRA): when the next start would be exactly on time.
CREATE TABLE rates (
    task TEXT NOT NULL,
    key TEXT NOT NULL,
    next_at_us INTEGER NOT NULL,
    PRIMARY KEY (task, key)
) @strict;

CREATE TABLE dedupes (
    task TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    scope TEXT NOT NULL,
    until INTEGER,
    PRIMARY KEY (task, key)
) @strict;

CREATE TABLE idempotency (
    key TEXT NOT NULL PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    reply TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) @strict;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);
