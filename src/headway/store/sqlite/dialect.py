"""Spelling of the macros in SQLite."""

from __future__ import annotations

from headway.store.statements import Dialect


def _rows(columns: list[tuple[str, str]]) -> str:
    picked = ", ".join(f"value ->> {index} AS {name}" for index, (name, _) in enumerate(columns))
    # jsonb_each keeps each row parsed, where json_each would parse its text again for every column.
    return f"(SELECT {picked} FROM jsonb_each(:rows))"  # noqa: S608 - names from our own .sql files


SQLITE = Dialect(
    name="sqlite",
    rows=_rows,
    ids="(SELECT value FROM json_each(:ids))",
    words={
        "lock": "",  # there is one writer
        "skip_locked": "",
        "use": "INDEXED BY {}",  # without statistics it would take an index on state and sort
        "beside": "+{}",
        "pairs": "json_each({})",
        "horizon": "9223372036854775807",
        "text": "TEXT",
        "integer": "INTEGER",
        "real": "REAL",
        "serial": "INTEGER PRIMARY KEY AUTOINCREMENT",
        "strict": "STRICT",
        "text_at": "(data ->> '{}')",
        "number_at": "CAST(data ->> '{}' AS DOUBLE PRECISION)",
        "flag_at": "(data ->> '{}')",
        "items_at": "json_each(data, '$.{}')",
        "patched": "json_patch(data, :patch)",
        "patched_before": "json_patch(data, :patch) = data",  # what is parsed for one is there for the other
        "found_in": "instr({}, {}) > 0",
        "unleased": "",  # an index is written only where what it has of a row changes
    },
)
