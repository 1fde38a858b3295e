"""Verifies a file: its pages, then its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from headway.ids import Signer
from headway.storage.sqlite.connection import STATEMENTS
from headway.storage.verify import Finding, findings


def verify(store: Path | apsw.Connection, signers: Sequence[Signer] = ()) -> list[Finding]:
    """Return everything that is wrong; all of it is read in one transaction."""
    connection = store if isinstance(store, apsw.Connection) else apsw.Connection(str(store))
    try:
        if connection.in_transaction:
            return list(_findings(connection, signers))
        connection.execute("BEGIN")
        try:
            return list(_findings(connection, signers))
        finally:
            connection.execute("ROLLBACK")
    finally:
        if connection is not store:
            connection.close()


def _findings(connection: apsw.Connection, signers: Sequence[Signer]) -> Iterator[Finding]:
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield Finding("file", str(text))

    yield from _unreadable(connection)

    def read(name: str, /, **binds: Any) -> Iterable[Any]:
        return connection.execute(STATEMENTS[name], binds)

    yield from findings(read, signers)


def _unreadable(connection: apsw.Connection) -> Iterator[Finding]:
    """Read every value: whether a text is one, SQLite itself does not look at."""
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall():
        try:
            for _ in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - it is the name of a table of ours
                pass
        except UnicodeDecodeError as error:
            yield Finding(str(table), f"a value cannot be read: {error}")
