"""Verifies a file: its pages, then its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import apsw

from headway.ids import Signer
from headway.store.sqlite.connection import STATEMENTS, decoded_rows
from headway.store.verify import Finding, Read, RowCheck, Rows, documents_of, findings, unreadable


def verify(
    store: Path | apsw.Connection, signers: Sequence[Signer] = (), checks: Sequence[RowCheck] = ()
) -> list[Finding]:
    """Return everything that is wrong, also by the `checks` of features; all of it is read in one transaction."""
    connection = store if isinstance(store, apsw.Connection) else apsw.Connection(str(store))
    try:
        if connection.in_transaction:
            return list(_findings(connection, signers, checks))
        connection.execute("BEGIN")
        try:
            return list(_findings(connection, signers, checks))
        finally:
            connection.execute("ROLLBACK")
    finally:
        if connection is not store:
            connection.close()


def _findings(connection: apsw.Connection, signers: Sequence[Signer], checks: Sequence[RowCheck]) -> Iterator[Finding]:
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield Finding("file", str(text))

    def read(name: str, /, **binds: Any) -> Iterable[Any]:
        return connection.execute(STATEMENTS[name], binds)

    # SQLite's own check does not notice texts that are not UTF-8.
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    documents = documents_of(checks)
    damaged = [
        finding
        for (name,) in tables
        for finding in unreadable(str(name), partial(_rows, connection, str(name)), documents.get(str(name), ()))
    ]
    yield from damaged
    if not damaged:  # damaged values would break the comparisons
        yield from findings(Read(read, signers), checks)


def _rows(connection: apsw.Connection, table: str, decode_text: bool) -> Rows:
    sql = f'SELECT * FROM "{table}"'  # noqa: S608 - it is the name of a table of ours
    names = [str(row[1]) for row in connection.execute(f'PRAGMA table_info("{table}")')]
    for row in decoded_rows(connection, sql, {}) if decode_text else connection.execute(sql):
        yield dict(zip(names, row, strict=True))
