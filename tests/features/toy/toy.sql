-- name: toy_count
INSERT INTO toy_tallies (task, ended) VALUES (:task, 1) ON CONFLICT (task) DO UPDATE SET ended = toy_tallies.ended + 1;

-- name: toy_read
SELECT task, ended FROM toy_tallies ORDER BY task;

-- name: toy_forget
DELETE FROM toy_tallies;
