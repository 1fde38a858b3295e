-- Who may do what: users, keys and their secrets, what was used, and the log of what was done with all that.

-- How often all keys of an organisation together may ask; one that is not here: any number of times.
CREATE TABLE allowances (
    organisation @integer NOT NULL PRIMARY KEY,
    per_minute @integer CHECK (per_minute > 0),
    per_day @integer CHECK (per_day > 0)
) @strict;

CREATE TABLE users (
    id @text NOT NULL PRIMARY KEY,
    organisation @integer NOT NULL,
    name @text NOT NULL,
    email @text NOT NULL,
    state @text NOT NULL CHECK (state IN ('active', 'disabled')),
    created_at @integer NOT NULL,
    updated_at @integer NOT NULL
) @strict;
CREATE INDEX users_by_organisation ON users (organisation, id);

-- A key is never removed: as long as one is known here, nobody gets in without one.
CREATE TABLE keys (
    id @text NOT NULL PRIMARY KEY,
    organisation @integer NOT NULL,
    user_id @text,
    name @text NOT NULL,
    scopes @text NOT NULL,
    queues @text,
    per_minute @integer CHECK (per_minute > 0),
    per_day @integer CHECK (per_day > 0),
    created_at @integer NOT NULL,
    expires_at @integer,
    revoked_at @integer,
    last_used_at @integer
) @strict;
CREATE INDEX keys_by_organisation ON keys (organisation, created_at, id);

-- The secrets themselves are nowhere: a digest cannot be made without the secret of the store.
CREATE TABLE key_secrets (
    key_id @text NOT NULL,
    number @integer NOT NULL CHECK (number > 0),
    digest @text NOT NULL,
    created_at @integer NOT NULL,
    until @integer,
    PRIMARY KEY (key_id, number)
) @strict;

-- How often a key or an organisation has asked, of each server that counted.
CREATE TABLE key_usage (
    subject @text NOT NULL,
    period @integer NOT NULL,
    started_at @integer NOT NULL,
    server_id @text NOT NULL,
    count @integer NOT NULL,
    PRIMARY KEY (subject, period, started_at, server_id)
) @strict;
CREATE INDEX key_usage_by_time ON key_usage (started_at);

-- Each line has the hash of itself and of the line before. The last one also stands in `store`, under the name `audit`.
CREATE TABLE audit_events (
    number @integer NOT NULL PRIMARY KEY,
    time @integer NOT NULL,
    organisation @integer NOT NULL,
    actor @text NOT NULL,
    key_id @text NOT NULL,
    ip @text NOT NULL,
    agent @text NOT NULL,
    action @text NOT NULL,
    object @text NOT NULL,
    outcome @text NOT NULL,
    request_id @text NOT NULL,
    hash @text NOT NULL
) @strict;
CREATE INDEX audit_events_by_organisation ON audit_events (organisation, number);
