-- Tables of records: what fields there are, what the records have, what can be found by value; and files on their way in or out.

-- A definition is a document: the columns are what statements need, the rest is in the JSON.
CREATE TABLE tables (
    number @integer NOT NULL PRIMARY KEY,
    id @text NOT NULL UNIQUE,
    organisation @integer NOT NULL DEFAULT 1,
    name @text NOT NULL,
    definition @text NOT NULL,
    count @integer NOT NULL CHECK (count >= 0),
    version @integer NOT NULL,
    created_at @integer NOT NULL,
    updated_at @integer NOT NULL,
    UNIQUE (organisation, name)
) @strict;

-- The values of a record are one JSON object, by id of the field; a blank is not in it.
CREATE TABLE records (
    table_number @integer NOT NULL,
    id @text NOT NULL,
    version @integer NOT NULL CHECK (version > 0),
    data @text NOT NULL,
    created_at @integer NOT NULL,
    updated_at @integer NOT NULL,
    PRIMARY KEY (table_number, id)
) @strict;

-- The index: a row for each value of a field that is indexed, unique, or a connection. In order of `value`, its key.
CREATE TABLE record_values (
    table_number @integer NOT NULL,
    field @text NOT NULL,
    value @text NOT NULL,
    record_id @text NOT NULL,
    is_unique @integer NOT NULL CHECK (is_unique IN (0, 1)),
    PRIMARY KEY (table_number, field, value, record_id)
) @strict;
CREATE UNIQUE INDEX record_values_unique ON record_values (table_number, field, value) WHERE is_unique = 1;

-- What is left of tables ('' for the field) and of fields that were deleted, until a loop has removed it.
CREATE TABLE table_remains (
    table_number @integer NOT NULL,
    field @text NOT NULL,
    PRIMARY KEY (table_number, field)
) @strict;

-- Files: uploaded to be imported, or exported to be downloaded. In the database, since any server may have to read them.
CREATE TABLE files (
    id @text NOT NULL PRIMARY KEY,
    organisation @integer NOT NULL DEFAULT 1,
    name @text NOT NULL,
    kind @text NOT NULL,
    run_id @text,
    bytes @integer NOT NULL,
    chunks @integer NOT NULL,
    sha256 @text,
    created_at @integer NOT NULL,
    expires_at @integer NOT NULL
) @strict;
CREATE INDEX files_by_organisation ON files (organisation, id);
CREATE INDEX files_expiry ON files (expires_at);

-- Their bytes in base64: a store keeps text.
CREATE TABLE file_chunks (
    file_id @text NOT NULL,
    number @integer NOT NULL,
    start @integer NOT NULL,
    content @text NOT NULL,
    PRIMARY KEY (file_id, number)
) @strict;
