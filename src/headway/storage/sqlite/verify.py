"""Verifies a file: its pages, then its rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw

from headway.storage.sqlite.connection import STATEMENTS
from headway.storage.verify import Finding, findings


def verify(store: Path | apsw.Connection) -> list[Finding]:
    """Return everything that is wrong; all of it is read in one transaction."""
    connection = store if isinstance(store, apsw.Connection) else apsw.Connection(str(store))
    try:
        if connection.in_transaction:
            return list(_findings(connection))
        connection.execute("BEGIN")
        try:
            return list(_findings(connection))
        finally:
            connection.execute("ROLLBACK")
    finally:
        if connection is not store:
            connection.close()


def _findings(connection: apsw.Connection) -> Iterator[Finding]:
    for (text,) in connection.execute("PRAGMA integrity_check"):
        if text != "ok":
            yield Finding("file", str(text))

    def read(name: str, /, **binds: Any) -> Iterable[Any]:
        return connection.execute(STATEMENTS[name], binds)

    yield from findings(read)
