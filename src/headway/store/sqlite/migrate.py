"""Applies the numbered migrations, once each, in order, each in a transaction with its own record."""

from __future__ import annotations

import apsw

from headway import failpoints
from headway.store.database import SchemaTooNew
from headway.store.sqlite.dialect import SQLITE
from headway.store.statements import migrations

_RECORD = "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at INTEGER NOT NULL)"


def migrate(connection: apsw.Connection, now_ms: int) -> list[int]:
    """Bring the schema up to date; return the numbers that were applied now.

    Killed at any point, the file is as before or as after: both open. Raises SchemaTooNew for a file from the future.
    """
    known = migrations(SQLITE)
    connection.execute(_RECORD)
    done = {number for (number,) in connection.execute("SELECT number FROM migrations")}
    unknown = done - {number for number, _, _ in known}
    if unknown:
        raise SchemaTooNew(max(unknown), known[-1][0])
    applied = []
    for number, name, sql in known:
        if number in done:
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(sql)
            connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, name, now_ms))
            failpoints.point("migration.before_commit")
            connection.execute("COMMIT")
            failpoints.point("migration.after_commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        applied.append(number)
    return applied
