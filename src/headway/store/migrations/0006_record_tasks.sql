-- Tasks without code: what they do to the records of a table; the records that failed; and where mails are handed over.

-- Beside the task's definition, under the same name. The actions are a document; what is secret in it is sealed.
CREATE TABLE record_tasks (
    name @text NOT NULL PRIMARY KEY,
    organisation @integer NOT NULL,
    definition @text NOT NULL,
    version @integer NOT NULL,
    created_at @integer NOT NULL,
    updated_at @integer NOT NULL
) @strict;
CREATE INDEX record_tasks_by_organisation ON record_tasks (organisation, name);

CREATE TABLE record_errors (
    run_id @text NOT NULL,
    record_id @text NOT NULL,
    action @integer NOT NULL,
    code @text NOT NULL,
    message @text NOT NULL,
    created_at @integer NOT NULL,
    PRIMARY KEY (run_id, record_id)
) @strict;

-- One for each organisation; the password is sealed.
CREATE TABLE mail_servers (
    organisation @integer NOT NULL PRIMARY KEY,
    settings @text NOT NULL,
    password @text NOT NULL,
    updated_at @integer NOT NULL
) @strict;
