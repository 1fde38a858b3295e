"""Applies the numbered migrations on PostgreSQL: once each, in order, also when several servers start at the same time."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from headway import failpoints
from headway.store.database import SchemaTooNew
from headway.store.postgres.dialect import POSTGRES
from headway.store.statements import migrations

_RECORD: Final = """CREATE TABLE IF NOT EXISTS migrations (
    number BIGINT PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL
)"""
BUSY: Final = ("runs", "events", "counters")
"""Tables whose old rows have to go soon: every claim would pass over them."""
_VACUUM: Final = """ALTER TABLE {} SET (
    autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0
)"""
_TURN: Final = 0x6865_6164_7761_7931
"""Advisory lock of a migration ("headway1")."""


def migrate(connection: psycopg.Connection[tuple[Any, ...]], now_ms: int) -> list[int]:
    """Bring the schema up to date; return the numbers that were applied now.

    Each migration and its record are one transaction, so a server that is killed leaves the schema as before or as after.
    Servers that start at the same time take turns. Raises SchemaTooNew for a schema from the future.
    """
    known = migrations(POSTGRES)
    applied: list[int] = []
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_TURN,))
        connection.execute(_RECORD)
    for number, name, sql in known:
        with connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (_TURN,))
            done = {row[0] for row in connection.execute("SELECT number FROM migrations")}
            if max(done, default=0) > known[-1][0]:
                raise SchemaTooNew(max(done), known[-1][0])
            if number in done:
                continue
            connection.execute(sql.encode())  # more than one statement: without binds, as it stands
            for table in BUSY:
                connection.execute(_VACUUM.format(table).encode())
            connection.execute("INSERT INTO migrations VALUES (%s, %s, %s)", (number, name, now_ms))
            failpoints.point("migration.before_commit")
        failpoints.point("migration.after_commit")
        applied.append(number)
    return applied
