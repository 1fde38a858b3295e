-- Organisations: who shares the store, and whose runs those of the feed are.

-- name: first_organisation
-- The one that every store begins with; whoever opens it first makes it.
INSERT INTO organisations (id, public_id, name, zone, created_at, state)
VALUES (:id, :public_id, :name, :zone, :created_at, :state)
ON CONFLICT DO NOTHING;

-- name: save_organisation
INSERT INTO organisations (id, public_id, name, zone, created_at, state)
VALUES (:id, :public_id, :name, :zone, :created_at, :state)
ON CONFLICT (id) DO UPDATE SET name = excluded.name, zone = excluded.zone, state = excluded.state;

-- name: read_organisations
SELECT id, public_id, name, zone, created_at, state FROM organisations ORDER BY id;

-- name: owners_of
SELECT id, organisation FROM runs WHERE id IN @ids;
