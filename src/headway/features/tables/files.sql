-- Files, in chunks: written one after the other, read in order.

-- name: insert_file
INSERT INTO files (id, organisation, name, kind, run_id, bytes, chunks, sha256, created_at, expires_at)
VALUES (:id, :organisation, :name, :kind, :run_id, 0, 0, NULL, :created_at, :expires_at);

-- name: insert_file_chunk
INSERT INTO file_chunks (file_id, number, start, content) VALUES (:file_id, :number, :start, :content);

-- name: grow_file
-- Guarded by number and offset: only the next chunk fits.
UPDATE files SET bytes = bytes + :bytes, chunks = chunks + 1 WHERE id = :id AND chunks = :number AND bytes = :start;

-- name: finish_file
UPDATE files SET sha256 = :sha256, expires_at = :expires_at WHERE id = :id;

-- name: find_file
SELECT id, organisation, name, kind, run_id, bytes, chunks, sha256, created_at, expires_at FROM files
WHERE id = :id AND organisation = :organisation;

-- name: read_files
SELECT id, organisation, name, kind, run_id, bytes, chunks, sha256, created_at, expires_at FROM files
WHERE organisation = :organisation ORDER BY id DESC LIMIT :limit;

-- name: read_file_chunks
-- From the chunk with an offset on.
SELECT number, start, content FROM file_chunks
WHERE file_id = :file_id AND number >= (
    SELECT coalesce(max(number), 0) FROM file_chunks WHERE file_id = :file_id AND start <= :start
)
ORDER BY number LIMIT :limit;

-- name: expired_files
SELECT id FROM files WHERE expires_at <= :now_ms ORDER BY expires_at LIMIT 1;

-- name: delete_file_chunks
DELETE FROM file_chunks WHERE file_id = :file_id AND number IN (
    SELECT number FROM file_chunks WHERE file_id = :file_id ORDER BY number LIMIT :limit
)
RETURNING 1;

-- name: expire_file
UPDATE files SET expires_at = 0, sha256 = NULL WHERE id = :id AND organisation = :organisation;

-- name: delete_file
DELETE FROM files WHERE id = :id;
