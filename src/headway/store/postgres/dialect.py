"""Spelling of the macros in PostgreSQL.

Of the features used, these are the ones that a database which only speaks PostgreSQL's protocol may lack: `FOR UPDATE …
SKIP LOCKED`, `LATERAL`, `jsonb_array_elements … WITH ORDINALITY`, partial indexes, `pg_current_xact_id` and
`pg_snapshot_xmin`. `LISTEN` and `NOTIFY` only make things faster.
"""

from __future__ import annotations

import re
from typing import Final

from headway.store.statements import Dialect

_BIND: Final = re.compile(r"(?<![:\w]):([a-z_0-9]+)")

BASE: Final = "current_setting('headway.position_base')::bigint"
"""Added to every position; see `position`."""
EVENTS_BITS: Final = 16
"""A transaction adds fewer than 2^16 events."""


def position(transaction: str) -> str:
    """Return the position of a transaction's first event.

    Positions must be read in the order in which they become visible, which a sequence does not give: transactions commit
    in another order than they begin. So a position is made of the transaction's number, and the feed is read up to the
    oldest transaction that is still under way. A database that was restored elsewhere counts its transactions anew; the
    base lifts them above what is there.
    """
    return f"({BASE} + ({transaction}::text::bigint << {EVENTS_BITS}))"


def _rows(columns: list[tuple[str, str]]) -> str:
    picked = ", ".join(f"(value ->> {index})::{kind} AS {name}" for index, (name, kind) in enumerate(columns))
    return f"(SELECT {picked} FROM jsonb_array_elements(:rows::jsonb))"  # noqa: S608 - names from our own .sql files


def _binds(sql: str) -> str:
    return _BIND.sub(r"%(\1)s", sql.replace("%", "%%"))


POSTGRES = Dialect(
    name="postgres",
    rows=_rows,
    # The planner takes a list in JSON for a hundred texts and an array for ten, and at ten it keeps to indexes.
    ids="(SELECT unnest(ARRAY(SELECT jsonb_array_elements_text(:ids::jsonb))) AS value)",
    words={
        "lock": "FOR UPDATE",
        "skip_locked": "FOR UPDATE OF {} SKIP LOCKED",
        "use": "",  # it has statistics
        "beside": "{}",  # as above
        "pairs": "jsonb_each_text({}::jsonb)",
        "horizon": position("pg_snapshot_xmin(pg_current_snapshot())"),
        "first_position": position("pg_current_xact_id()"),
        "text": 'TEXT COLLATE "C"',
        "integer": "BIGINT",
        "real": "DOUBLE PRECISION",
        "serial": "BIGINT PRIMARY KEY",
        "strict": "",
        "text_at": "(data::json ->> '{}') COLLATE \"C\"",
        "number_at": "(data::json ->> '{}')::double precision",
        "flag_at": "(data::json ->> '{}')::boolean::int",
        "items_at": "(SELECT json_array_elements_text(data::json -> '{}') COLLATE \"C\" AS value)",
        "patched": "jsonb_strip_nulls(data::jsonb || :patch::jsonb)::text",
        "patched_before": "jsonb_strip_nulls(data::jsonb || :patch::jsonb) = data::jsonb",
        "found_in": "strpos({}, {}) > 0",
        # A new version of a row is a new entry in each of its indexes.
        "unleased": "WHERE worker_id IS NULL",
    },
    walk="({} {} LIMIT :limit)",  # of what is put together, only what is in order and limited by itself is merged
    apart=True,
    few="CROSS JOIN LATERAL ({}) AS few",
    among="= ANY(ARRAY({}))",  # a probe for each: joined, the ids of others that came since would be walked as well
    binds=_binds,
    overrides=("postgres/overrides.sql",),
)
