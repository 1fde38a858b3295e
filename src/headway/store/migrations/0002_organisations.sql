-- Organisations that share a store. What is there already is the first one's, which is made when the store is opened.
-- Names (of tasks, queues, keys) are kept with the organisation in them, so most tables need no column.

CREATE TABLE organisations (
    id @integer NOT NULL PRIMARY KEY,
    public_id @text NOT NULL UNIQUE,
    name @text NOT NULL,
    zone @text NOT NULL,
    created_at @integer NOT NULL,
    state @text NOT NULL CHECK (state IN ('active', 'disabled'))
) @strict;

ALTER TABLE runs ADD COLUMN organisation @integer NOT NULL DEFAULT 1;
ALTER TABLE tombstones ADD COLUMN organisation @integer NOT NULL DEFAULT 1;
ALTER TABLE workers ADD COLUMN organisation @integer NOT NULL DEFAULT 1;

-- The lists are those of an organisation: their indexes begin with it.
DROP INDEX runs_by_state;
DROP INDEX runs_by_task;
DROP INDEX runs_by_queue;
DROP INDEX runs_by_key;
DROP INDEX runs_by_end;
CREATE INDEX runs_by_state ON runs (organisation, state, id) @unleased;
CREATE INDEX runs_by_task ON runs (organisation, task, id) @unleased;
CREATE INDEX runs_by_queue ON runs (organisation, queue, id) @unleased;
CREATE INDEX runs_by_key ON runs (organisation, key, id) WHERE key IS NOT NULL;
CREATE INDEX runs_by_end ON runs (organisation, state, finished_at, id) WHERE finished_at IS NOT NULL;

-- A family is one organisation's; whose, the lists need not look up run by run.
DROP INDEX runs_by_parent;
DROP INDEX runs_by_root;
CREATE INDEX runs_by_parent ON runs (parent_id, id, organisation) WHERE parent_id IS NOT NULL;
CREATE INDEX runs_by_root ON runs (root_id, id, organisation) WHERE parent_id IS NOT NULL;
